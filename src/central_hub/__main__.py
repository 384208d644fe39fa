"""`python -m central_hub`: the same command line as `central-hub`."""

from central_hub.cli.main import main

if __name__ == "__main__":
    main()
