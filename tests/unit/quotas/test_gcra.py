"""The rate limiter against a model, and the calendar's periods."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.quotas.gcra import Gcra
from central_hub.quotas.periods import bounds_ms

LIMITS = st.integers(1, 50)
STEPS = st.lists(st.tuples(st.integers(0, 700), st.integers(1, 20)), max_size=80)


@given(LIMITS, STEPS)
def test_it_grants_what_a_bucket_that_fills_steadily_holds(limit: int, steps: list[tuple[int, int]]) -> None:
    """The model is a bucket of `limit` tokens that gains `limit` per period; counted in tokens times milliseconds."""
    period_ms = 1_000
    gcra, now_ms, level = Gcra(limit, period_ms), 0, limit * period_ms
    for wait_ms, wanted in steps:
        now_ms += wait_ms
        level = min(limit * period_ms, level + wait_ms * limit)
        granted = gcra.take(now_ms, wanted)
        assert granted == min(wanted, level // period_ms)
        level -= granted * period_ms
        if not gcra.available(now_ms):
            assert gcra.wait_ms(now_ms) == pytest.approx((period_ms - level) / limit, abs=0.01)


@given(LIMITS, STEPS)
def test_no_window_of_a_period_admits_more_than_twice_the_limit(limit: int, steps: list[tuple[int, int]]) -> None:
    gcra, now_ms = Gcra(limit, 1_000), 0
    taken: list[tuple[int, int]] = []
    for wait_ms, wanted in steps:
        now_ms += wait_ms
        taken.append((now_ms, gcra.take(now_ms, wanted)))
    for start_ms, _ in taken:
        assert sum(count for at_ms, count in taken if start_ms <= at_ms < start_ms + 1_000) <= 2 * limit


def test_a_limit_of_nothing_grants_nothing() -> None:
    assert Gcra(0, 1_000).take(5, 1) == 0
    assert Gcra(0, 1_000).wait_ms(5) == 1_000


TIMES = st.integers(0, 4_000_000_000_000)


@given(TIMES, st.sampled_from(["hour", "day", "month"]))
def test_a_period_holds_its_moment_and_touches_its_neighbours(now_ms: int, period: str) -> None:
    start_ms, end_ms = bounds_ms(period, now_ms)
    assert start_ms <= now_ms < end_ms
    assert bounds_ms(period, end_ms)[0] == end_ms
    assert bounds_ms(period, start_ms) == (start_ms, end_ms) == bounds_ms(period, end_ms - 1)


def test_months_are_those_of_the_calendar() -> None:
    start_ms, end_ms = bounds_ms("month", int(datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp() * 1_000))
    assert (datetime.fromtimestamp(start_ms / 1_000, UTC), datetime.fromtimestamp(end_ms / 1_000, UTC)) == (
        datetime(2024, 2, 1, tzinfo=UTC),
        datetime(2024, 3, 1, tzinfo=UTC),
    )
    _, end_ms = bounds_ms("month", int(datetime(2024, 12, 5, tzinfo=UTC).timestamp() * 1_000))
    assert datetime.fromtimestamp(end_ms / 1_000, UTC) == datetime(2025, 1, 1, tzinfo=UTC)
