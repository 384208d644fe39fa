"""Whether an instance is well: leases, probes, verdicts and their aggregates.

Owns the soft state behind a verdict; what it concludes is journaled with the registry's facts.
May read the registry.
"""
