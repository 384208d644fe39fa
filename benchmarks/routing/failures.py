"""When servers fail in a cell: drawn once per cell and seed, before the first decision, alike for every policy."""

from __future__ import annotations

import random
from typing import Final

from benchmarks.routing.servers import Phase

SLOW_SPEED: Final = 0.25
FROM: Final = 0.4
"""Share of a run's length before which nothing fails; the judged part begins at about a third."""
EPISODES: Final = 4
"""Crashes, or stretches in which servers are slow, in a run."""
SLOW_SHARE: Final = 1 / 12
"""Of the fleet that is slow at a time."""
FLAPPING_SHARE: Final = 1 / 6
FLAP_UP: Final = 2.0
FLAP_DOWN: Final = 1.0
"""In mean service times; shorter than the registry takes to notice."""

Phases = list[list[Phase]]


def draw_phases(
    kind: str, servers: int, zones: tuple[int, ...], length_s: float, mean_service_s: float, draw: random.Random
) -> tuple[tuple[Phase, ...], ...]:
    """Return every server's phases.

    Args:
        kind: "none", "crash", "slow", "flapping" or "zone".
        servers: how many there are.
        zones: of each.
        length_s: of the run.
        mean_service_s: the unit of the episodes' lengths.
        draw: where chance comes from.
    """
    phases: Phases = [[] for _ in range(servers)]
    if kind == "crash":
        _crashes(phases, length_s, mean_service_s, draw)
    elif kind == "slow":
        _slowness(phases, length_s, draw)
    elif kind == "flapping":
        _flapping(phases, length_s, mean_service_s, draw)
    elif kind == "zone":
        away = draw.choice(sorted(set(zones)))
        start, end = 0.55 * length_s, 0.7 * length_s
        for at, zone in enumerate(zones):
            if zone == away:
                phases[at].append(Phase(start, end, 0.0))
    return tuple(tuple(sorted(one)) for one in phases)


def _crashes(phases: Phases, length_s: float, mean_service_s: float, draw: random.Random) -> None:
    for episode in range(EPISODES):
        start = length_s * (FROM + 0.5 * (episode + 0.5 * draw.random()) / EPISODES)
        end = start + 10 * mean_service_s
        victim = draw.randrange(len(phases))
        if all(phase.end_s < start or phase.start_s > end for phase in phases[victim]):
            phases[victim].append(Phase(start, end, 0.0))


def _slowness(phases: Phases, length_s: float, draw: random.Random) -> None:
    step = (0.95 - FROM) * length_s / EPISODES
    for episode in range(EPISODES):
        start = FROM * length_s + episode * step
        for victim in draw.sample(range(len(phases)), max(1, round(SLOW_SHARE * len(phases)))):
            phases[victim].append(Phase(start, start + 0.75 * step, SLOW_SPEED))


def _flapping(phases: Phases, length_s: float, mean_service_s: float, draw: random.Random) -> None:
    for victim in draw.sample(range(len(phases)), max(1, round(FLAPPING_SHARE * len(phases)))):
        at = length_s * (FROM + 0.05 * draw.random())
        while at < 0.95 * length_s:
            phases[victim].append(Phase(at, at + FLAP_DOWN * mean_service_s, 0.0))
            at += (FLAP_UP + FLAP_DOWN) * mean_service_s
