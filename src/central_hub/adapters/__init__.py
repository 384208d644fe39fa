"""Where the hub meets the outside: stores, key ring, clock, egress and probes. Imports the kernel only."""
