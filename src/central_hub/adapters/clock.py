"""The machine's clocks and its randomness."""

from __future__ import annotations

import os
import time


class SystemClock:
    """Wall time from the system, monotonic time from `CLOCK_MONOTONIC`."""

    def now_ms(self) -> int:
        """Return the wall clock, Unix epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        """Return the monotonic clock, milliseconds."""
        return time.monotonic_ns() / 1_000_000


def since_boot_ms() -> float:
    """Return milliseconds on a clock that never goes back, and goes on while the machine sleeps where it has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) / 1_000_000


def system_random(count: int) -> bytes:
    """Return `count` bytes from the system's cryptographic source."""
    return os.urandom(count)
