"""Configuration over HTTP."""
