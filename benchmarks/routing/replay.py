"""Plays one server's arrivals again, step by step, without any of the arithmetic of `servers`.

Work is taken off in small stretches between events (an arrival, a completion, a phase that begins or ends), the way a
queue really moves. The judge says beforehand what a server would give; this says afterwards what it gave. Both must
agree, also when the replay sends a request elsewhere than the policy did.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from benchmarks.routing.servers import PREFIXES_KEPT, REFUSED_S, Phase
from benchmarks.routing.simulation import ATTEMPTS, Chooser, Simulation, Tape
from benchmarks.routing.workload import Workload

TOLERANCE_S: Final = 1e-6


class Arrival(NamedTuple):
    """A request at a server: when, and how long it takes in a slot at full speed."""

    at_s: float
    service_s: float


class Gone(NamedTuple):
    """How it left: when, and whether it was answered."""

    end_s: float
    ok: bool


class _Held:
    def __init__(self, number: int, left_s: float) -> None:
        self.number = number
        self.left_s = left_s


def play(arrivals: Sequence[Arrival], slots: int, phases: Sequence[Phase]) -> list[Gone]:
    """Return how each arrival left a first-come-first-served server."""
    gone: dict[int, Gone] = {}
    waiting: list[_Held] = []
    working: list[_Held] = []
    now, coming = 0.0, 0
    edges = sorted({edge for phase in phases for edge in (phase.start_s, phase.end_s)})
    while len(gone) < len(arrivals):
        speed = _speed_at(now, phases)
        following = [edge for edge in edges if edge > now][:1]
        if coming < len(arrivals):
            following.append(arrivals[coming].at_s)
        if speed:
            following.extend(now + held.left_s / speed for held in working)
        then = min(following)
        for held in working:
            held.left_s -= (then - now) * speed
        done = [held for held in working if held.left_s <= 1e-12]
        now = then
        for held in done:
            gone[held.number] = Gone(now, True)
        working = [held for held in working if held.left_s > 1e-12]
        if _speed_at(now, phases) == 0.0:
            gone.update({held.number: Gone(now, False) for held in (*working, *waiting)})
            working, waiting = [], []
        while coming < len(arrivals) and arrivals[coming].at_s <= now:
            if _speed_at(now, phases) == 0.0:
                gone[coming] = Gone(now + REFUSED_S, False)
            else:
                waiting.append(_Held(coming, arrivals[coming].service_s))
            coming += 1
        while waiting and len(working) < slots:
            working.append(waiting.pop(0))
    return [gone[number] for number in range(len(arrivals))]


def _speed_at(now: float, phases: Sequence[Phase]) -> float:
    return next((phase.speed for phase in phases if phase.start_s <= now < phase.end_s), 1.0)


def forced_replays(workload: Workload, chooser: Chooser, name: str, count: int) -> tuple[int, float]:
    """Send some requests elsewhere than a policy did, and compare what they got with what was foreseen.

    Each of `count` decisions is forced to another of its candidates; everything decided before stays as it was, later
    decisions are whatever the policy then makes of it.

    Returns:
        How many were compared, and the largest difference in seconds; infinite if one failed where success was
        foreseen or the other way round.
    """
    first = Simulation(workload, chooser, name)
    first.watched.update(range(ATTEMPTS * len(workload.jobs)))
    tape = first.run()
    draw = random.Random(f"{workload.cell.name}/{workload.seed}/replays")
    several = [number for number, entry in enumerate(tape.entries) if entry.candidates > 1]
    worst, compared = 0.0, 0
    for decision in draw.sample(several, min(count, len(several))):
        again = Simulation(workload, chooser, name)
        again.watched.add(decision)
        again.forced = {number: entry.chosen for number, entry in enumerate(tape.entries[:decision])}
        others = [server for server in first.foreseen[decision] if server != tape.entries[decision].chosen]
        again.forced[decision] = other = draw.choice(others)
        after = again.run()
        foreseen = again.foreseen[decision][other]
        seen = _at_server(workload, after, other)[decision]
        same = seen.ok == foreseen.ok
        worst = max(worst, abs(seen.end_s - foreseen.end_s) if same else math.inf)
        compared += 1
    return compared, worst


def _at_server(workload: Workload, tape: Tape, server: int) -> dict[int, Gone]:
    """Play one server's share of a tape again; returns how each decision's request left."""
    arrivals: list[Arrival] = []
    decisions: list[int] = []
    kept: OrderedDict[int, None] = OrderedDict()
    ended: dict[tuple[int, int], float] = {}
    for decision, entry in enumerate(tape.entries):
        job = workload.jobs[entry.job]
        ended[entry.job, entry.attempt] = entry.end_s
        if entry.chosen != server:
            continue
        at = job.at_s if entry.attempt == 0 else ended[entry.job, entry.attempt - 1]
        kind = workload.hardware[server]
        service = job.services_s[kind]
        if job.prefix is not None:
            service -= job.spared_s[kind] if job.prefix in kept else 0.0
            kept[job.prefix] = None
            kept.move_to_end(job.prefix)
            if len(kept) > PREFIXES_KEPT:
                kept.popitem(last=False)
        arrivals.append(Arrival(at, service))
        decisions.append(decision)
    left = play(arrivals, workload.cell.slots, workload.phases[server])
    return dict(zip(decisions, left, strict=True))
