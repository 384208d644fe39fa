"""Circuit breakers: one per tenant, service and route class, decided where the call is made.

Owns states, policies, the evidence a trip needs and the table of a process's breakers, all of it pure: the SDK runs it.
Owns on the hub's side the verdicts that many processes share, from what they report (`usecases`, `telling`, `routes`),
and reads registry and plans for that.
"""
