"""Relays: followers of the whole log that hand its events to message brokers, at least once and in order.

Owns which relays there are and where each stands; knows brokers by the port in `kernel/brokers.py` alone.
"""
