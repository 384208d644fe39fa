"""Everything of a run that does not depend on the policy: the fleet, the requests, who reports, what fails when.

Drawn from the cell's name and the seed alone, so every policy meets the same world and differences are paired.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean
from typing import Final, NamedTuple

import msgspec

from benchmarks.routing.arrivals import Drawn, draw_arrivals
from benchmarks.routing.cells import Cell
from benchmarks.routing.failures import draw_phases
from benchmarks.routing.model import Hint, ServerFacts
from benchmarks.routing.servers import Phase
from benchmarks.routing.traces import GPUS, Size, Source

ZONES: Final = 3
CALLERS: Final = 200
CAPABILITIES: Final = 40
ELIGIBLE_MIN: Final = 2
HINT_ERROR: Final = 0.3
PREFIX_SHARE: Final = 0.8
"""Of a prompt that a kept prefix spares."""
SLO_FACTOR: Final = 3.0
"""The latency wanted, in mean service times of the fleet."""
LEDGER_TTL_FACTOR: Final = 4.0
"""After how many mean service times an unreported decision counts as ended."""
MIX_SAMPLE: Final = 2_000

FLEETS: Final = {
    "1:1:1": (("a100", 1.0), ("a100", 1.0), ("a100", 1.0)),
    "1:3:6": (("a100", 1 / 3), ("a100", 1.0), ("a100", 2.0)),
    "vidur": tuple((gpu, 1.0) for gpu in GPUS),
}
"""Three kinds of hardware a fleet: whose profile, times which speed."""


class Job(NamedTuple):
    """One request as it really is. Only the simulation sees it."""

    number: int
    at_s: float
    size: Size
    services_s: tuple[float, ...]
    spared_s: tuple[float, ...]
    tenant: str
    caller: int
    reports: bool
    hub: int
    capability: int
    prefix: int | None
    hint: Hint | None


class Workload(msgspec.Struct, frozen=True):
    """One run's world.

    Args:
        cell: which cell.
        seed: which seed.
        jobs: in order of arrival.
        servers: as registered.
        hardware: of each server, index into a job's `services_s` (and `spared_s`, what a kept prefix saves).
        phases: of each server.
        capable: by capability, the servers that have it.
        mean_service_s: of the fleet: slots divided by what it can do a second.
        slo_s, ledger_ttl_s: from that.
        mix: what sizes there are, for the information-feasible oracle.
    """

    cell: Cell
    seed: int
    jobs: tuple[Job, ...]
    servers: tuple[ServerFacts, ...]
    hardware: tuple[int, ...]
    phases: tuple[tuple[Phase, ...], ...]
    capable: tuple[tuple[int, ...], ...]
    mean_service_s: float
    slo_s: float
    ledger_ttl_s: float
    mix: tuple[Size, ...]


class Speeds:
    """Service times of a fleet's three kinds of hardware."""

    def __init__(self, fleet: str, slots: int, source: Source) -> None:
        """Take a decoding step at the batch of all slots, and a prompt as one pass."""
        self._kinds = [(source.profiles[gpu], speed) for gpu, speed in FLEETS[fleet]]
        self._step_s = [profile.pass_s(slots) / speed for profile, speed in self._kinds]
        self._prompts: dict[float, tuple[float, ...]] = {}

    def services_s(self, prompt: float, output: float) -> tuple[float, ...]:
        """Return the seconds in a slot by kind of hardware, for a size in tokens."""
        passes = self._prompts.get(prompt)
        if passes is None:
            passes = self._prompts[prompt] = tuple(profile.pass_s(prompt) / speed for profile, speed in self._kinds)
        return tuple(first + output * step for first, step in zip(passes, self._step_s, strict=True))


def draw_workload(cell: Cell, seed: int, source: Source) -> Workload:
    """Draw a run's world."""
    draw = random.Random(f"{cell.name}/{seed}/workload")
    speeds = Speeds(cell.fleet, cell.slots, source)
    hardware = tuple(number % 3 for number in range(cell.servers))
    step = max(1, len(source.sizes) // MIX_SAMPLE)
    mean_service_s, rate = _capacity(cell, hardware, speeds, source.sizes[::step])
    drawn = draw_arrivals(cell, rate, source, draw)
    # The run's own sizes set its clock, so that its load is the cell's and not the luck of the draw.
    scale = rate / _capacity(cell, hardware, speeds, [one.size for one in drawn])[1]
    drawn = [one._replace(at_s=one.at_s * scale) for one in drawn]
    length_s = drawn[-1].at_s
    capable = _draw_capable(cell, draw)
    reporters = [draw.random() < cell.told for _ in range(CALLERS)]
    facts = tuple(
        ServerFacts(number, cell.slots, number // 3 % ZONES, f"kind-{hardware[number]}")
        for number in range(cell.servers)
    )
    zones = tuple(fact.zone for fact in facts)
    phases = draw_phases(cell.failures, cell.servers, zones, length_s, mean_service_s, draw)
    jobs = tuple(_job(number, one, cell, speeds, reporters, draw) for number, one in enumerate(drawn))
    return Workload(
        cell, seed, jobs, facts, hardware, phases, capable, mean_service_s, SLO_FACTOR * mean_service_s,
        LEDGER_TTL_FACTOR * mean_service_s, source.sizes,
    )  # fmt: skip


def _capacity(cell: Cell, hardware: tuple[int, ...], speeds: Speeds, sizes: Sequence[Size]) -> tuple[float, float]:
    """Return the fleet's mean service time for these sizes and the arrival rate that makes the cell's load."""
    sample = [speeds.services_s(size.prompt, size.output) for size in sizes]
    means = [fmean(services[kind] for services in sample) for kind in range(3)]
    can_do = sum(cell.slots / means[kind] for kind in hardware)
    return cell.slots * cell.servers / can_do, cell.load * can_do


def _draw_capable(cell: Cell, draw: random.Random) -> tuple[tuple[int, ...], ...]:
    everyone = tuple(range(cell.servers))
    if cell.eligible >= 1.0:
        return (everyone,)
    count = max(ELIGIBLE_MIN, round(cell.eligible * cell.servers))
    return tuple(tuple(sorted(draw.sample(everyone, count))) for _ in range(CAPABILITIES))


def _job(number: int, one: Drawn, cell: Cell, speeds: Speeds, reporters: list[bool], draw: random.Random) -> Job:
    caller = draw.randrange(CALLERS)
    services = speeds.services_s(one.size.prompt, one.size.output)
    spared = (0.0,) * len(services)
    if one.prefix is not None:
        kept = speeds.services_s(one.size.prompt * (1 - PREFIX_SHARE), one.size.output)
        spared = tuple(full - rest for full, rest in zip(services, kept, strict=True))
    return Job(
        number, one.at_s, one.size, services, spared, one.tenant, caller, reporters[caller],
        caller % cell.hubs, draw.randrange(CAPABILITIES) if cell.eligible < 1.0 else 0, one.prefix,
        _hint(one.size, cell.hints, draw),
    )  # fmt: skip


def _hint(size: Size, hints: str, draw: random.Random) -> Hint | None:
    if hints == "unknown":
        return None
    if hints == "exact":
        return Hint(size.prompt, size.output)
    low, high = 1 - HINT_ERROR, 1 + HINT_ERROR
    return Hint(size.prompt * draw.uniform(low, high), size.output * draw.uniform(low, high))
