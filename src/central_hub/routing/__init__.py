"""Which instance serves a request best: offerings of models, what a request asks of them, and the decision.

Owns: offerings (facts), the queues that decisions foresee (signals), and what outcomes teach about speed. May read the
registry and plans. It never sees the traffic: it knows what it advised, and what callers and instances tell it.
"""
