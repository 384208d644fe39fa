"""Tenants: who exists, at which tier, with which keys and gateways, and what was refused to whom.

Owns the facts about tenants, keys, gateways and the legacy policy, authentication (the edge's
`Authenticate` and `Denials` ports), tiers, and the audit trail's reading side.
"""
