"""The oracle is the measure: nobody does better in the same state; the reference comes close where it can."""

from __future__ import annotations

from statistics import fmean

import pytest

from benchmarks.routing.baselines.registry import OWN
from benchmarks.routing.oracles import Feasible
from benchmarks.routing.scores import Score, score
from benchmarks.routing.simulation import Chooser, Knowing, Simulation
from benchmarks.routing.workload import Workload
from tests.bench.routing.worlds import source, world

CELLS = ("load 0.7", "vidur", "60% eligible", "slow", "crash", "three hubs")


def scored(workload: Workload, chooser: Chooser, name: str) -> Score:
    return score(Simulation(workload, chooser, name).run(), workload.cell.warm_up, workload.slo_s)


def feasible(workload: Workload) -> Chooser:
    return lambda setting: Feasible(setting, workload, source())


@pytest.mark.parametrize("name", CELLS)
def test_the_oracle_is_optimal_by_every_myopic_measure(name: str) -> None:
    found = scored(world(name), Knowing(), "oracle")
    assert (found.strict, found.within_epsilon, found.slo_optimal) == (1.0, 1.0, 1.0)
    assert found.regret == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("policy", OWN)
@pytest.mark.parametrize("name", ["load 0.7", "slow"])
def test_nobody_is_better_than_the_oracle_in_the_same_state(name: str, policy: str) -> None:
    workload = world(name)
    tape = Simulation(workload, OWN[policy], policy).run()
    assert all(entry.cost_s >= entry.best_s for entry in tape.entries)
    found = score(tape, workload.cell.warm_up, workload.slo_s)
    assert 0 < found.strict < 1
    assert found.strict <= found.within_epsilon < 1
    assert found.slo_optimal < 1
    assert found.regret > 0
    assert found.violations == 0


def test_the_reference_is_the_oracle_where_it_can_know_everything() -> None:
    """Sizes exact, one hub, everyone reports, nothing fails: it must work out every queue by itself."""
    workload = world("sizes exact", warm_up=200, requests=1_000)
    oracle, reference = scored(workload, Knowing(), "oracle"), scored(workload, feasible(workload), "reference")
    assert reference.strict > 0.99
    assert reference.p99_s == pytest.approx(oracle.p99_s, rel=0.01)


def test_less_information_makes_the_reference_worse() -> None:
    worlds = [world(name, requests=1_200) for name in ("sizes exact", "load 0.7", "sizes unknown")]
    strict = [scored(workload, feasible(workload), "reference").strict for workload in worlds]
    assert strict[0] > strict[1] > strict[2]


@pytest.mark.parametrize("name", ["load 0.7", "20% told", "slow"])
def test_the_reference_beats_every_baseline_where_it_knows_what_they_do_not(name: str) -> None:
    workloads = [world(name, seed, requests=900) for seed in (1, 2, 3)]
    reference = fmean(scored(workload, feasible(workload), "reference").p99_s for workload in workloads)
    for policy, maker in OWN.items():
        assert reference < fmean(scored(workload, maker, policy).p99_s for workload in workloads), policy


def test_the_reference_finds_a_slow_server_by_itself() -> None:
    workload = world("slow", warm_up=800, requests=1_600)
    tape = Simulation(workload, feasible(workload), "reference").run()
    for number, phases in enumerate(workload.phases):
        for phase in phases:
            slow = [entry for entry in tape.entries if phase.start_s + 2 < workload.jobs[entry.job].at_s < phase.end_s]
            share = fmean(entry.chosen == number for entry in slow)
            usual = fmean(
                entry.chosen == number for entry in tape.entries if workload.jobs[entry.job].at_s < phase.start_s
            )
            assert share < max(0.6 * usual, 0.03)
