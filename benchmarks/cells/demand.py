"""What a cell is asked for, against what it has, with one of its hubs gone: of each resource the part that is used."""

from __future__ import annotations

from typing import Final

import msgspec

from benchmarks.cells.costs import Costs
from benchmarks.cells.world import BEAT_EVERY_S, DAY_S, Way, World

CONNECTIONS: Final = "connections"
CORE: Final = "hub's core"
STORE: Final = "store"
MEMORY: Final = "memory"
RESOURCES: Final = (CONNECTIONS, CORE, STORE, MEMORY)
SEARCHED_MAX: Final = 1_000_000_000


class Used(msgspec.Struct, frozen=True):
    """Of each resource what is used, as a part of what there is; over 1 is more than there is."""

    parts: dict[str, float]

    @property
    def first(self) -> str:
        """The resource that is nearest to its end, or furthest past it."""
        return max(RESOURCES, key=lambda name: self.parts[name])


def records_per_s(instances: float, tenants: float, world: World) -> tuple[float, float]:
    """Return the records a second of a cell: those that come alone, and those that come in batches."""
    alone = instances * (2 * world.restarts_a_day + world.verdicts_a_day) / DAY_S
    alone += (tenants * world.changes_a_day + world.changes_for_all_a_day) / DAY_S
    return alone, instances * world.events_per_s


def core(instances: float, tenants: float, way: Way, costs: Costs, world: World, hubs: int) -> float:
    """Return the seconds of its core that a hub needs in a second, its cell having so many hubs."""
    streams = instances / way.together * way.watches
    alone, batched = records_per_s(instances, tenants, world)
    beat_s = costs.beat_s if way.together == 1 else costs.beat_in_batch_s
    shared_s = (
        instances / BEAT_EVERY_S * beat_s
        + instances * way.reads_per_s * costs.read_s
        + instances * world.restarts_a_day / DAY_S * (costs.register_s + way.watches / way.together * costs.open_s)
    )
    told = instances * 2 * world.restarts_a_day / DAY_S * min(world.told, streams)
    told += streams * (world.changes_a_day + world.changes_for_all_a_day) / DAY_S
    shared_s += told * costs.tell_s
    return shared_s / hubs + (alone + batched) * costs.apply_s  # every hub applies every record


def used(instances: float, tenants: float, way: Way, costs: Costs, world: World) -> Used:
    """Return what a cell with so many instances of so many tenants uses, when one of its hubs is gone."""
    limits, hubs = world.limits, max(1, world.hubs - 1)
    groups = instances / way.together
    alone, batched = records_per_s(instances, tenants, world)
    memory = costs.empty_bytes + instances * costs.instance_bytes + groups * way.watches / hubs * costs.stream_bytes
    return Used(
        {
            CONNECTIONS: groups * way.connections / hubs / limits.connections,
            CORE: core(instances, tenants, way, costs, world, hubs) / limits.core_share,
            STORE: (alone / costs.lone_records_per_s + batched / costs.records_per_s) / limits.store_share,
            MEMORY: memory / limits.memory_bytes,
        }
    )


def carried(resource: str, way: Way, costs: Costs, world: World) -> int:
    """Return how many instances a cell carries as far as one resource goes, tenants being of the fleet's mean size."""
    mean = world.instances / world.tenants
    low, high = 0, SEARCHED_MAX
    while low < high:
        middle = (low + high + 1) // 2
        if used(middle, middle / mean, way, costs, world).parts[resource] <= 1.0:
            low = middle
        else:
            high = middle - 1
    return low


def largest_tenant(way: Way, costs: Costs, world: World) -> tuple[int, str]:
    """Return the most instances one tenant can have in a cell of its own, and what does not let it have more."""
    limits, hubs = world.limits, max(1, world.hubs - 1)
    bounds = {name: carried(name, way, costs, world) for name in RESOURCES}
    bounds["instances of a tenant"] = limits.instances_of_a_tenant
    if way.watches:
        bounds["watches of a tenant"] = limits.watches_of_a_tenant * hubs * way.together // way.watches
    first = min(bounds, key=lambda name: bounds[name])
    return bounds[first], first
