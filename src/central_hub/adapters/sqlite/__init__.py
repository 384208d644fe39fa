"""The embedded store: one SQLite file, one writer thread, write-ahead log, full synchronous."""
