"""Tenants: who exists, at which tier, with which keys and gateways, and what was refused to whom.

Owns the facts about tenants, keys, gateways and the legacy policy, the life of a tenant, authentication
(the edge's `Authenticate` and `Denials` ports), and the audit trail's reading side.
"""
