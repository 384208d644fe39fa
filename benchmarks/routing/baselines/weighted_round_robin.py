"""gRPC's weighted round robin: weights from what servers report, turns by earliest deadline first.

Source: gRFC A58, client-side weighted round robin. weight = qps / (utilization + eps / qps * penalty). Defaults as
published: blackout 10 s, expiration 3 min, update every 1 s, error penalty 1. A server without a usable weight gets the
mean of the others; with fewer than two usable weights all are alike.
"""

from __future__ import annotations

import random
from typing import Final

from benchmarks.routing.model import Outcome, Report, Request, Setting, View

BLACKOUT_S: Final = 10.0
EXPIRATION_S: Final = 180.0
UPDATE_S: Final = 1.0
ERROR_PENALTY: Final = 1.0


def weight_of(report: Report) -> float:
    """Return the weight a report makes, 0 if none."""
    if report.requests_per_s <= 0.0:
        return 0.0
    used = report.utilization + report.errors_per_s / report.requests_per_s * ERROR_PENALTY
    return report.requests_per_s / used if used > 0.0 else 0.0


class WeightedRoundRobin:
    """Takes turns by weight."""

    def __init__(self, setting: Setting) -> None:
        """Start with equal weights and drawn deadlines."""
        draw = random.Random(setting.seed)
        count = len(setting.servers)
        self._weights = [1.0] * count
        self._kept = [0.0] * count
        self._usable_since: list[float | None] = [None] * count
        self._deadlines = [draw.random() for _ in range(count)]
        self._updated_s = -UPDATE_S

    def decide(self, request: Request, view: View) -> int:
        """Take the earliest deadline and put it off by 1 / weight."""
        if view.now_s - self._updated_s >= UPDATE_S:
            self._update(view)
        deadlines = self._deadlines
        chosen = min(view.candidates, key=deadlines.__getitem__)
        now = deadlines[chosen]
        deadlines[chosen] = now + 1 / self._weights[chosen]
        for server in view.candidates:  # one that sat out does not come back with turns saved up
            if deadlines[server] < now:
                deadlines[server] = now
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Learn nothing: weights come from reports."""

    def _update(self, view: View) -> None:
        self._updated_s = view.now_s
        usable: list[float] = []
        weights = [0.0] * len(self._weights)
        for server, report in enumerate(view.reports):
            if report is None or view.now_s - report.at_s >= EXPIRATION_S:
                self._usable_since[server] = None
                continue
            # As A58 has it, an empty report (an idle server) leaves the weight as it was.
            self._kept[server] = weight_of(report) or self._kept[server]
            if not self._kept[server]:
                continue
            since = self._usable_since[server]
            if since is None:
                since = self._usable_since[server] = report.at_s
            if view.now_s - since >= BLACKOUT_S:
                weights[server] = self._kept[server]
                usable.append(self._kept[server])
        mean = sum(usable) / len(usable) if len(usable) >= 2 else 0.0
        self._weights = [weight or mean for weight in weights] if mean else [1.0] * len(weights)
