"""Events: what became true, told as CloudEvents, and what services publish themselves. One log is both.

Owns published events and the reading of a domain's log as events; knows other features' facts by the catalogue alone.
"""
