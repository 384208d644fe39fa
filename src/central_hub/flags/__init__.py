"""Feature flags: what they are, for whom they say what, and why.

Owns the facts about flags, segments and tenants' overrides, their evaluation, and who is told when an
answer may have changed. Reads entitlements from plans: a boolean entitlement is a flag too. How clients
ask over the wire (OFREP) is interop's.
"""
