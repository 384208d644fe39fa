"""The questions that are put to the fleet, and what comes out: everything that the page and its pictures show."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heapreplace
from typing import Final

import msgspec

from benchmarks.cells import demand
from benchmarks.cells.costs import Costs
from benchmarks.cells.latency import Mix, Waits, reads_s, waits_of
from benchmarks.cells.placement import PLACEMENTS, by_hash, by_room, held
from benchmarks.cells.storm import Hub, Place, Seen, Storm, Terms
from benchmarks.cells.world import AGENT, BEAT_EVERY_S, POLLING, SDK, WAYS, Way, World, sizes
from central_hub.sdk.backoff import BASE_S, CAP_S
from central_hub.sdk.link import SEVERAL_TIMEOUT_S
from central_hub.sdk.serving import LEASE_TTL_S

FLEETS: Final = (10, 30, 100, 300, 1_000)
"""Numbers of cells."""
SKEWS: Final = (0.6, 0.8, 1.0)
STREAMING: Final = (SDK, AGENT)
"""Ways of talking to a hub that are put through everything."""
FILLED: Final = (0.25, 0.5, 0.9, 1.0, 1.2)
"""How full cells are when a hub dies: parts of what they carry with one hub gone."""
NOTICED_S: Final = 30.0
"""Until somebody says that a cell is gone and where its tenants go; assumed, nothing in the product does it."""
LOADS: Final = (0.2, 0.4, 0.6, 0.8, 0.9)
DEAD_CELL_ENDS_S: Final = 300.0
IDLE_MIN: Final = 0.01
"""Of a core or a store: what is left of one that steady work alone overfills."""
QUIET_S: Final = 1.0
CHANGES: Final = 10
"""Changes told to every stream of a hub, one after another, while reads are timed."""


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What one cell carries of instances that talk to it in one way, and the largest tenant."""

    way: str
    instances: dict[str, int]
    first: str
    cells_needed: int
    tenant: int
    tenant_by: str


class Whales(msgspec.Struct, frozen=True, kw_only=True):
    """Tenants that no cell can hold."""

    way: str
    skew: float
    largest: int
    fits: int
    too_large: int
    turned_away: int


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet of so many cells: the busiest one's use of everything, and how evenly each placement fills cells."""

    way: str
    cells: int
    mean: float
    used: dict[str, float]
    first: str
    uneven: dict[str, float]
    moved_by_one_more: float
    """Tenants that a hash gives another cell when there is one cell more; a directory moves none."""


class HubDeath(msgspec.Struct, frozen=True, kw_only=True):
    """One hub of a cell dies."""

    way: str
    filled: float
    instances: int
    silent: bool
    seen: Seen
    expired: int
    """Not live again a lease's time after the death."""


class CellDeath(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a fleet dies, and its tenants are made anew in the others."""

    way: str
    cells: int
    instances: int
    tenants: int
    imported_s: float
    seen: Seen


class Reads(msgspec.Struct, frozen=True, kw_only=True):
    """How long reads take in a hub that is so busy with instances that poll."""

    busy: float
    instances: int
    quiet: Waits
    while_told: Waits


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was simulated."""

    costs: Costs
    world: World
    carried: list[Carried]
    whales: list[Whales]
    fleets: list[Fleet]
    hub_deaths: list[HubDeath]
    cell_deaths: list[CellDeath]
    reads: list[Reads]
    unsound: int
    """Checks of the simulation that did not hold; those of storms end the run instead."""


def simulate(costs: Costs, world: World, *, fleets: tuple[int, ...], step: Callable[[str], None]) -> Report:
    """Put every question."""
    step("what a cell carries")
    carries = [carried(way, costs, world) for way in WAYS]
    whales = [whales_of(way, skew, costs, world) for way in STREAMING for skew in SKEWS]
    found: list[Fleet] = []
    dead_cells: list[CellDeath] = []
    for way in STREAMING:
        for cells in fleets:
            step(f"{cells} cells, {way.name}")
            found.append(fleet(cells, way, costs, world))
            dead_cells.append(cell_death(cells, way, costs, world))
    step("hubs that die")
    deaths = [
        hub_death(filled, way, silent=silent, costs=costs, world=world)
        for way in STREAMING
        for silent in (False, True)
        for filled in FILLED
    ]
    step("reads")
    return Report(
        costs=costs,
        world=world,
        carried=carries,
        whales=whales,
        fleets=found,
        hub_deaths=deaths,
        cell_deaths=dead_cells,
        reads=[reads_at(load, costs, world) for load in LOADS],
        unsound=sum(one.seen.back > one.seen.clients for one in (*deaths, *dead_cells)),
    )


def carried(way: Way, costs: Costs, world: World) -> Carried:
    """Say what one cell carries."""
    bounds = {name: demand.carried(name, way, costs, world) for name in demand.RESOURCES}
    first = min(bounds, key=lambda name: bounds[name])
    tenant, tenant_by = demand.largest_tenant(way, costs, world)
    return Carried(
        way=way.name,
        instances=bounds,
        first=first,
        cells_needed=-(-world.instances // bounds[first]),
        tenant=tenant,
        tenant_by=tenant_by,
    )


def whales_of(way: Way, skew: float, costs: Costs, world: World) -> Whales:
    """Say how many tenants no cell can hold, and how many instances they have too many."""
    fits, _ = demand.largest_tenant(way, costs, world)
    over = [size - fits for size in sizes(world.instances, world.tenants, skew) if size > fits]
    return Whales(
        way=way.name,
        skew=skew,
        largest=max(over, default=0) + fits,
        fits=fits,
        too_large=len(over),
        turned_away=sum(over),
    )


def housed(way: Way, costs: Costs, world: World) -> list[int]:
    """Return the tenants' sizes, none larger than a cell can hold."""
    fits, _ = demand.largest_tenant(way, costs, world)
    return [min(size, fits) for size in sizes(world.instances, world.tenants, world.skew)]


def fleet(cells: int, way: Way, costs: Costs, world: World) -> Fleet:
    """Place all tenants and look at the busiest cell."""
    tenants = housed(way, costs, world)
    mean = sum(tenants) / cells
    uneven: dict[str, float] = {}
    busiest = 0
    for name, place in PLACEMENTS.items():
        placed = place(tenants, cells)
        full = held(tenants, placed, cells)
        assert sum(full) == sum(tenants)
        uneven[name] = max(full) / mean
        busiest = max(full)  # of the last: the emptiest, largest first
    moved = sum(one != other for one, other in zip(by_hash(tenants, cells), by_hash(tenants, cells + 1), strict=True))
    use = demand.used(busiest, len(tenants) / cells, way, costs, world)
    return Fleet(
        way=way.name,
        cells=cells,
        mean=mean,
        used=use.parts,
        first=use.first,
        uneven=uneven,
        moved_by_one_more=moved / len(tenants),
    )


def _hub(instances: float, hubs: int, way: Way, costs: Costs, world: World) -> Hub:
    """Return a hub of a cell with so many instances, evenly shared out."""
    tenants = instances * world.tenants / world.instances
    busy = demand.core(instances, tenants, way, costs, world, hubs)
    taken = round(instances / hubs / way.together * way.connections)
    return Hub(max(0, world.limits.connections - taken), max(IDLE_MIN, 1 - busy))


def _terms(way: Way, costs: Costs, *, registering: bool) -> Terms:
    """Return what it takes for a group of instances to be live again: its streams, its renewal, its registrations."""
    together = way.together
    beat_s, register_s, record_s = (
        (costs.beat_s, costs.register_s, 1 / costs.lone_records_per_s)
        if together == 1
        else (costs.beat_in_batch_s, costs.register_in_batch_s, 1 / costs.records_per_s)
    )
    return Terms(
        work_s=way.watches * costs.open_s + together * (beat_s + (register_s if registering else 0.0)),
        stored_s=together * record_s if registering else 0.0,
        refused_s=costs.refuse_s,
        connections=way.connections,
        patience_s=SEVERAL_TIMEOUT_S,
    )


def hub_death(filled: float, way: Way, *, silent: bool, costs: Costs, world: World) -> HubDeath:
    """Let one hub of a cell die.

    Args:
        filled: how full the cell is, as a part of what it carries with one hub gone.
        way: how its instances talk to it.
        silent: the machine vanishes, so that clients notice by what is not answered; otherwise the process ends.
        costs, world: as everywhere.
    """
    instances = round(filled * min(demand.carried(name, way, costs, world) for name in demand.RESOURCES))
    survivors = [_hub(instances, world.hubs, way, costs, world) for _ in range(world.hubs - 1)]
    storm = Storm([Place(survivors)], _terms(way, costs, registering=False))
    from_s, within_s = (SEVERAL_TIMEOUT_S, BEAT_EVERY_S) if silent else (0.0, BASE_S)
    storm.come(0, instances // world.hubs // way.together, from_s, within_s)
    seen = storm.run()
    return HubDeath(
        way=way.name,
        filled=filled,
        instances=instances,
        silent=silent,
        seen=seen,
        expired=seen.out_at(LEASE_TTL_S) * way.together,
    )


def cell_death(cells: int, way: Way, costs: Costs, world: World) -> CellDeath:
    """Let one cell of a fleet die; its tenants go, largest first, to the emptiest of the others.

    It is the last cell: the largest tenants are in the first ones, alone where there are many cells.
    """
    tenants = housed(way, costs, world)
    placed = by_room(tenants, cells)
    homeless = sorted((size for size, cell in zip(tenants, placed, strict=True) if cell == cells - 1), reverse=True)
    full = held(tenants, placed, cells)[:-1]
    places = [_place(size, way, costs, world) for size in full]
    storm = Storm(places, _terms(way, costs, registering=True), DEAD_CELL_ENDS_S)
    heap = [(size, place) for place, size in enumerate(full)]
    heapify(heap)
    imported = [NOTICED_S] * len(places)
    for size in homeless:
        before, place = heap[0]
        heapreplace(heap, (before + size, place))
        imported[place] += costs.import_wall_s
        storm.come(place, -(-size // way.together), imported[place], CAP_S)
    return CellDeath(
        way=way.name,
        cells=cells,
        instances=sum(homeless),
        tenants=len(homeless),
        imported_s=max(imported),
        seen=storm.run(),
    )


def _place(instances: int, way: Way, costs: Costs, world: World) -> Place:
    hubs = [_hub(instances, world.hubs, way, costs, world) for _ in range(world.hubs)]
    written = demand.used(instances, 0, way, costs, world).parts[demand.STORE] * world.limits.store_share
    return Place(hubs, max(IDLE_MIN, 1 - written))


def reads_at(load: float, costs: Costs, world: World) -> Reads:
    """Return how long reads take in a hub whose core is so busy with instances that poll.

    The streams are those that a hub may have at most.
    """
    each_s = POLLING.reads_per_s * costs.read_s + costs.beat_s / BEAT_EVERY_S
    instances = load / each_s
    mix = Mix(
        reads_per_s=instances * POLLING.reads_per_s,
        read_s=costs.read_s,
        others_per_s=instances / BEAT_EVERY_S,
        other_s=costs.beat_s,
    )
    change_s = world.limits.connections / SDK.connections * costs.tell_s
    beside = [
        took_s
        for seed in range(CHANGES)
        for took_s in reads_s(mix, for_s=0.0, seed=f"{load}/{seed}", change_s=change_s)
    ]
    return Reads(
        busy=load,
        instances=round(instances),
        quiet=waits_of(reads_s(mix, for_s=QUIET_S, seed=f"{load}")),
        while_told=waits_of(beside),
    )
