"""Periods that use is counted over: calendar hours, days and months in UTC. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

HOUR: Final = "hour"
DAY: Final = "day"
MONTH: Final = "month"
COUNTED: Final = frozenset({HOUR, DAY, MONTH})
"""Periods over which use is counted exactly, from durable blocks."""

RATES_MS: Final = {"second": 1_000, "minute": 60_000}
"""Periods so short that use is limited as a rate, in memory."""

_FIXED_MS: Final = {HOUR: 3_600_000, DAY: 86_400_000}


def bounds_ms(period: str, now_ms: int) -> tuple[int, int]:
    """Return when the period that holds `now_ms` began and when it ends, epoch milliseconds.

    Args:
        period: one of `COUNTED`.
        now_ms: wall clock.
    """
    length_ms = _FIXED_MS.get(period)
    if length_ms is not None:
        start_ms = now_ms - now_ms % length_ms
        return start_ms, start_ms + length_ms
    at = datetime.fromtimestamp(now_ms / 1_000, UTC)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp() * 1_000), int(end.timestamp() * 1_000)
