"""Configuration in layers: what each customer's services are told, and where every value came from.

A layer is a document about everyone, a tier, a tenant, a service, an environment, or an exact combination of these.
"""
