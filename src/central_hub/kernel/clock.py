"""Time as an argument: what the pure code asks of a clock, and a clock that tests can turn."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Protocol

TIME_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: later times have no RFC 3339 form."""


class Clock(Protocol):
    """Wall time for what is recorded, monotonic time for what expires."""

    def now_ms(self) -> int:
        """Return the wall clock, Unix epoch milliseconds."""
        ...

    def monotonic_ms(self) -> float:
        """Return milliseconds on a clock that never goes back; its zero means nothing."""
        ...


class ManualClock:
    """A clock that stands still until it is told to advance (tests, simulations)."""

    def __init__(self, now_ms: int = 1_700_000_000_000, monotonic_ms: float = 0.0) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = monotonic_ms

    def now_ms(self) -> int:
        """Return the wall clock, Unix epoch milliseconds."""
        return self._now_ms

    def monotonic_ms(self) -> float:
        """Return the monotonic clock, milliseconds."""
        return self._monotonic_ms

    def advance(self, milliseconds: float) -> None:
        """Move both clocks forward."""
        self._monotonic_ms += milliseconds
        self._now_ms += int(milliseconds)

    def jump_wall(self, milliseconds: int) -> None:
        """Move the wall clock alone, either way, as an operator or NTP would."""
        self._now_ms += milliseconds


def rfc3339(now_ms: int) -> str:
    """Format epoch milliseconds as RFC 3339 in UTC with a trailing Z, to the millisecond."""
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03d}Z"
