"""Which of the candidates: filters have spoken, strategies score, and the least score is taken. Pure.

    performance_optimized   log(cost in time)
    cost_optimized          log(price) + a little of the above
    accuracy_optimized      log(1 - quality) + a little of the above
    balanced                prefer.latency, .cost and .quality times the three
    least_loaded            requests in flight a slot + a little of the first
    sticky                  the highest rendezvous hash of the key among those at most `STICKY_SLACK` times as slow as
                            the best; the order of the others is by time

Scores are differences of logarithms, so twice as slow weighs the same at 10 ms and at 10 s. What is unknown of price or
quality counts as the worst that is known. Costs within `ALIKE` of the best are alike, and chance decides, or everybody
would send to the same.

Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from central_hub.routing.constraints import Prefer, Strategy

Numbers = NDArray[np.float64]

ALIKE: Final = 0.01
"""Costs within this share of the least are alike: which of them is a matter of chance."""
A_LITTLE: Final = 0.01
STICKY_SLACK: Final = 2.0
STICKY_GRACE_S: Final = 0.005
PREFERRED: Final = 0.2
"""What a candidate outside the preferred region or zone scores on top: as if it were a fifth slower."""
EPSILON: Final = 1e-9


class Columns:
    """What strategies look at, of every candidate."""

    __slots__ = ("cost_s", "load", "outside", "price", "quality")

    def __init__(self, *, cost_s: Numbers, load: Numbers, price: Numbers, quality: Numbers, outside: Numbers) -> None:
        self.cost_s = cost_s
        self.load = load
        self.price = price
        self.quality = quality
        self.outside = outside


def scores(strategy: Strategy, columns: Columns, prefer: Prefer, key: str, names: Sequence[str]) -> Numbers:
    """Score every candidate, the less the better.

    Args:
        strategy: what counts.
        columns: what is known of the candidates.
        prefer: weights of `balanced`.
        key: what `sticky` sticks to.
        names: of the candidates, for `sticky`.
    """
    time = np.log(columns.cost_s + EPSILON)
    time -= time.min()
    if strategy is Strategy.PERFORMANCE:
        found = time
    elif strategy is Strategy.COST:
        found = _price(columns.price) + A_LITTLE * time
    elif strategy is Strategy.ACCURACY:
        found = _quality(columns.quality) + A_LITTLE * time
    elif strategy is Strategy.BALANCED:
        found = prefer.latency * time
        if prefer.cost:
            found = found + prefer.cost * _price(columns.price)
        if prefer.quality:
            found = found + prefer.quality * _quality(columns.quality)
    elif strategy is Strategy.LEAST_LOADED:
        found = columns.load + A_LITTLE * time
    else:
        found = _sticky(columns.cost_s, key, names) + A_LITTLE * time
    return found + PREFERRED * columns.outside


def pick(found: Numbers, draw: int) -> int:
    """Return the index of the least score; of those alike, the one that the drawn number says."""
    best = int(found.argmin())
    alike = np.flatnonzero(found <= found[best] + ALIKE)
    return best if len(alike) == 1 else int(alike[draw % len(alike)])


def _price(price: Numbers) -> Numbers:
    known = price[~np.isnan(price)]
    if not len(known):
        return np.zeros_like(price)
    filled = np.log(np.where(np.isnan(price), known.max(), price) + EPSILON)
    return filled - filled.min()


def _quality(quality: Numbers) -> Numbers:
    known = quality[~np.isnan(quality)]
    if not len(known):
        return np.zeros_like(quality)
    if known.max() <= 1.0:  # a share: half the errors is as much better at 90 % as at 99 %
        filled = np.log(1.0 - np.where(np.isnan(quality), known.min(), quality) + 1e-4)
    else:
        filled = -np.log(np.maximum(np.where(np.isnan(quality), known.min(), quality), EPSILON))
    return filled - filled.min()


def _sticky(cost_s: Numbers, key: str, names: Sequence[str]) -> Numbers:
    near = cost_s <= cost_s.min() * STICKY_SLACK + STICKY_GRACE_S
    hashed = np.array([crc32(f"{key}\n{name}".encode()) for name in names], dtype=np.float64) / 2**32
    return np.where(near, 1.0 - hashed, 2.0)
