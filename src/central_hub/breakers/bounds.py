"""How much evidence a trip needs: lower confidence bounds of a rate, as tables made once for a policy. Pure.

    bound     of f failures in n calls, the rate r for which P(at least f of n | r) = 1 - confidence: the lower end
              of the exact one-sided interval, the quantile of Beta(f, n - f + 1)
    trip      the bound is above the policy's rate, which is to say P(at least f of n | rate) <= 1 - confidence
    spans     the last 6, 8, 12, 16, 24, 40 calls and the whole window are looked at: the short ones see a service
              that died, the long ones one that fails a little too often

A plain rate has no minimum of evidence of its own and opens on a healthy service: at 3 % errors and a threshold of
10 %, in one of four windows of ten calls.

Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", 1934.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import Final

from central_hub.breakers.model import FALSE_TRIPS_MAX, HEALTHY_RATE

SPANS: Final = (6, 8, 12, 16, 24, 40)
CONFIDENCES: Final = (0.95, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
"""From which the lowest is taken that keeps false trips rare enough."""


@lru_cache(maxsize=65_536)
def tail(n: int, k: int, rate: float) -> float:
    """Return the probability of at least `k` failures in `n` calls that fail at a rate."""
    return sum(comb(n, i) * rate**i * (1.0 - rate) ** (n - i) for i in range(k, n + 1))


@lru_cache(maxsize=65_536)
def failures_needed(n: int, rate: float, confidence: float) -> int:
    """Return the least number of failures in `n` calls whose bound is above a rate; `n` + 1 when none is."""
    doubt = 1.0 - confidence
    low, high = 0, n + 1
    while low < high:
        middle = (low + high) // 2
        if middle <= n and tail(n, middle, rate) > doubt:
            low = middle + 1
        else:
            high = middle
    return max(1, low)


@lru_cache(maxsize=4_096)
def spans(size: int, rate: float, confidence: float) -> tuple[tuple[int, int], ...]:
    """Return what is looked at in a window of `size` calls: how many of the last ones, and the failures needed there.

    Only what can be reached at all, shortest first.
    """
    lengths = [*(length for length in SPANS if length < size), size]
    needed = [(length, failures_needed(length, rate, confidence)) for length in lengths]
    return tuple((length, least) for length, least in needed if least <= length)


def false_trips(size: int, rate: float, confidence: float, base: float = HEALTHY_RATE) -> float:
    """Return an upper bound of the probability that one window of `size` calls opens a breaker by mistake.

    Exact for each span and each call it is looked at (only at a failure), and added up over all of them.

    Args:
        base: the rate at which a healthy service fails.
    """
    each = (tail(length - 1, least - 1, base) for length, least in spans(size, rate, confidence))
    return size * base * sum(each)


@lru_cache(maxsize=4_096)
def patient_confidence(size: int, rate: float) -> float:
    """Return the lowest of some confidences at which false trips are rare enough; the highest if none is."""
    rare = (one for one in CONFIDENCES if false_trips(size, rate, one) <= FALSE_TRIPS_MAX)
    return next(rare, CONFIDENCES[-1])
