"""Outcomes of the last seconds, in one bucket a second: whole buckets leave as the clock moves. Pure."""

from __future__ import annotations

from array import array

from central_hub.breakers.model import Evidence


class SecondsWindow:
    """Counts of calls, failures, slow calls and slow failures.

    Args:
        size: whole seconds that count, the running one included.
    """

    __slots__ = ("_buckets", "_second", "_size", "_totals")

    def __init__(self, size: int) -> None:
        self._size = size
        self._buckets = array("Q", bytes(8 * 4 * size))
        self._totals = [0, 0, 0, 0]
        self._second = 0

    def add(self, now_s: float, *, failed: bool, slow: bool) -> None:
        """Count an outcome; a time before the latest one counts as that."""
        self._move(now_s)
        at = 4 * (self._second % self._size)
        for offset, counted in enumerate((True, failed, slow, failed and slow)):
            self._buckets[at + offset] += counted
            self._totals[offset] += counted

    def evidence(self, now_s: float) -> Evidence:
        """Return what is counted at a moment."""
        self._move(now_s)
        calls, failures, slow, slow_failures = self._totals
        return Evidence(calls=calls, failures=failures, slow=slow, slow_failures=slow_failures)

    def _move(self, now_s: float) -> None:
        second = int(now_s)
        passed = min(second - self._second, self._size)
        if passed <= 0:
            return
        for past in range(second - passed + 1, second + 1):
            at = 4 * (past % self._size)
            for offset in range(4):
                self._totals[offset] -= self._buckets[at + offset]
                self._buckets[at + offset] = 0
        self._second = second
