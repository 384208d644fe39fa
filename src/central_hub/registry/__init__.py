"""Services and their instances: registration, discovery, draining, watching, who depends on whom.

Owns the facts about instances, the view folded from them, the pick of an endpoint, the watch
stream and the lane's entries. Reads verdicts, leases and access only through `ports`.
"""
