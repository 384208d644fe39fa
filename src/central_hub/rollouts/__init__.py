"""Changes of configuration that reach a few first: who gets the new values when, what the gates saw, and the way back.

Owns rollouts, the exposure that each of them has reached, and what instances say about the values they run. Reads
configuration's layers, the registry, and health's verdicts.
"""
