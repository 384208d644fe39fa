"""What others choose by: published policies with their published parameters, each in a module of its own.

They see what every policy sees and nothing else. A proxy knows when a request it carries ends; a hub that only advises
does not, so all of them count what is in flight by the same ledger (`ledger.py`).
"""
