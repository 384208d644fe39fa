"""C3's replica ranking: expected latency with a cubic penalty on the queue.

Source: Suresh et al., C3: Cutting tail latency in cloud data stores via adaptive replica selection (NSDI 2015):
score = R - 1/mu + q^3 / mu with q = 1 + outstanding * clients + queue, all smoothed (weight of the newest 0.9). Its
cubic rate control is left out: it holds requests back, and a hub that advises does not.
"""

from __future__ import annotations

import random
from typing import Final

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.model import Outcome, Request, Setting, View

NEWEST: Final = 0.9
EXPONENT: Final = 3


class C3:
    """Ranks by score."""

    def __init__(self, setting: Setting) -> None:
        """Start without measurements."""
        self._draw = random.Random(setting.seed)
        count = len(setting.servers)
        self._ledger = Ledger(count, setting.ledger_ttl_s)
        self._clients = setting.hubs
        self._response_s = [0.0] * count
        self._service_s = [0.0] * count
        self._queue = [0.0] * count
        self._seen_at = [-1.0] * count

    def decide(self, request: Request, view: View) -> int:
        """Take the least score; of equals, any."""
        self._ledger.expire(view.now_s)
        for server in view.candidates:
            report = view.reports[server]
            if report is not None and report.at_s > self._seen_at[server]:
                self._seen_at[server] = report.at_s
                self._service_s[server] += NEWEST * (report.service_s - self._service_s[server])
                self._queue[server] += NEWEST * (report.queued - self._queue[server])
        scores = [self._score(server) for server in view.candidates]
        least = min(scores)
        tied = [server for server, score in zip(view.candidates, scores, strict=True) if score == least]
        chosen = self._draw.choice(tied)
        self._ledger.opened(request, chosen)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Count it out and take its latency up."""
        self._ledger.closed(outcome.decision)
        if outcome.ok:
            known = self._response_s[outcome.server]
            self._response_s[outcome.server] = known + NEWEST * (outcome.latency_s - known)

    def _score(self, server: int) -> float:
        waiting = 1 + self._ledger.count[server] * self._clients + self._queue[server]
        service = self._service_s[server]
        return self._response_s[server] - service + waiting**EXPONENT * service
