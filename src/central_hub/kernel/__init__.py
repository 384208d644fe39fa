"""The pure centre: ids, errors, clock, positions, facts, the log's ports and the sequencer.

Owns the vocabulary every feature is written in and the one path by which anything becomes
true. Imports no I/O, no framework, no clock and no randomness: those arrive as arguments.
"""
