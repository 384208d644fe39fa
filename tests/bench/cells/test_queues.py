"""The queue of the simulation is that of the textbooks: M/M/1 and M/D/1 against their closed forms."""

from __future__ import annotations

import math
import random
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cells.latency import Mix, reads_s
from benchmarks.cells.queues import Server, spread

RUNS = 20
CLIENTS = 6_000
WARM_UP = 1_000


def mean_wait(load: float, seed: int) -> float:
    """Simulate M/M/1 with mean service 1; returns the mean wait after the warm-up."""
    draw = random.Random(f"cells/{load}/{seed}")
    server, at, waits = Server(), 0.0, list[float]()
    for number in range(CLIENTS):
        at += draw.expovariate(load)
        start, _ = server.offer(at, draw.expovariate(1.0))
        if number >= WARM_UP:
            waits.append(start - at)
    return fmean(waits)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_mean_waits_of_mm1_are_as_worked_out(load: float) -> None:
    waits = [mean_wait(load, seed) for seed in range(RUNS)]
    error = stdev(waits) / math.sqrt(RUNS)
    assert abs(fmean(waits) - load / (1 - load)) < 3 * error
    assert error < 0.05 * fmean(waits), "the interval must be narrow enough to say something"


@pytest.mark.parametrize("load", [0.4, 0.7])
def test_mean_times_of_reads_are_those_of_md1(load: float) -> None:
    mix = Mix(reads_per_s=load * 1_000, read_s=0.001)
    means = [fmean(reads_s(mix, for_s=8.0, seed=str(seed))) for seed in range(RUNS)]
    error = stdev(means) / math.sqrt(RUNS)
    expected = 0.001 * (1 + load / 2 / (1 - load))  # Pollaczek and Khinchine, service without variance
    assert abs(fmean(means) - expected) < 3 * error
    assert error < 0.03 * expected


def test_more_than_a_core_is_refused() -> None:
    with pytest.raises(ValueError, match="more than there is"):
        reads_s(Mix(reads_per_s=200, read_s=0.005), for_s=1.0, seed="x")


def test_reads_wait_a_slice_at_most_while_a_change_is_told_and_nothing_else_comes() -> None:
    took = reads_s(Mix(reads_per_s=100, read_s=1e-6), for_s=0.0, seed="x", change_s=2.0)
    assert len(took) > 100
    assert 0.0005 < max(took) < 0.0016


def test_work_given_at_once_ends_as_work_given_one_by_one() -> None:
    together, alone = Server(), Server()
    together.offer(0.5, 10 * 0.2)
    for _ in range(10):
        alone.offer(0.5, 0.2)
    assert together.done_s == pytest.approx(alone.done_s) == pytest.approx(2.5)
    assert together.waits_s(1.0) == pytest.approx(1.5)


def test_half_a_server_takes_twice_as_long_and_does_the_same_work() -> None:
    server = Server(0.5)
    assert server.offer(1.0, 2.0) == (1.0, 5.0)
    assert server.worked_s == 2.0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_server_has_some_of_itself(share: float) -> None:
    with pytest.raises(ValueError):
        Server(share)


@given(count=st.integers(0, 10_000), parts=st.integers(1, 200), turn=st.integers(0, 500))
def test_what_is_spread_adds_up_and_is_even(count: int, parts: int, turn: int) -> None:
    found = spread(count, parts, turn)
    assert sum(found) == count
    assert max(found) - min(found) <= 1
