"""A policy made ready for counting, and what counts against it. Pure.

Source: the rule on plain rates, and on how many calls it needs, is that of resilience4j's circuit breaker.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from central_hub.breakers.bounds import spans
from central_hub.breakers.model import WITNESSED_MAX, Evidence, Policy, Reason, Window

FORGIVING_FROM: Final = 5
"""Probes from which on one may fail."""

_EPSILON: Final = 1e-9


class Terms:
    """A policy, made ready for counting.

    Args:
        policy: what it is made of.
    """

    __slots__ = ("careful", "fail_spans", "mask", "minimum", "policy", "reopen_at", "sentinel", "slow_spans", "top")

    def __init__(self, policy: Policy) -> None:
        # Seconds are counted elsewhere; of calls only what is told to the pool is kept then.
        size = policy.window_size if policy.window is Window.CALLS else WITNESSED_MAX
        self.policy = policy
        self.sentinel = 1 << size
        self.mask = self.sentinel - 1
        self.top = self.sentinel << 1
        self.careful = not policy.confidence or policy.slow_call_s < math.inf
        self.minimum = min(policy.minimum_calls, size) if policy.window is Window.CALLS else policy.minimum_calls
        self.fail_spans = _masks(size, policy.failure_rate, policy.confidence)
        self.slow_spans = _masks(size, policy.slow_rate, policy.confidence)
        self.reopen_at = (_reopen_at(policy, policy.failure_rate), _reopen_at(policy, policy.slow_rate))


@lru_cache(maxsize=4_096)
def terms_of(policy: Policy) -> Terms:
    """Return a policy made ready; of equal policies the same object."""
    return Terms(policy)


def any_span(looked_at: tuple[tuple[int, int, int], ...], bits: int, held: int) -> bool:
    """Say whether some span of the `held` newest outcomes in `bits` has the failures it needs."""
    for mask, length, least in looked_at:
        if length > held:
            return False
        if (bits & mask).bit_count() >= least:
            return True
    return False


def above(terms: Terms, seen: Evidence, minimum: int) -> Reason | None:
    """Return which plain rate is reached, if there are `minimum` calls."""
    if seen.calls == 0 or seen.calls < minimum:
        return None
    if seen.failures >= terms.policy.failure_rate * seen.calls - _EPSILON:
        return Reason.FAILURES
    return Reason.SLOW if seen.slow >= terms.policy.slow_rate * seen.calls - _EPSILON else None


def _masks(size: int, rate: float, confidence: float) -> tuple[tuple[int, int, int], ...]:
    if not confidence:
        return ()
    return tuple(((1 << length) - 1, length, least) for length, least in spans(size, rate, confidence))


def _reopen_at(policy: Policy, rate: float) -> int:
    least = math.ceil(rate * policy.probes - _EPSILON)
    return max(2 if policy.probes >= FORGIVING_FROM else 1, least)
