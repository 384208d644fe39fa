"""Costs and worlds for tests of the simulation: round figures whose consequences can be worked out on paper."""

from __future__ import annotations

from benchmarks.cells.costs import Costs
from benchmarks.cells.storm import Hub, Place, Storm, Terms
from benchmarks.cells.world import World

COSTS = Costs(
    machine="paper",
    on="2026-01-01",
    store="paper",
    beat_s=20e-6,
    beat_in_batch_s=2e-6,
    read_s=10e-6,
    register_s=100e-6,
    register_in_batch_s=20e-6,
    open_s=200e-6,
    tell_s=10e-6,
    apply_s=10e-6,
    import_s=2e-3,
    import_wall_s=3e-3,
    refuse_s=40e-6,
    records_per_s=50_000.0,
    lone_records_per_s=10_000.0,
    empty_bytes=80e6,
    instance_bytes=1_000.0,
    stream_bytes=20_000.0,
)
SMALL = World(instances=100_000, tenants=1_000)


def storm(
    *, clients: int, rooms: list[int], work_s: float = 0.001, patience_s: float = 5.0, ends_s: float = 120.0
) -> Storm:
    """Make a storm of clients that all begin within the first tenth of a second, at one cell of so many hubs."""
    terms = Terms(work_s=work_s, refused_s=0.0, connections=1, patience_s=patience_s)
    made = Storm([Place([Hub(room, 1.0) for room in rooms])], terms, ends_s)
    made.come(0, clients, 0.0, 0.1)
    return made
