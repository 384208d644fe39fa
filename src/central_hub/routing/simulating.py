"""What would become of many requests: decided one after another on a copy of what is foreseen, and nothing held. Pure.

The copy knows the queues, speeds and quantiles of now; each decision adds to its queues, and each request ends when it
should. So it says where requests would go and how long they would take if all goes as foreseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from central_hub.kernel.context import TenantContext
from central_hub.routing.asking import Asked
from central_hub.routing.candidates import Matched
from central_hub.routing.deciding import Router
from central_hub.routing.fleet import Fleet
from central_hub.routing.foreseen import Foreseen, Indexes
from central_hub.routing.sizes import Draw

STEP: Final = 16
"""Decisions between two turns of others."""


class Simulated:
    """What came of a simulation: how often each candidate was taken, and what the requests are foreseen to take."""

    def __init__(self, matched: Matched) -> None:
        self.matched = matched
        self.taken: Counter[int] = Counter()
        """By place in `matched`."""
        self.waits_s: dict[int, float] = {}
        self.latencies_s: list[float] = []
        self.nobody = 0
        """Requests for which nobody was left, such as for the latency that was wanted."""


class Simulation:
    """Requests of one kind, at even distances.

    Args:
        router: decides.
        ctx: who asks.
        asked: what for, every time.
        matched: who meets what hangs on offerings alone.
        draw: draws so many random bits.
    """

    def __init__(self, router: Router, ctx: TenantContext, asked: Asked, matched: Matched, draw: Draw) -> None:
        self._router = router
        self._asked = asked
        self._matched = matched
        self._book = router.book(ctx, asked.work)
        self._draw = draw
        self._parts: list[tuple[Fleet, Indexes, Indexes]] = [
            part.offered.fleet.branch(part.servers, part.kinds) for part in matched.parts
        ]
        self._places = [
            (at, number) for at, (_, servers, _) in enumerate(self._parts) for number in range(len(servers))
        ]

    def run(self, count: int, every_s: float, begin_s: float) -> Iterator[Simulated]:
        """Decide so many requests, every so many seconds; yields what came of it so far after every few of them."""
        found = Simulated(self._matched)
        for number in range(count):
            self._one(found, number, begin_s + number * every_s)
            if number % STEP == STEP - 1:
                yield found
        yield found

    def _one(self, found: Simulated, number: int, now_s: float) -> None:
        sizes = self._book.draws(self._asked.size, self._draw)
        each = [fleet.foresee(servers, kinds, sizes, now_s) for fleet, servers, kinds in self._parts]
        foreseen = each[0] if len(each) == 1 else Foreseen(*(np.concatenate(one) for one in zip(*each, strict=True)))
        decided = self._router.choose(self._asked, self._matched, sizes, foreseen)
        if decided is None:
            found.nobody += 1
            return
        place = int(decided.kept[decided.at])
        at, inside = self._places[place]
        fleet, servers, kinds = self._parts[at]
        wait_s, service_s = float(foreseen.wait_s[place]), float(foreseen.service_s[place])
        fleet.place(("simulated", number), int(servers[inside]), int(kinds[inside]), sizes, now_s, silent=True)
        found.taken[place] += 1
        found.waits_s[place] = found.waits_s.get(place, 0.0) + wait_s
        found.latencies_s.append(wait_s + service_s)
