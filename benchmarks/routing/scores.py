"""How well a policy did in one run, and what that means over seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Final

import msgspec

from benchmarks.routing.simulation import Tape

EPSILON: Final = 0.1
SAME_S: Final = 1e-9
"""Two latencies closer than this are the same one."""
RESAMPLES: Final = 400
CONFIDENCE: Final = 0.95


class Score(msgspec.Struct, frozen=True):
    """One policy in one run, warm-up left out.

    Args:
        decisions: judged, retries included.
        strict: share that took a server than which none was better.
        within_epsilon: share whose cost was at most (1 + EPSILON) times the best candidate's.
        slo_optimal: share that met the SLO of those that some candidate would have met.
        regret: (sum of costs - sum of best costs) / sum of best costs.
        p50_s, p99_s, mean_s: of the requests' latencies as callers saw them.
        within_slo: share of requests answered within the SLO, whether or not that was possible.
        failed: requests that failed for good.
        violations: decisions for a server that was no candidate.
    """

    decisions: int
    strict: float
    within_epsilon: float
    slo_optimal: float
    regret: float
    p50_s: float
    p99_s: float
    mean_s: float
    within_slo: float
    failed: int
    violations: int


class Interval(msgspec.Struct, frozen=True):
    """A figure over seeds and its bootstrap confidence interval."""

    value: float
    low: float
    high: float


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of an ascending sequence does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def score(tape: Tape, warm_up: int, slo_s: float) -> Score:
    """Judge a run.

    Args:
        tape: of the run.
        warm_up: requests not judged, the first ones.
        slo_s: the latency wanted.
    """
    judged = [entry for entry in tape.entries if entry.job >= warm_up]
    best = sum(entry.best_s for entry in judged)
    could = [entry for entry in judged if entry.best_in_slo]
    latencies = sorted(tape.latencies_s[warm_up:])
    return Score(
        decisions=len(judged),
        strict=fmean(entry.cost_s <= entry.best_s + SAME_S for entry in judged),
        within_epsilon=fmean(entry.cost_s <= (1 + EPSILON) * entry.best_s + SAME_S for entry in judged),
        slo_optimal=fmean(entry.in_slo for entry in could) if could else 1.0,
        regret=(sum(entry.cost_s for entry in judged) - best) / best,
        p50_s=quantile(latencies, 0.5),
        p99_s=quantile(latencies, 0.99),
        mean_s=fmean(latencies),
        within_slo=fmean(latency <= slo_s for latency in latencies),
        failed=tape.failed,
        violations=sum(entry.violation for entry in judged),
    )


class Bootstrap:
    """Confidence intervals by resampling seeds; the same resamples for everything, so that results repeat exactly."""

    def __init__(self, seeds: int) -> None:
        """Draw which seeds each resample takes."""
        draw = random.Random(f"bootstrap/{seeds}")
        self._picks = [[draw.randrange(seeds) for _ in range(seeds)] for _ in range(RESAMPLES)]

    def interval(self, values: Sequence[float], shape: Callable[[float], float] = float) -> Interval:
        """Return `shape` of the mean over seeds and of its interval's ends.

        Args:
            values: one a seed.
            shape: an increasing function; `math.exp` makes geometric means of logarithms.
        """
        means = sorted(fmean([values[at] for at in picks]) for picks in self._picks)
        tail = (1 - CONFIDENCE) / 2
        low, high = means[int(tail * RESAMPLES)], means[RESAMPLES - 1 - int(tail * RESAMPLES)]
        return Interval(shape(fmean(values)), shape(low), shape(high))
