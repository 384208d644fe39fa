"""The wheel against a naive list of deadlines: same timers, same order, never early."""

from __future__ import annotations

import random
from math import ceil, floor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from central_hub.kernel.wheel import ADVANCE_SLICE, HORIZON_MS, Timer, TimingWheel

delays = st.one_of(
    st.floats(0, 5_000, allow_nan=False),
    st.integers(0, 3_600_000).map(float),
    st.sampled_from([0.0, 1.0, 255.0, 256.0, 257.0, 16_383.5, 16_384.0, 1_048_576.0, 3_600_000.0, 1e8]),
)


class WheelMachine(RuleBasedStateMachine):
    """Sets, renews, cancels and advances a wheel and a dict of deadlines alike."""

    @initialize(zero=st.floats(0, 1e9, allow_nan=False))
    def start(self, zero: float) -> None:
        self.zero = self.now = zero
        self.wheel: TimingWheel[int] = TimingWheel(zero)
        self.timers = [Timer(n) for n in range(12)]
        self.deadlines: dict[int, int] = {}

    def tick(self, moment_ms: float) -> int:
        return ceil(moment_ms - self.zero)

    @rule(which=st.integers(0, 11), delay=delays)
    def set(self, which: int, delay: float) -> None:
        self.wheel.set(self.timers[which], self.now + delay)
        self.deadlines[which] = self.tick(self.now + delay)

    @rule(which=st.integers(0, 11))
    def cancel(self, which: int) -> None:
        self.wheel.cancel(self.timers[which])
        self.deadlines.pop(which, None)

    @rule(delay=delays, limit=st.integers(1, 40))
    def advance(self, delay: float, limit: int) -> None:
        self.now += delay
        fired: list[int] = []
        more = True
        while more:
            due, more = self.wheel.advance(self.now, limit)
            assert len(due) <= limit
            fired += [timer.key for timer in due]
        elapsed = floor(self.now - self.zero)
        expected = {which for which, tick in self.deadlines.items() if tick <= elapsed}
        assert set(fired) == expected
        ticks = [self.deadlines[which] for which in fired]
        assert ticks == sorted(ticks) or any(tick < self.tick(self.now - delay) for tick in ticks)
        for which in fired:
            del self.deadlines[which]
            assert not self.timers[which].waiting

    @precondition(lambda self: self.deadlines)
    @rule()
    def jump_to_the_next(self) -> None:
        soonest = self.wheel.next_ms()
        assert soonest is not None
        assert soonest - self.zero <= max(min(self.deadlines.values()), self.tick(self.now)) + 1e-3

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if hasattr(self, "wheel"):
            assert len(self.wheel) == len(self.deadlines)


TestWheelMachine = WheelMachine.TestCase
TestWheelMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def drain(wheel: TimingWheel[int], now_ms: float) -> list[int]:
    fired: list[int] = []
    more = True
    while more:
        due, more = wheel.advance(now_ms)
        fired += [timer.key for timer in due]
    return fired


def test_a_timer_is_never_early_and_at_most_a_millisecond_late() -> None:
    wheel: TimingWheel[int] = TimingWheel(1_000.25)
    wheel.set(Timer(1), 1_500.75)
    assert drain(wheel, 1_500.74) == []
    assert drain(wheel, 1_501.75) == [1]


def test_timers_expire_in_order_of_their_deadlines() -> None:
    wheel: TimingWheel[int] = TimingWheel(0)
    for n in (5_000, 3, 70_000, 300, 3_600_000, 1_000):
        wheel.set(Timer(n), float(n))
    assert drain(wheel, 4_000_000) == [3, 300, 1_000, 5_000, 70_000, 3_600_000]


def test_a_renewed_timer_is_not_moved_until_its_slot_comes_up() -> None:
    wheel: TimingWheel[int] = TimingWheel(0)
    timer = Timer(1)
    wheel.set(timer, 3_000)
    filed = (timer.level, timer.slot)
    for now in range(1_000, 100_000, 1_000):
        wheel.set(timer, now + 3_000.0)
        assert (timer.level, timer.slot) == filed or now > 2_000
        assert drain(wheel, now) == []
    assert drain(wheel, 103_000) == [1]


def test_an_earlier_deadline_takes_effect() -> None:
    wheel: TimingWheel[int] = TimingWheel(0)
    timer = Timer(1)
    wheel.set(timer, 3_600_000)
    wheel.set(timer, 1_000)
    assert drain(wheel, 1_000) == [1]
    assert len(wheel) == 0


def test_a_slice_touches_at_most_its_limit_and_says_that_there_is_more() -> None:
    wheel: TimingWheel[int] = TimingWheel(0)
    for n in range(ADVANCE_SLICE + 10):
        wheel.set(Timer(n), 5_000)
    wheel.advance(4_999)
    due, more = wheel.advance(5_000)
    total = len(due)
    assert more
    while more:
        due, more = wheel.advance(5_000)
        assert len(due) <= ADVANCE_SLICE
        total += len(due)
    assert total == ADVANCE_SLICE + 10


def test_cancelling_leaves_nothing_behind() -> None:
    wheel: TimingWheel[int] = TimingWheel(0)
    timers = [Timer(n) for n in range(1_000)]
    for timer in timers:
        wheel.set(timer, 3_600_000.0)
        wheel.cancel(timer)
        wheel.cancel(timer)
    assert len(wheel) == 0
    assert wheel.next_ms() is None


def test_an_hour_of_nothing_is_one_step() -> None:
    wheel: TimingWheel[int] = TimingWheel(0)
    wheel.set(Timer(1), 3_600_000 * 24 * 30)
    due, more = wheel.advance(3_600_000 * 24 * 30, limit=8)
    assert [timer.key for timer in due] == [1]
    assert not more


def test_a_deadline_beyond_the_horizon_is_a_programming_error() -> None:
    with pytest.raises(AssertionError):
        TimingWheel[int](0).set(Timer(1), HORIZON_MS + 1.0)


def test_a_crowd_that_comes_down_in_slices_is_not_late() -> None:
    look_ms, interval_ms, crowd = 20.0, 10_000.0, 20_000
    rng = random.Random(1)
    wheel = TimingWheel[int](0.0)
    for number in range(crowd):
        wheel.set(Timer(number), rng.random() * interval_ms)
    now, latest_ms = 0.0, 0.0
    while now < 2 * interval_ms:
        now += look_ms
        more = True
        while more:
            due, more = wheel.advance(now, 64)
            for timer in due:
                latest_ms = max(latest_ms, now - timer.deadline_ms)
                wheel.set(timer, timer.deadline_ms + interval_ms)
    assert latest_ms <= look_ms
    assert len(wheel) == crowd
