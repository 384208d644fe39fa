"""The lane: what machines read all day, answered from bytes that were encoded when the state changed.

Owns the look at a packet before the HTTP parser sees it, the memo from exact bytes to verdicts,
and the one way an answer is put together. Reads the edge's pipeline; features implement its ports.
"""
