"""What a hub's queue does to reads: one by one, each in its turn, on a quiet hub and while a change is told to streams.

A change that is told to many streams is work in slices: after each the hub answers what has come meanwhile.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

import msgspec

from benchmarks.cells.queues import Server
from central_hub.configuration.announcing import SLICE_MS

SLICE_S: Final = SLICE_MS / 1_000


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """What one hub is asked. Rates are per second, `_s` seconds of its core for one."""

    reads_per_s: float
    read_s: float
    others_per_s: float = 0.0
    other_s: float = 0.0

    @property
    def busy(self) -> float:
        """The part of the core that is in use."""
        return self.reads_per_s * self.read_s + self.others_per_s * self.other_s


class Waits(msgspec.Struct, frozen=True):
    """Times of reads in a hub, waiting and work, in milliseconds."""

    mean_ms: float
    p50_ms: float
    p99_ms: float
    reads: int


def waits_of(took_s: Sequence[float]) -> Waits:
    """Sum up times in seconds."""
    ordered = sorted(took_s)
    return Waits(
        math.fsum(ordered) / len(ordered) * 1_000,
        ordered[len(ordered) // 2] * 1_000,
        ordered[int(len(ordered) * 0.99)] * 1_000,
        len(ordered),
    )


def reads_s(mix: Mix, *, for_s: float, seed: str, change_s: float = 0.0) -> list[float]:
    """Send reads through a hub for so long, arrivals at random; returns the seconds each took.

    Args:
        mix: what comes.
        for_s: for how long; where a change is told, until it is told to all.
        seed: the same gives the same.
        change_s: work of telling one change, which begins at once; 0 for none.

    Raises:
        ValueError: the hub is asked for more than it can do.
    """
    if mix.busy >= 1.0:
        raise ValueError(f"{mix.busy:.0%} of a core is more than there is")
    draw = random.Random(f"latency/{seed}")
    server, took = Server(), list[float]()
    rate = mix.reads_per_s + mix.others_per_s
    read_share = mix.reads_per_s / rate
    at_s, left_s, slice_at_s = draw.expovariate(rate), change_s, 0.0 if change_s else math.inf
    while (left_s > 0) if change_s else (at_s < for_s):
        if slice_at_s <= at_s:
            step_s = min(SLICE_S, left_s)
            slice_at_s = server.offer(slice_at_s, step_s)[1]
            left_s -= step_s
            continue
        if draw.random() < read_share:
            took.append(server.offer(at_s, mix.read_s)[1] - at_s)
        else:
            server.offer(at_s, mix.other_s)
        at_s += draw.expovariate(rate)
    return took
