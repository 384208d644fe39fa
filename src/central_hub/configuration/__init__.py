"""Layered configuration: documents, their history, their effective value, and how a change reaches services."""
