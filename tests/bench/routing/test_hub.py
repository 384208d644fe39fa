"""The hub's own router among the baselines: it keeps to the candidates, and is not worse than the best of them."""

from __future__ import annotations

import math
from statistics import fmean

import pytest

from benchmarks.routing.baselines.registry import OWN
from benchmarks.routing.hub import CentralHub
from benchmarks.routing.model import Maker
from benchmarks.routing.scores import Score, score
from benchmarks.routing.simulation import Chooser, Knowing, Simulation
from tests.bench.routing.worlds import source, world

WORLDS = ("load 0.7", "20% told", "slow", "60% eligible", "three hubs", "crash")
SEEDS = (9001, 9002)


def scored(name: str, chooser: Chooser, seed: int) -> Score:
    there = world(name, seed, warm_up=300, requests=500)
    return score(Simulation(there, chooser, "x").run(), there.cell.warm_up, there.slo_s)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", WORLDS)
def test_the_router_is_not_far_from_the_oracle_and_ahead_of_who_counts(name: str) -> None:
    assert source().synthetic
    hub = [scored(name, CentralHub, seed) for seed in SEEDS]
    assert sum(one.violations for one in hub) == 0
    oracle = [scored(name, Knowing(), seed) for seed in SEEDS]
    ours = fmean(math.log(one.p99_s / best.p99_s) for one, best in zip(hub, oracle, strict=True))
    assert ours < math.log(2.0)
    for other in ("least in flight", "AIBrix load-balance", "peak EWMA"):
        maker: Maker = OWN[other]
        theirs = [scored(name, maker, seed) for seed in SEEDS]
        behind = fmean(math.log(one.p99_s / best.p99_s) for one, best in zip(theirs, oracle, strict=True))
        assert ours < behind + 0.1, other


def test_decisions_are_the_same_for_the_same_seed() -> None:
    one, other = (scored("load 0.7", CentralHub, 9001) for _ in range(2))
    assert one == other
