"""Signed webhooks: a tenant's endpoints, and the follower of the log that tells them what became true.

An endpoint is a durable subscription (a filter, a cursor, dead letters) with one transport. The transport is a port.
"""
