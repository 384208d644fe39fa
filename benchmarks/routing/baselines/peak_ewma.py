"""Finagle's peak EWMA: a latency average that jumps up at once and fades slowly, times what is in flight.

Source: twitter/finagle, PeakEwma.scala. cost = rtt if rtt > cost, else cost * w + rtt * (1 - w), w = exp(-dt / tau),
tau 10 s; load = cost * (pending + 1); never measured but with requests pending: a penalty. Picked by the better of two.
"""

from __future__ import annotations

import math
import random
from typing import Final

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.model import Outcome, Request, Setting, View

DECAY_S: Final = 10.0
PENALTY: Final = 1e9


class PeakEwma:
    """Keeps a peak-sensitive latency for each server."""

    def __init__(self, setting: Setting) -> None:
        """Start without measurements."""
        self._draw = random.Random(setting.seed)
        count = len(setting.servers)
        self._ledger = Ledger(count, setting.ledger_ttl_s)
        self._cost = [0.0] * count
        self._stamp = [0.0] * count

    def decide(self, request: Request, view: View) -> int:
        """Take the less loaded of two."""
        self._ledger.expire(view.now_s)
        drawn = self._draw.sample(view.candidates, min(2, len(view.candidates)))
        chosen = min(drawn, key=lambda server: self.load(server, view.now_s))
        self._ledger.opened(request, chosen)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Count it out and take its latency up."""
        self._ledger.closed(outcome.decision)
        self._observe(outcome.server, outcome.latency_s, outcome.at_s)

    def load(self, server: int, now: float) -> float:
        """Return the cost times what is pending and the next one."""
        self._observe(server, 0.0, now)
        pending = self._ledger.count[server]
        if not self._cost[server] and pending:
            return PENALTY + pending
        return self._cost[server] * (pending + 1)

    def _observe(self, server: int, rtt_s: float, now: float) -> None:
        weight = math.exp((self._stamp[server] - now) / DECAY_S)
        cost = self._cost[server]
        self._cost[server] = rtt_s if rtt_s > cost else cost * weight + rtt_s * (1 - weight)
        self._stamp[server] = now
