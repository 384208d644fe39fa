"""Clients that lost their hub: nobody is lost or invented, and times are those on paper."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cells.scenarios import cell_death, fleet, hub_death, simulate
from benchmarks.cells.storm import TICK_S, Hub, Place, Storm, Terms
from benchmarks.cells.world import AGENT, SDK, Way
from tests.bench.cells.worlds import COSTS, SMALL, storm


@settings(max_examples=40, deadline=None)
@given(
    clients=st.integers(0, 3_000),
    rooms=st.lists(st.integers(0, 2_000), min_size=1, max_size=4),
    work_s=st.sampled_from((0.0, 0.0001, 0.002, 0.02)),
    patience_s=st.sampled_from((0.5, 2.0, 5.0)),
)
def test_nobody_is_lost_or_invented(clients: int, rooms: list[int], work_s: float, patience_s: float) -> None:
    made = storm(clients=clients, rooms=rooms, work_s=work_s, patience_s=patience_s, ends_s=20.0)
    seen = made.run()  # it checks itself after every tick
    made.check()
    assert 0 <= seen.back <= min(clients, sum(rooms))
    assert [live for _, live in seen.course] == sorted(live for _, live in seen.course)


def test_clients_are_back_when_the_work_is_done() -> None:
    seen = storm(clients=4_000, rooms=[10_000, 10_000], work_s=0.001).run()
    assert seen.all_s == pytest.approx(4_000 * 0.001 / 2, abs=4 * TICK_S)
    assert seen.half_s == pytest.approx(1.0, abs=4 * TICK_S)
    assert seen.out_at(seen.all_s) == 0
    assert seen.out_at(0.0) == 4_000
    assert (seen.refused, seen.given_up, seen.wasted) == (0, 0, 0.0)


def test_twice_the_hubs_half_the_time() -> None:
    two = storm(clients=8_000, rooms=[10_000] * 2).run()
    four = storm(clients=8_000, rooms=[10_000] * 4).run()
    assert two.all_s is not None
    assert four.all_s == pytest.approx(two.all_s / 2, abs=4 * TICK_S)


def test_who_finds_no_room_is_never_back() -> None:
    seen = storm(clients=500, rooms=[200, 100], ends_s=30.0).run()
    assert seen.back == 300
    assert seen.all_s is None
    assert seen.out_at(30.0) == 200
    assert seen.refused > 200


def test_clients_that_do_not_wait_make_the_hub_work_for_nobody() -> None:
    patient = storm(clients=3_000, rooms=[10_000], work_s=0.002, patience_s=60.0).run()
    hasty = storm(clients=3_000, rooms=[10_000], work_s=0.002, patience_s=1.0).run()
    assert patient.all_s is not None
    assert patient.wasted == 0.0
    assert hasty.given_up > 0
    assert hasty.wasted > 0.1
    assert hasty.all_s is None or hasty.all_s > 1.5 * patient.all_s


def test_what_has_to_be_written_goes_as_fast_as_the_store() -> None:
    terms = Terms(work_s=0.0001, refused_s=0.0, connections=1, patience_s=60.0, stored_s=0.002)
    made = Storm([Place([Hub(5_000, 1.0) for _ in range(3)])], terms)
    made.come(0, 3_000, 0.0, 0.1)
    assert made.run().all_s == pytest.approx(3_000 * 0.002, rel=0.05)


def test_a_hub_that_is_busy_takes_longer() -> None:
    terms = Terms(work_s=0.001, refused_s=0.0, connections=1, patience_s=60.0)
    made = Storm([Place([Hub(5_000, 0.25)])], terms)
    made.come(0, 1_000, 0.0, 0.1)
    assert made.run().all_s == pytest.approx(4.0, rel=0.05)


def test_a_full_cell_survives_a_hub_and_an_overfull_one_does_not() -> None:
    full = hub_death(1.0, SDK, silent=False, costs=COSTS, world=SMALL)
    assert full.seen.all_s is not None
    assert full.expired == 0
    over = hub_death(1.2, SDK, silent=False, costs=COSTS, world=SMALL)
    assert over.seen.all_s is None
    assert over.expired == pytest.approx(0.2 * full.instances, rel=0.01)


def test_a_machine_that_vanishes_is_noticed_later_than_a_process_that_ends() -> None:
    ended = hub_death(0.5, SDK, silent=False, costs=COSTS, world=SMALL).seen
    vanished = hub_death(0.5, SDK, silent=True, costs=COSTS, world=SMALL).seen
    assert ended.all_s is not None
    assert vanished.all_s is not None
    assert vanished.all_s > ended.all_s + 2


@pytest.mark.parametrize("way", [SDK, AGENT])
def test_the_tenants_of_a_lost_cell_are_all_in_others_where_there_is_room(way: Way) -> None:
    death = cell_death(20, way, COSTS, SMALL)
    assert death.seen.all_s is not None
    assert death.seen.back == death.seen.clients
    assert death.instances == pytest.approx(SMALL.instances / 20, rel=0.3)


def test_the_same_costs_give_the_same_report() -> None:
    told: list[str] = []
    first, second = (simulate(COSTS, SMALL, fleets=(5, 10), step=told.append) for _ in range(2))
    assert first == second
    assert first.unsound == 0
    assert "5 cells, SDK" in told


def test_twice_the_cells_half_the_use() -> None:
    five, ten = (fleet(cells, AGENT, COSTS, SMALL) for cells in (5, 10))
    assert five.used["connections"] == pytest.approx(2 * ten.used["connections"], rel=0.3)
