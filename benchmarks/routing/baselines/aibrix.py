"""AIBrix' load-balance: requests in flight over the rate at which they drain.

Source: vllm-project/aibrix, pkg/plugins/gateway/algorithms/load_balance.go: running / drain rate of the last minute, a
server without one counts as 1 a second, ties drawn. AIBrix ships without a default strategy (requests that name none go
to the Kubernetes service; what it falls back to inside is random, which is judged under its own name), so its one
strategy that looks at throughput stands for it.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.model import Outcome, Request, Setting, View

WINDOW_S: Final = 60.0
CAPACITY_UNKNOWN: Final = 1.0


class AibrixLoadBalance:
    """Normalises by the drain rate."""

    def __init__(self, setting: Setting) -> None:
        """Start with nothing drained."""
        self._draw = random.Random(setting.seed)
        count = len(setting.servers)
        self._ledger = Ledger(count, setting.ledger_ttl_s)
        self._drained: list[deque[float]] = [deque() for _ in range(count)]

    def decide(self, request: Request, view: View) -> int:
        """Take the least pending time."""
        now = view.now_s
        for _, server in self._ledger.expire(now):
            self._drained[server].append(now)
        scores = [self._ledger.count[server] / self._capacity(server, now) for server in view.candidates]
        least = min(scores)
        tied = [server for server, score in zip(view.candidates, scores, strict=True) if score == least]
        chosen = self._draw.choice(tied)
        self._ledger.opened(request, chosen)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Count it out; it has drained."""
        if self._ledger.closed(outcome.decision):
            self._drained[outcome.server].append(outcome.at_s)

    def _capacity(self, server: int, now: float) -> float:
        drained = self._drained[server]
        while drained and drained[0] < now - WINDOW_S:
            drained.popleft()
        return len(drained) / WINDOW_S or CAPACITY_UNKNOWN
