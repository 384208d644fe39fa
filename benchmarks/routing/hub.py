"""The hub's own way of deciding, judged like every other: the product's `Fleet`, told what policies are told.

Nothing here decides: requests, reports and outcomes are handed to the code that runs in the hub, with the hardware's
name for the kind of speed and the capability for the kind of work.
"""

from __future__ import annotations

import random

import numpy as np

from benchmarks.routing.model import Outcome, Request, Setting, View
from central_hub.routing.choosing import Columns, pick, scores
from central_hub.routing.constraints import Prefer, Strategy
from central_hub.routing.fleet import Fleet
from central_hub.routing.sizes import SizeBook

PREFER = Prefer()


class CentralHub:
    """One hub's router, with the strategy `performance_optimized`."""

    def __init__(self, setting: Setting) -> None:
        """Take in the fleet as registered."""
        self.fleet = Fleet()
        self._book = SizeBook()
        self._draw = random.Random(setting.seed).getrandbits
        for fact in setting.servers:
            self.fleet.add(fact.slots)
        self._kinds = np.array([self.fleet.kind(fact.hardware) for fact in setting.servers], dtype=np.intp)
        self._seen_s = [-1.0] * len(setting.servers)
        self._latest: dict[int, tuple[int, int]] = {}

    def decide(self, request: Request, view: View) -> int:
        """Take the candidate that is foreseen to give the least."""
        now_s = view.now_s
        for server, report in enumerate(view.reports):
            if report is not None and report.at_s > self._seen_s[server]:
                self._seen_s[server] = report.at_s
                self.fleet.reported(server, report.at_s, report.running + report.queued, now_s)
        if request.attempt:
            self._asked_again(request.caller, view, now_s)
        declared = None if request.hint is None else (request.hint.prompt_tokens, request.hint.output_tokens)
        sizes = self._book.draws(declared, self._draw)
        servers = np.array(view.candidates, dtype=np.intp)
        kinds = self._kinds[servers]
        foreseen = self.fleet.foresee(servers, kinds, sizes, now_s)
        nothing = np.zeros(len(servers))
        columns = Columns(cost_s=foreseen.cost_s, load=nothing, price=nothing, quality=nothing, outside=nothing)
        at = pick(scores(Strategy.PERFORMANCE, columns, PREFER, "", ()), self._draw(16))
        chosen = view.candidates[at]
        self.fleet.place(
            request.decision, chosen, int(kinds[at]), sizes, now_s, book=self._book, caller=request.caller,
            declared=declared, foreseen_s=float(foreseen.wait_s[at] + foreseen.service_s[at]),
        )  # fmt: skip
        self._latest[request.caller] = (request.decision, chosen)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Hear of an outcome."""
        true = (float(outcome.prompt_tokens), float(outcome.output_tokens))
        self.fleet.told(outcome.decision, outcome.at_s, ok=outcome.ok, latency_s=outcome.latency_s, true=true)

    def _asked_again(self, caller: int, view: View, now_s: float) -> None:
        """A caller that asks again says that the last one failed, whether or not it reports."""
        decision, server = self._latest.get(caller, (-1, -1))
        if server not in view.candidates:
            self.fleet.given_up(decision, now_s, failed=True)
