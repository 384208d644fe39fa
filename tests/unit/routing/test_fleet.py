"""What is foreseen: queues that decisions make, speeds that outcomes teach, and what silence and failures say."""

from __future__ import annotations

import random

import numpy as np
import pytest

from central_hub.routing.calibration import LEVELS, Calibration
from central_hub.routing.fleet import DOUBT, Fleet
from central_hub.routing.queues import ENTRIES_MAX, Entry
from central_hub.routing.sizes import SizeBook
from central_hub.routing.speed import SpeedModel

ONE = ((0.0, 0.0),)


class World:
    """Two instances of one kind with a slot each, and a caller that tells."""

    def __init__(self, *, pooled: bool = False, slots: int = 1, guess_s: float = 1.0) -> None:
        self.fleet = Fleet(pooled=pooled)
        self.servers = np.array([self.fleet.add(slots), self.fleet.add(slots)], dtype=np.intp)
        self.kinds = np.array([self.fleet.kind("k", guess_s)] * 2, dtype=np.intp)
        self.decisions = 0

    def wait_s(self, now_s: float, by: str = "") -> list[float]:
        return self.fleet.foresee(self.servers, self.kinds, ONE, now_s, by).wait_s.tolist()

    def shunned(self, now_s: float, by: str = "") -> list[bool]:
        return self.fleet.foresee(self.servers, self.kinds, ONE, now_s, by).shunned.tolist()

    def place(self, server: int, now_s: float, caller: str = "c") -> int:
        self.decisions += 1
        self.fleet.place(self.decisions, server, 0, ONE, now_s, caller=caller, foreseen_s=1.0)
        return self.decisions

    def learned(self, count: int = 20, seconds: float = 1.0, by: str = "") -> float:
        """Let as many requests come and go, alone each; returns when."""
        now_s = 0.0
        for _ in range(count):
            for server in (0, 1):
                decision = self.place(server, now_s)
                assert self.fleet.told(decision, now_s + seconds, ok=True, latency_s=seconds, by=by)
            now_s += 2 * seconds
        return now_s


def test_a_reservation_is_waited_for_and_its_outcome_frees_the_slot_once() -> None:
    world = World()
    first = world.place(0, 0.0)
    assert world.wait_s(0.0) == [1.0, 0.0]
    second = world.place(0, 0.0)
    assert world.wait_s(0.5) == [1.5, 0.0]
    assert world.fleet.told(first, 0.5, ok=True, latency_s=0.5)
    assert not world.fleet.told(first, 0.5, ok=True, latency_s=0.5)
    assert world.fleet.queues[0].in_flight == 1
    assert world.fleet.given_up(second, 0.6, failed=False)
    assert world.wait_s(0.6) == [0.0, 0.0]


def test_slots_work_side_by_side() -> None:
    world = World(slots=2)
    for at in range(3):
        world.place(0, 0.1 * at)
    assert world.wait_s(0.2)[0] == pytest.approx(0.9)


def test_a_caller_that_never_tells_is_not_waited_for() -> None:
    world = World()
    world.place(0, 0.0, "silent")
    world.fleet.settle(60.0)
    assert world.wait_s(60.0) == [0.0, 0.0]
    assert world.fleet.queues[0].in_flight == 0
    world.place(1, 60.0, "silent")
    world.fleet.settle(61.5)
    assert world.fleet.queues[1].in_flight == 0


def test_a_silently_slow_instance_is_found_by_what_is_overdue_and_given_the_benefit_of_the_doubt_later() -> None:
    world = World()
    now_s = world.learned()
    world.place(0, now_s)
    world.fleet.settle(now_s + 2.5)
    world.wait_s(now_s + 2.5)
    assert world.fleet.factor[0] > 2.0
    assert world.fleet.factor[1] == pytest.approx(1.0)
    later_s = now_s + 2.5 + (DOUBT + 60) * world.fleet.mean_s
    world.fleet.settle(later_s)
    assert world.fleet.factor[0] == 1.0


def test_one_outcome_that_contradicts_what_is_known_moves_the_factor_at_once() -> None:
    world = World()
    now_s = world.learned()
    world.fleet.told(world.place(0, now_s), now_s + 4.0, ok=True, latency_s=4.0)
    assert world.fleet.factor[0] == pytest.approx(4.0, rel=0.05)
    world.fleet.told(world.place(0, now_s + 5), now_s + 6.0, ok=True, latency_s=1.0)
    assert world.fleet.factor[0] == pytest.approx(1.0, rel=0.05)


def test_of_a_shared_instance_two_tenants_have_to_say_that_it_is_slow_or_fails() -> None:
    world = World(pooled=True)
    now_s = world.learned(by="a")
    for at in range(3):
        start_s = now_s + 10 * at
        world.fleet.told(world.place(0, start_s), start_s + 8, ok=True, latency_s=8.0, by="a")
    assert world.fleet.factor[0] < 2.0
    start_s = now_s + 40
    world.fleet.told(world.place(0, start_s), start_s + 8, ok=True, latency_s=8.0, by="b")
    assert world.fleet.factor[0] == pytest.approx(8.0, rel=0.1)
    world.fleet.seen(1, 100.0, ok=False, by="a")
    world.fleet.seen(1, 100.0, ok=False, by="a")
    assert world.shunned(100.1, "a") == [False, True]
    assert world.shunned(100.1, "b") == [False, False]
    world.fleet.seen(1, 100.2, ok=False, by="b")
    assert world.shunned(100.3, "c") == [False, True]
    assert world.shunned(200.0, "a") == [False, False]


def test_failures_are_shunned_longer_the_more_there_are() -> None:
    world = World()
    world.fleet.seen(0, 0.0, ok=False)
    assert world.shunned(2.9) == [True, False]
    assert world.shunned(3.1) == [False, False]
    world.fleet.seen(0, 4.0, ok=False)
    assert world.shunned(9.0) == [True, False]
    for at in range(50):
        world.fleet.seen(0, 10.0 + at, ok=False)
    assert world.shunned(100.0) == [False, False]


def test_reports_say_what_others_send_there_and_what_has_ended() -> None:
    world = World()
    world.fleet.reported(0, 10.0, 3, 10.0)
    assert world.wait_s(10.0)[0] == pytest.approx(3.0)
    world.fleet.reported(0, 11.0, 0, 11.0)
    assert world.wait_s(11.0)[0] < 3.0


def test_a_number_is_used_again_without_what_was_known_of_it() -> None:
    world = World()
    world.place(0, 0.0)
    world.fleet.seen(0, 0.0, ok=False)
    world.fleet.remove(0)
    assert world.fleet.add(1) == 0
    assert world.wait_s(0.0) == [0.0, 0.0]
    assert world.shunned(0.0) == [False, False]
    for _ in range(100):
        world.fleet.add(2)
    assert len(world.fleet.queues) == 102


def test_a_queue_is_bounded() -> None:
    world = World()
    for _ in range(ENTRIES_MAX + 5):
        world.fleet.queues[0].open(Entry("d", 0.0, (1.0,), silent=False))
    assert world.fleet.queues[0].in_flight == ENTRIES_MAX


def test_speed_is_learned_from_sizes_and_survives_stray_outcomes() -> None:
    rng = random.Random(3)
    model = SpeedModel(1.0)
    for at in range(200):
        size = (rng.uniform(50, 7_000), rng.uniform(1, 100))
        seconds = 0.02 + 1e-4 * size[0] + 5e-3 * size[1]
        model.learn(size, seconds * (10.0 if at % 25 == 0 else 1.0))
    for size in ((100.0, 5.0), (6_000.0, 80.0)):
        assert model.expected_s(size) == pytest.approx(0.02 + 1e-4 * size[0] + 5e-3 * size[1], rel=0.05)
    assert model.trusted


def test_declared_sizes_are_doubted_as_much_as_they_were_wrong() -> None:
    book = SizeBook()
    assert book.draws(None, random.Random(1).getrandbits) == ((0.0, 0.0),)
    assert book.draws((10.0, 2.0), random.Random(1).getrandbits) == ((10.0, 2.0),)
    for _ in range(20):
        book.learn((10.0, 2.0), (20.0, 2.0))
    drawn = book.draws((10.0, 2.0), random.Random(1).getrandbits)
    assert set(drawn) == {(20.0, 2.0)}
    assert set(book.draws(None, random.Random(1).getrandbits)) == {(20.0, 2.0)}


def test_quantiles_hold_in_the_long_run_even_when_what_is_foreseen_drifts() -> None:
    rng = random.Random(5)
    found = Calibration()
    for at in range(4_000):
        found.learn(1.0, rng.lognormvariate(0.0 if at < 2_000 else 0.7, 0.5))
    for level, below in zip(LEVELS, found.below, strict=True):
        assert below / found.outcomes == pytest.approx(level, abs=0.02)
    assert list(found.factors()) == sorted(found.factors())
