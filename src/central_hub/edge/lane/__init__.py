"""The lane: what machines do all day, served before the HTTP parser sees it.

Owns the look at a packet, the memo from exact bytes to verdicts, and the one way an answer is put
together: reads from bytes that were encoded when the state changed, heartbeats, registrations.
Reads the edge's pipeline; features implement its ports.
"""
