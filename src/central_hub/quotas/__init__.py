"""Quotas: rates, capacity held by leases, cumulative use, and what is metered."""
