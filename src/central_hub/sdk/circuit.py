"""The state of a service's circuit as this process sees it, from the outcomes of its own calls. Pure.

    OPEN       of at least 10 calls within 10 s, the failure rate is above one half even at the lower
               end of its 95 % interval; stays so for 10 s
    HALF_OPEN  after that, until 3 calls in a row succeed (CLOSED) or one fails (OPEN)

It tells; it refuses nothing. Calls avoid single instances that cannot be reached anyway.

Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
"""

from __future__ import annotations

from collections import deque
from math import sqrt
from typing import Final, Literal

CircuitState = Literal["CLOSED", "OPEN", "HALF_OPEN"]

EVIDENCE_MIN: Final = 10
FAILURE_RATE: Final = 0.5
WINDOW_S: Final = 10.0
BUCKET_S: Final = 1.0
OPEN_S: Final = 10.0
PROBATION: Final = 3
_Z: Final = 1.96


class Circuit:
    """Outcomes of calls to one service over the last seconds."""

    __slots__ = ("_buckets", "_opened_at_s", "_successes", "_tripped")

    def __init__(self) -> None:
        self._buckets: deque[list[float]] = deque()
        self._opened_at_s = 0.0
        self._successes = 0
        self._tripped = False

    def record(self, now_s: float, *, ok: bool) -> None:
        """Take note of an outcome.

        Args:
            now_s: monotonic seconds, never going back.
            ok: the service answered, and not with a server error.
        """
        if self._tripped:
            self._on_probation(now_s, ok=ok)
            return
        if not self._buckets or now_s - self._buckets[-1][0] >= BUCKET_S:
            self._buckets.append([now_s, 0, 0])
        bucket = self._buckets[-1]
        bucket[1 if ok else 2] += 1
        if not ok and self._is_failing(now_s):
            self._trip(now_s)

    def state(self, now_s: float) -> CircuitState:
        """Return the state at a moment, monotonic seconds."""
        if not self._tripped:
            return "CLOSED"
        return "OPEN" if now_s - self._opened_at_s < OPEN_S else "HALF_OPEN"

    def _on_probation(self, now_s: float, *, ok: bool) -> None:
        if now_s - self._opened_at_s < OPEN_S:
            return
        if not ok:
            self._trip(now_s)
            return
        self._successes += 1
        if self._successes >= PROBATION:
            self._tripped = False
            self._buckets.clear()

    def _trip(self, now_s: float) -> None:
        self._tripped, self._opened_at_s, self._successes = True, now_s, 0

    def _is_failing(self, now_s: float) -> bool:
        while self._buckets and now_s - self._buckets[0][0] > WINDOW_S:
            self._buckets.popleft()
        successes = sum(bucket[1] for bucket in self._buckets)
        failures = sum(bucket[2] for bucket in self._buckets)
        return successes + failures >= EVIDENCE_MIN and wilson_low(failures, successes + failures) > FAILURE_RATE


def wilson_low(hits: float, n: float) -> float:
    """Return the lower end of the 95 % interval of a rate of `hits` in `n` trials, `n` above 0."""
    rate = hits / n
    spread = _Z * sqrt(rate * (1 - rate) / n + _Z * _Z / (4 * n * n))
    return max(0.0, (rate + _Z * _Z / (2 * n) - spread) / (1 + _Z * _Z / n))
