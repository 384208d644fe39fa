"""Tenants of a fleet: sizes that add up, placements that lose nobody, and demands that can be worked out on paper."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cells import demand
from benchmarks.cells.placement import PLACEMENTS, by_hash, by_room, held, jumped, mixed
from benchmarks.cells.world import AGENT, BEAT_EVERY_S, POLLING, SDK, Limits, World, sizes
from tests.bench.cells.worlds import COSTS, SMALL

STILL = World(
    instances=1_000, tenants=10, restarts_a_day=0, verdicts_a_day=0, changes_a_day=0, changes_for_all_a_day=0,
    events_per_s=0,
)  # fmt: skip
"""Nothing happens there but renewals and reads."""


@settings(max_examples=50, deadline=None)
@given(tenants=st.integers(1, 300), more=st.integers(0, 100_000), skew=st.floats(0, 2))
def test_sizes_add_up_and_fall(tenants: int, more: int, skew: float) -> None:
    found = sizes(tenants + more, tenants, skew)
    assert sum(found) == tenants + more
    assert len(found) == tenants
    assert min(found) >= 1
    assert found == sorted(found, reverse=True)


def test_sizes_are_in_proportion_to_rank() -> None:
    found = sizes(10_000_000, 1_000, 1.0)
    assert found[0] / found[9] == pytest.approx(10, rel=0.001)
    assert sizes(1_000, 10, 0.0) == [100] * 10


def test_there_are_no_tenants_without_instances() -> None:
    with pytest.raises(ValueError):
        sizes(9, 10, 1.0)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_a_placement_puts_every_tenant_somewhere_and_is_the_same_again(name: str) -> None:
    tenants = sizes(50_000, 2_000, 1.0)
    placed = PLACEMENTS[name](tenants, 20)
    assert len(placed) == len(tenants)
    assert set(placed) == set(range(20))
    assert sum(held(tenants, placed, 20)) == 50_000
    assert PLACEMENTS[name](tenants, 20) == placed


def test_a_directory_fills_cells_more_evenly_than_a_hash() -> None:
    tenants = sizes(1_000_000, 10_000, 0.3)
    fullest = {name: max(held(tenants, place(tenants, 20), 20)) for name, place in PLACEMENTS.items()}
    assert fullest["the emptiest, largest first"] <= fullest["the emptier of two"] <= fullest["by hash"]


def test_by_room_is_grahams_bound_away_from_the_best_at_most() -> None:
    tenants = [7, 7, 6, 6, 5, 5, 4, 4, 4]
    best = sum(tenants) / 3
    assert max(held(tenants, by_room(tenants, 3), 3)) <= (4 / 3 - 1 / 9) * best


def test_one_more_cell_takes_its_part_from_all_others_and_moves_nobody_else() -> None:
    keys = [mixed(number) for number in range(20_000)]
    before, after = [jumped(key, 10) for key in keys], [jumped(key, 11) for key in keys]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {10}
    assert len(moved) / len(keys) == pytest.approx(1 / 11, rel=0.1)
    assert by_hash([1] * 5, 1) == [0] * 5


def test_renewals_cost_what_the_paper_says() -> None:
    assert demand.core(1_000, 10, SDK, COSTS, STILL, 2) == pytest.approx(1_000 / BEAT_EVERY_S * 20e-6 / 2)
    assert demand.core(1_000, 10, AGENT, COSTS, STILL, 2) == pytest.approx(1_000 / BEAT_EVERY_S * 2e-6 / 2)
    polled = 1_000 / BEAT_EVERY_S * 20e-6 + 1_000 * 1.0 * 10e-6
    assert demand.core(1_000, 10, POLLING, COSTS, STILL, 2) == pytest.approx(polled / 2)


def test_every_hub_applies_every_record_and_the_store_takes_each_once() -> None:
    world = World(
        instances=1_000, tenants=10, restarts_a_day=0, verdicts_a_day=0, changes_a_day=0, changes_for_all_a_day=0,
        events_per_s=1.0,
    )  # fmt: skip
    two, ten = (demand.core(1_000, 10, SDK, COSTS, world, hubs) for hubs in (2, 10))
    beats = 1_000 / BEAT_EVERY_S * 20e-6
    assert two - ten == pytest.approx(beats / 2 - beats / 10), "only what is shared out gets less with more hubs"
    assert demand.used(1_000, 10, SDK, COSTS, world).parts[demand.STORE] == pytest.approx(1_000 / 50_000 / 0.5)


def test_connections_are_those_of_the_hubs_that_are_left() -> None:
    world = World(instances=1_000, tenants=10, hubs=3, limits=Limits(connections=100))
    assert demand.carried(demand.CONNECTIONS, SDK, COSTS, world) == 100
    assert demand.used(150, 1, SDK, COSTS, world).parts[demand.CONNECTIONS] == pytest.approx(1.5)
    assert demand.used(150, 1, SDK, COSTS, world).first == demand.CONNECTIONS


def test_what_is_carried_is_the_last_number_that_fits() -> None:
    for resource in demand.RESOURCES:
        most = demand.carried(resource, SDK, COSTS, SMALL)
        mean = SMALL.instances / SMALL.tenants
        assert demand.used(most, most / mean, SDK, COSTS, SMALL).parts[resource] <= 1.0
        assert demand.used(most + 1, (most + 1) / mean, SDK, COSTS, SMALL).parts[resource] > 1.0


def test_the_largest_tenant_is_bound_by_what_it_may_have_or_by_its_cell() -> None:
    by_limit = World(instances=1_000, tenants=10, limits=Limits(instances_of_a_tenant=50))
    assert demand.largest_tenant(SDK, COSTS, by_limit) == (50, "instances of a tenant")
    by_watches = World(instances=1_000, tenants=10, limits=Limits(watches_of_a_tenant=30))
    assert demand.largest_tenant(SDK, COSTS, by_watches) == (60, "watches of a tenant")
    by_cell = World(instances=1_000, tenants=10, limits=Limits(connections=40))
    assert demand.largest_tenant(SDK, COSTS, by_cell) == (40, demand.CONNECTIONS)
