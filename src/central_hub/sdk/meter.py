"""What a service measures about itself: requests in flight, how many failed, how long the last ones took."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

RECENT_MAX: Final = 512
SERVER_ERROR_FROM: Final = 500
"""Status from which an answer says that the service failed, not its caller."""
FRESH_S: Final = 30.0
"""Requests that ended longer ago say nothing about the present."""


class Meter:
    """Counts requests.

    Args:
        max_in_flight: requests at which the service counts as fully loaded; None if it does not know.
    """

    def __init__(self, max_in_flight: int | None = None) -> None:
        self.in_flight = 0
        self.served = 0
        self.failed = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._max = max_in_flight
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT_MAX)

    def began(self) -> None:
        """Take note of a request."""
        self.in_flight += 1
        self._idle.clear()

    def ended(self, now_s: float, latency_ms: float, *, failed: bool = False) -> None:
        """Take note that a request is done; `now_s` is monotonic seconds, `failed` that it is the service's fault."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()
        self.served += 1
        self.failed += failed
        self._recent.append((now_s, latency_ms))

    async def idle(self, timeout_s: float) -> None:
        """Wait until no request is in flight, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    @property
    def load(self) -> float | None:
        """Utilisation from 0 to 1, None when there is no maximum."""
        return None if not self._max else min(1.0, self.in_flight / self._max)

    def latency_ms_p95(self, now_s: float) -> float | None:
        """Return the 95th percentile of the last requests, None without a recent one."""
        recent = sorted(latency for ended_s, latency in self._recent if now_s - ended_s <= FRESH_S)
        return recent[min(len(recent) - 1, int(0.95 * len(recent)))] if recent else None
