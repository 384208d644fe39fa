"""Durable subscriptions: who follows a domain's events, how far each has come, and what was given up.

Owns subscriptions, deliveries that are under way and dead letters. May read: the kernel, the edge, tenants, events.
"""
