"""How the hub itself is: process figures, readiness, metrics for Prometheus.

Owns no state of tenants; reads counters that others keep, when somebody asks.
"""
