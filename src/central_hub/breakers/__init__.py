"""Circuit breakers: one per tenant, service and route class, decided where the call is made.

Owns states, policies, the evidence a trip needs and the table of a process's breakers. Reads nobody. Everything
is pure: time is an argument, and what changed is told to a callback. The SDK runs it; a hub that folds many
processes' evidence runs the same code.
"""
