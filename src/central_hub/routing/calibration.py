"""How far latencies turn out from what was foreseen, as quantiles that keep their promise in the long run. Pure.

Each quantile is moved up by its level when the outcome was above it and down by the rest when it was not, so the share
below it goes to the level whatever the errors look like and however they drift.

Source: Gibbs and Candès, "Adaptive Conformal Inference Under Distribution Shift", NeurIPS 2021.
"""

from __future__ import annotations

from math import exp, log
from typing import Final

LEVELS: Final = (0.5, 0.9, 0.95, 0.99)
FIRST: Final = (0.0, 0.35, 0.5, 0.9)
"""Logarithms of latency over what was foreseen, before anything is known."""
STEP: Final = 0.06
STEP_FIRST: Final = 0.4
"""Size of a step at the beginning; it shrinks to `STEP` with the outcomes."""
RATIO_MAX: Final = 64.0


class Calibration:
    """Quantiles of latency over what was foreseen, of one kind of instance."""

    __slots__ = ("below", "outcomes", "quantiles")

    def __init__(self) -> None:
        self.quantiles = list(FIRST)
        self.below = [0] * len(LEVELS)
        """Outcomes at or below each quantile as it stood."""
        self.outcomes = 0

    def learn(self, foreseen_s: float, latency_s: float) -> None:
        """Take in an outcome."""
        ratio = log(min(RATIO_MAX, max(1.0 / RATIO_MAX, latency_s / max(foreseen_s, 1e-9))))
        self.outcomes += 1
        step = max(STEP, STEP_FIRST / self.outcomes**0.5)
        for at, level in enumerate(LEVELS):
            inside = ratio <= self.quantiles[at]
            self.below[at] += inside
            self.quantiles[at] += step * (level - inside)

    def factors(self) -> tuple[float, ...]:
        """Return what a foreseen latency is multiplied with, for each of `LEVELS`; never falling."""
        highest = self.quantiles[0]
        found: list[float] = []
        for one in self.quantiles:
            highest = max(highest, one)
            found.append(exp(highest))
        return tuple(found)
