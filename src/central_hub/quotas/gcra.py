"""A rate limit in one number: the generic cell rate algorithm. Pure; soft, since a restart forgets the number.

Source: GCRA as virtual scheduling, ITU-T I.371.
"""

from __future__ import annotations


class Gcra:
    """Grants up to `limit` at once and `limit` per period in the long run.

    Args:
        limit: how many per period.
        period_ms: length of the period.
    """

    __slots__ = ("_full_at_ms", "_period_ms", "_step_ms", "limit")

    def __init__(self, limit: int, period_ms: int) -> None:
        self.limit = limit
        self._period_ms = period_ms
        self._step_ms = period_ms / limit if limit else 0.0
        self._full_at_ms = float("-inf")

    def available(self, now_ms: float) -> int:
        """Return how many could be taken now."""
        if not self.limit:
            return 0
        ahead_ms = max(0.0, self._full_at_ms - now_ms)
        return min(self.limit, int((self._period_ms - ahead_ms) / self._step_ms + 1e-9))

    def take(self, now_ms: float, wanted: int) -> int:
        """Take up to `wanted`; returns how many were taken."""
        granted = min(wanted, self.available(now_ms))
        if granted:
            self._full_at_ms = max(self._full_at_ms, now_ms) + granted * self._step_ms
        return granted

    def wait_ms(self, now_ms: float) -> float:
        """Return how long until one is there; the whole period where the limit is 0."""
        if not self.limit:
            return float(self._period_ms)
        return max(0.0, self._full_at_ms - now_ms - self._period_ms + self._step_ms)
