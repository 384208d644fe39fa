"""Counts what is in flight at each server from one hub's own decisions, until their outcome is told.

Not every caller tells. One that ever told is waited for; a decision for one that never did counts as ended after a
time.
"""

from __future__ import annotations

from collections import deque

from benchmarks.routing.model import Request


class Ledger:
    """Requests in flight, by server.

    Args:
        servers: how many there are.
        ttl_s: a decision for a caller that never told counts as ended after this.
    """

    def __init__(self, servers: int, ttl_s: float) -> None:
        """Start empty."""
        self.count = [0] * servers
        self.prompt_tokens = [0.0] * servers
        self.tokens = [0.0] * servers
        self._ttl_s = ttl_s
        self._tellers: set[int] = set()
        self._open: dict[int, tuple[int, int, float, float]] = {}
        self._by_age: deque[tuple[float, int]] = deque()

    def opened(self, request: Request, server: int, prompt: float = 0.0, tokens: float = 0.0) -> None:
        """Note a decision and the tokens it brings."""
        self.count[server] += 1
        self.prompt_tokens[server] += prompt
        self.tokens[server] += tokens
        self._open[request.decision] = (server, request.caller, prompt, tokens)
        self._by_age.append((request.at_s + self._ttl_s, request.decision))

    def closed(self, decision: int) -> bool:
        """Note that its outcome was told; says whether it was still open."""
        found = self._open.get(decision)
        if found is None:
            return False
        self._tellers.add(found[1])
        self._close(decision)
        return True

    def expire(self, now: float) -> list[tuple[int, int]]:
        """Close what is too old to wait for; returns each decision and its server."""
        expired: list[tuple[int, int]] = []
        while self._by_age and self._by_age[0][0] <= now:
            decision = self._by_age.popleft()[1]
            found = self._open.get(decision)
            if found is not None and found[1] not in self._tellers:
                expired.append((decision, found[0]))
                self._close(decision)
        return expired

    def _close(self, decision: int) -> None:
        server, _, prompt, tokens = self._open.pop(decision)
        self.count[server] -= 1
        self.prompt_tokens[server] -= prompt
        self.tokens[server] -= tokens
