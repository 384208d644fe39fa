"""`central-hub demo`: a hub and a small real platform around it, under load, with things going wrong.

Owns the processes it starts and one temporary directory; both are gone when it ends.
"""
