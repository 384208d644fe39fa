"""A server is the queue of the textbooks: waiting times of M/M/1 and M/M/c against Erlang's closed forms."""

from __future__ import annotations

import math
import random
from statistics import fmean, pstdev, stdev

import pytest

from benchmarks.routing.servers import Server

RUNS = 30
REQUESTS = 6_000
WARM_UP = 1_000


def mean_wait(slots: int, load: float, seed: int) -> float:
    """Simulate one queue with mean service 1; returns the mean wait after the warm-up."""
    draw = random.Random(f"queue/{slots}/{load}/{seed}")
    server = Server(0, slots, 0, ())
    at = 0.0
    waits: list[float] = []
    for number in range(REQUESTS):
        at += draw.expovariate(load * slots)
        fate = server.accept(draw.expovariate(1.0), at)
        if number >= WARM_UP:
            waits.append(fate.start_s - at)
    return fmean(waits)


def erlang_wait(slots: int, load: float) -> float:
    """Return the mean wait of M/M/c with mean service 1: Erlang C / (c (1 - load))."""
    offered = load * slots
    last = offered**slots / math.factorial(slots) / (1 - load)
    busy = last / (sum(offered**number / math.factorial(number) for number in range(slots)) + last)
    return busy / (slots * (1 - load))


def test_erlangs_formula_is_that_of_mm1_for_one_slot() -> None:
    assert erlang_wait(1, 0.7) == pytest.approx(0.7 / 0.3)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (1, 0.7), (2, 0.7), (4, 0.8)])
def test_mean_waits_are_erlangs(slots: int, load: float) -> None:
    waits = [mean_wait(slots, load, seed) for seed in range(RUNS)]
    error = stdev(waits) / math.sqrt(RUNS)
    assert abs(fmean(waits) - erlang_wait(slots, load)) < 3 * error
    assert error < 0.05 * fmean(waits), "the interval must be narrow enough to say something"


@pytest.mark.parametrize(("slots", "load"), [(1, 0.7), (2, 0.7)])
def test_reports_say_how_busy_it_is(slots: int, load: float) -> None:
    draw = random.Random("busy")
    server = Server(0, slots, 0, ())
    at = 0.0
    running: list[float] = []
    smoothed: list[float] = []
    rates: list[float] = []
    for _ in range(20_000):
        at += draw.expovariate(load * slots)
        report = server.report(at)
        running.append(report.running / slots)  # arrivals see time averages
        smoothed.append(report.utilization)
        rates.append(report.requests_per_s)
        server.accept(draw.expovariate(1.0), at)
    assert fmean(running) == pytest.approx(load, abs=0.03)
    assert fmean(smoothed) == pytest.approx(load, abs=0.06)
    assert fmean(rates) == pytest.approx(load * slots, abs=0.06)
    assert pstdev(smoothed) < 0.6 * pstdev(running)
