"""The demo's hub process: `central-hub …` that does not outlive the demo."""

from central_hub.cli.demo.processes import die_with_parent
from central_hub.cli.main import main

if __name__ == "__main__":
    die_with_parent()
    main()
