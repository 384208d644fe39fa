"""Prequal's hot-cold lexicographic rule over a pool of probes.

Source: Wydrowski et al., Load is not what you should balance (NSDI 2024). Of the probes in the pool those whose
requests in flight exceed the Q_RIF quantile are hot; the cold one with the least latency wins, or if all are hot the
one with the fewest in flight. Parameters as published: pool 16, 3 probes a request, Q_RIF 2^-0.25 = 0.84, probes older
than 1 s dropped, 1 removed a request (oldest and worst by turns), reuse budget by their formula with delta 1.

A probe here is a look at the server's last report, so it is as old as the cell's reports are.
"""

from __future__ import annotations

import random
from typing import Final

from benchmarks.routing.model import Outcome, Request, Setting, View

POOL: Final = 16
PROBES: Final = 3
Q_RIF: Final = 2**-0.25
AGE_MAX_S: Final = 1.0
REMOVED: Final = 1.0
DELTA: Final = 1.0


class _Probe:
    __slots__ = ("at_s", "latency_s", "rif", "server", "uses")

    def __init__(self, server: int, rif: int, latency_s: float, at_s: float) -> None:
        self.server = server
        self.rif = rif
        self.latency_s = latency_s
        self.at_s = at_s
        self.uses = 0


class Prequal:
    """Keeps a pool of probes."""

    def __init__(self, setting: Setting) -> None:
        """Start with an empty pool."""
        self._draw = random.Random(setting.seed)
        self._pool: list[_Probe] = []
        self._remove_worst = False
        spread = (1 - POOL / max(len(setting.servers), POOL + 1)) * PROBES - REMOVED
        self._uses_max = max(1.0, (1 + DELTA) / spread) if spread > 0 else 5.0

    def decide(self, request: Request, view: View) -> int:
        """Choose by the hot-cold rule."""
        self._probe(view)
        allowed = set(view.candidates)
        usable = [probe for probe in self._pool if probe.server in allowed]
        if len(usable) < 2:
            return self._draw.choice(view.candidates)
        rifs = sorted(probe.rif for probe in self._pool)
        limit = rifs[min(len(rifs) - 1, int(Q_RIF * len(rifs)))]
        cold = [probe for probe in usable if probe.rif <= limit]
        if cold:
            best = min(cold, key=lambda probe: (probe.latency_s, probe.rif))
        else:
            best = min(usable, key=lambda probe: (probe.rif, probe.latency_s))
        best.uses += 1
        best.rif += 1  # compensates for the request just sent there
        if best.uses >= self._uses_max:
            self._pool.remove(best)
        self._remove(limit)
        return best.server

    def told(self, outcome: Outcome) -> None:
        """Learn nothing: knowledge comes from probes."""

    def _probe(self, view: View) -> None:
        self._pool = [probe for probe in self._pool if view.now_s - probe.at_s <= AGE_MAX_S]
        for server in self._draw.sample(view.candidates, min(PROBES, len(view.candidates))):
            report = view.reports[server]
            if report is not None:
                self._pool.append(_Probe(server, report.running + report.queued, report.latency_at_load_s, view.now_s))
        del self._pool[:-POOL]

    def _remove(self, limit: int) -> None:
        if len(self._pool) <= 2:
            return
        if self._remove_worst:
            hot = [probe for probe in self._pool if probe.rif > limit]
            worst = max(hot, key=lambda probe: probe.rif) if hot else max(self._pool, key=lambda probe: probe.latency_s)
            self._pool.remove(worst)
        else:
            self._pool.pop(0)
        self._remove_worst = not self._remove_worst
