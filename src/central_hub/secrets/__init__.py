"""Secrets: values that nobody reads by accident, kept as ciphertext, and the keys that everything kept is under.

A tenant has its own, the platform has some that it may share with every tenant. What is configured refers to them.
"""
