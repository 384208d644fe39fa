"""What a fleet answers with and keeps: what candidates would give, and decisions that were taken up. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from central_hub.routing.queues import Entry
from central_hub.routing.sizes import Size, SizeBook

Numbers = NDArray[np.float64]
Indexes = NDArray[np.intp]


class Placed:
    """A decision that was taken up: what it foresaw, until its outcome is told."""

    __slots__ = ("book", "caller", "declared", "entry", "foreseen_s", "kind", "server")

    def __init__(
        self, server: int, kind: int, book: SizeBook | None, caller: Hashable, declared: Size | None, foreseen_s: float,
        entry: Entry,
    ) -> None:  # fmt: skip
        self.server = server
        self.kind = kind
        self.book = book
        self.caller = caller
        self.declared = declared
        self.foreseen_s = foreseen_s
        self.entry = entry


class Foreseen(NamedTuple):
    """What candidates would give, and what that was made of; arrays in the order of the candidates, seconds."""

    wait_s: Numbers
    service_s: Numbers
    cost_s: Numbers
    """The two, and what a failure lately adds."""
    shunned: NDArray[np.bool_]
    known: NDArray[np.bool_]
    """Whether the kind's speed was declared or learned."""
    ratios: Numbers
    """By what wait and service together are multiplied for each quantile of `LEVELS`."""
    in_flight: Numbers
    slots: Numbers
    factor: Numbers
    outcomes: Numbers
    reported_s: Numbers
    """When each last reported; `-inf` for never."""
