"""A model server: a first-come-first-served queue before a fixed number of slots, on a clock of phases.

Because requests are served in order of arrival, a later arrival cannot change what an earlier one gets. So what a
server would give a request is known exactly at the moment of the decision: `foresee` computes it, and `accept` makes
it so. A phase is a stretch of time in which a server is down (speed 0: it loses what it holds and refuses the rest) or
silently slow (speed below 1).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from heapq import heappop, heappush, heapreplace
from typing import Final, NamedTuple

from benchmarks.routing.model import Report

REFUSED_S: Final = 0.005
"""A refused connection is noticed after this."""
SMOOTHING: Final = 0.2
"""Weight of the newest request in a server's own averages."""
RATE_WINDOW_S: Final = 5.0
"""Time constant of the rates a server reports."""
LOADS_KEPT: Final = 64
"""Latencies by requests in flight on arrival are kept up to this many."""
PREFIXES_KEPT: Final = 60
"""Conversations whose prefix a server keeps."""


class Phase(NamedTuple):
    """From when to when, and how fast: 0 is down, 0.25 is 4 times slower."""

    start_s: float
    end_s: float
    speed: float


class Fate(NamedTuple):
    """What becomes of a request at a server: when it leaves, when it got a slot, and whether it was answered."""

    end_s: float
    start_s: float
    ok: bool


class Server:
    """One simulated server.

    Args:
        number: its index in the fleet.
        slots: requests it works on at a time.
        hardware: index of its row in the workload's service times.
        phases: in order of time, not overlapping.
    """

    def __init__(self, number: int, slots: int, hardware: int, phases: tuple[Phase, ...]) -> None:
        """Start idle."""
        self.number = number
        self.slots = slots
        self.hardware = hardware
        self.phases = phases
        self.free = [0.0] * slots
        """When each slot is free, as a heap: the first is the earliest."""
        self._held: list[tuple[float, float, float, bool, int]] = []
        self._prefixes: OrderedDict[int, None] = OrderedDict()
        self._prefixes_since = 0.0
        self._service_s = self._latency_s = 0.0
        self._done_rate = self._error_rate = self._busy = 0.0
        self._rates_at = 0.0
        self._latency_at_load: list[float] = []

    def foresee(self, service_s: float, now: float) -> Fate:
        """Return what would become of a request that arrives now and takes that long at full speed.

        Args:
            service_s: seconds in a slot at speed 1, 0 or more.
            now: not before the last accepted arrival.
        """
        free = self.free[0]
        start = free if free > now else now
        if not self.phases:
            return Fate(start + service_s, start, True)
        crash = math.inf
        for phase in self.phases:
            if phase.speed == 0.0 and phase.end_s > now:
                if phase.start_s <= now:
                    return Fate(now + REFUSED_S, now, False)
                crash = phase.start_s
                break
        end = self._worked_off(start, service_s)
        if end > crash:
            return Fate(crash, min(start, crash), False)
        return Fate(end, start, True)

    def accept(self, service_s: float, now: float, prefix: int | None = None) -> Fate:
        """Let a request arrive now; returns what becomes of it, which is what `foresee` says."""
        fate = self.foresee(service_s, now)
        if self.phases and self.is_down(now):
            self._count_error(now)
            return fate
        self._advance(now)
        if prefix is not None:
            self._keep(prefix, now)
        heapreplace(self.free, fate.end_s)
        heappush(self._held, (fate.end_s, fate.start_s, now, fate.ok, len(self._held)))
        return fate

    def is_down(self, now: float) -> bool:
        """Say whether it refuses connections at that time."""
        return any(phase.speed == 0.0 and phase.start_s <= now < phase.end_s for phase in self.phases)

    def has(self, prefix: int, now: float) -> bool:
        """Say whether it still keeps a conversation's prefix; a crash forgets them all."""
        if prefix not in self._prefixes:
            return False
        since = self._prefixes_since
        return not any(phase.speed == 0.0 and since < phase.end_s <= now for phase in self.phases)

    def report(self, now: float) -> Report:
        """Say what an agent that asks at that time would hear."""
        self._advance(now)
        held = len(self._held)
        running = held if held < self.slots else self.slots
        fade = math.exp((self._rates_at - now) / RATE_WINDOW_S)
        return Report(
            now,
            running,
            held - running,
            self.slots,
            min(1.0, self._busy * fade / self.slots),
            self._done_rate * fade,
            self._error_rate * fade,
            self._service_s,
            self._latency_s,
            self._latency_near(held),
        )

    def in_flight(self, now: float) -> int:
        """Return how many requests it holds."""
        self._advance(now)
        return len(self._held)

    def _worked_off(self, start: float, service_s: float) -> float:
        """Return when work that starts then is done, given the slow phases."""
        at, left = start, service_s
        for phase in self.phases:
            if phase.speed == 0.0 or phase.end_s <= at:
                continue
            if phase.start_s > at:
                if left <= phase.start_s - at:
                    break
                left -= phase.start_s - at
                at = phase.start_s
            if left <= (phase.end_s - at) * phase.speed:
                return at + left / phase.speed
            left -= (phase.end_s - at) * phase.speed
            at = phase.end_s
        return at + left

    def _advance(self, now: float) -> None:
        held = self._held
        while held and held[0][0] <= now:
            end, start, arrived, ok, at_load = heappop(held)
            self._fade_to(end)
            if not ok:
                self._error_rate += 1 / RATE_WINDOW_S
                continue
            self._done_rate += 1 / RATE_WINDOW_S
            service, latency = end - start, end - arrived
            self._busy += service / RATE_WINDOW_S
            self._service_s += (SMOOTHING if self._service_s else 1.0) * (service - self._service_s)
            self._latency_s += (SMOOTHING if self._latency_s else 1.0) * (latency - self._latency_s)
            self._note_latency(min(at_load, LOADS_KEPT - 1), latency)

    def _count_error(self, now: float) -> None:
        self._advance(now)
        self._fade_to(now)
        self._error_rate += 1 / RATE_WINDOW_S

    def _fade_to(self, now: float) -> None:
        fade = math.exp((self._rates_at - now) / RATE_WINDOW_S)
        self._done_rate *= fade
        self._error_rate *= fade
        self._busy *= fade
        self._rates_at = now

    def _note_latency(self, load: int, latency: float) -> None:
        known = self._latency_at_load
        if load >= len(known):
            known.extend([0.0] * (load + 1 - len(known)))
        known[load] += (SMOOTHING if known[load] else 1.0) * (latency - known[load])

    def _latency_near(self, load: int) -> float:
        known = self._latency_at_load
        for distance in range(max(load + 1, len(known) - load)):
            for at in (load - distance, load + distance):
                if 0 <= at < len(known) and known[at]:
                    return known[at]
        return 0.0

    def _keep(self, prefix: int, now: float) -> None:
        if self._prefixes and not self.has(next(iter(self._prefixes)), now):
            self._prefixes.clear()
        if not self._prefixes:
            self._prefixes_since = now
        self._prefixes[prefix] = None
        self._prefixes.move_to_end(prefix)
        if len(self._prefixes) > PREFIXES_KEPT:
            self._prefixes.popitem(last=False)
