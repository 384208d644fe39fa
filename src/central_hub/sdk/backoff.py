"""When to try again: exponential backoff with full jitter. Pure.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from typing import Final

BASE_S: Final = 0.1
CAP_S: Final = 5.0
DOUBLINGS_MAX: Final = 16
RETRY_AFTER_S_MAX: Final = 300.0
"""Longest `Retry-After` that is believed."""


class Backoff:
    """Counts failures in a row and says how long to wait after each.

    Args:
        base_s: upper bound of the first wait, seconds.
        cap_s: upper bound of every wait, seconds.
    """

    __slots__ = ("base_s", "cap_s", "failures")

    def __init__(self, base_s: float = BASE_S, cap_s: float = CAP_S) -> None:
        self.base_s = base_s
        self.cap_s = cap_s
        self.failures = 0

    def next_s(self, draw: float, *, at_least_s: float = 0.0) -> float:
        """Count a failure and return the seconds to wait.

        Args:
            draw: uniform random number in [0, 1).
            at_least_s: what the hub asked for (`Retry-After`); the jitter comes on top.
        """
        bound = min(self.cap_s, self.base_s * 2 ** min(self.failures, DOUBLINGS_MAX))
        self.failures += 1
        return min(at_least_s, RETRY_AFTER_S_MAX) + draw * bound

    def reset(self) -> None:
        """Forget the failures, after a success."""
        self.failures = 0
