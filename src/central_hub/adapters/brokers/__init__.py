"""Links to message brokers. Each speaks through a client library of its own extra, loaded when it is used."""
