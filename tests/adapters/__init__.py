"""The stores: one suite per port, run on every adapter."""
