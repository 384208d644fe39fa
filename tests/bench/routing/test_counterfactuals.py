"""What the judge says a server would give is what it gives: against a replay that shares no arithmetic with it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.routing.baselines.registry import OWN
from benchmarks.routing.replay import TOLERANCE_S, Arrival, forced_replays, play
from benchmarks.routing.servers import Phase, Server
from benchmarks.routing.simulation import Simulation
from tests.bench.routing.worlds import world

NAMES = ("load 0.7", "vidur", "60% eligible", "crash", "slow", "flapping", "zone 0.5", "three hubs", "sessions")


@pytest.mark.parametrize("name", NAMES)
def test_a_decision_forced_elsewhere_gets_what_was_foreseen(name: str) -> None:
    compared, difference = forced_replays(world(name), OWN["least in flight"], "least in flight", 12)
    assert compared == 12
    assert difference < TOLERANCE_S


@st.composite
def phases(draw: st.DrawFn) -> tuple[Phase, ...]:
    """Draw phases that neither overlap nor touch."""
    at = 0.0
    found: list[Phase] = []
    for gap, length, speed in draw(
        st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.1, 3), st.sampled_from((0.0, 0.25, 0.5))), max_size=4)
    ):
        start = at + gap
        at = start + length
        found.append(Phase(start, at, speed))
    return tuple(found)


@settings(max_examples=300, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.floats(0.001, 0.7), st.floats(0.01, 2)), min_size=1, max_size=40),
    slots=st.integers(1, 4),
    phases=phases(),
)
def test_a_server_does_what_a_queue_does(
    arrivals: list[tuple[float, float]], slots: int, phases: tuple[Phase, ...]
) -> None:
    server = Server(0, slots, 0, phases)
    at = 0.0
    came: list[Arrival] = []
    said: list[tuple[float, bool]] = []
    for gap, service in arrivals:
        at += gap
        came.append(Arrival(at, service))
        foreseen = server.foresee(service, at)
        accepted = server.accept(service, at)
        assert accepted == foreseen
        said.append((accepted.end_s, accepted.ok))
    for (end, ok), gone in zip(said, play(came, slots, phases), strict=True):
        assert ok == gone.ok
        assert end == pytest.approx(gone.end_s, abs=1e-6)


def test_to_foresee_changes_nothing() -> None:
    server = Server(0, 1, 0, ())
    server.accept(1.0, 0.0)
    first = [server.foresee(2.0, 0.5) for _ in range(3)]
    assert {fate.end_s for fate in first} == {3.0}
    assert server.in_flight(0.5) == 1


def test_a_crash_takes_what_is_held_and_refuses_the_rest() -> None:
    server = Server(0, 1, 0, (Phase(1.0, 2.0, 0.0),))
    assert server.accept(5.0, 0.0)[::2] == (1.0, False)
    assert server.accept(0.1, 0.5)[::2] == (1.0, False)
    assert not server.accept(0.1, 1.5).ok
    assert server.in_flight(1.5) == 0
    assert server.accept(0.5, 2.0)[::2] == (2.5, True)


def test_slowness_stretches_the_work_that_falls_into_it() -> None:
    server = Server(0, 1, 0, (Phase(1.0, 3.0, 0.25),))
    assert server.accept(2.0, 0.0).end_s == pytest.approx(3.5)


def test_a_kept_prefix_is_forgotten_in_a_crash() -> None:
    server = Server(0, 1, 0, (Phase(1.0, 2.0, 0.0),))
    server.accept(0.1, 0.0, prefix=7)
    assert server.has(7, 0.9)
    assert not server.has(7, 2.0)
    server.accept(0.1, 2.5, prefix=8)
    assert server.has(8, 2.6)
    assert not server.has(7, 2.6)


@pytest.mark.parametrize("name", ["load 0.7", "vidur", "5% eligible"])
def test_what_is_computed_the_short_way_is_what_a_server_says(name: str) -> None:
    """Where nothing fails the judge computes costs without asking the servers; to the last bit they must agree."""
    workload = world(name)
    simulation = Simulation(workload, OWN["power of two"], "power of two")
    simulation.watched.update(range(len(workload.jobs)))
    tape = simulation.run()
    for decision, entry in enumerate(tape.entries):
        arrived = workload.jobs[entry.job].at_s
        costs = {server: fate.end_s - arrived for server, fate in simulation.foreseen[decision].items()}
        assert entry.best_s == min(costs.values())
        assert entry.cost_s == costs[entry.chosen]
        assert entry.best_in_slo == (min(costs.values()) <= workload.slo_s)
