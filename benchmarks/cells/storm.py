"""Clients that lost their hub look for another: who is live again when, and what the survivors go through.

Time moves in ticks. Clients move in groups, whole numbers of them; after each tick those that are live, those that wait
for an answer and those that wait for their next attempt add up to all (`Storm.check`). A hub is a queue (`queues`): it
works through what it was sent also when the client has given up meanwhile, which is how storms feed themselves.

Not modelled: the network, TLS (which ends before the hub), the kernel's queue of connections that nobody has accepted,
and other tenants' reads, which wait in the same queue (`latency`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import msgspec

from benchmarks.cells.queues import Server, spread
from central_hub.sdk.backoff import BASE_S, CAP_S

TICK_S: Final = 0.05
ENDS_S: Final = 1_800.0
"""What is not over by then is reported as it is."""
COURSE_MAX: Final = 200


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to be live again.

    Args:
        work_s: of a hub's core, for each client.
        stored_s: of the store, for each client; 0 where nothing is written.
        refused_s: of a hub's core, to turn one away.
        connections: that each client holds when it is live.
        patience_s: how long a client waits for an answer.
    """

    work_s: float
    refused_s: float
    connections: int
    patience_s: float
    stored_s: float = 0.0


class Hub:
    """A hub that lives.

    Args:
        room: connections it can still take.
        share: of its core that steady work leaves.
    """

    __slots__ = ("room", "server")

    def __init__(self, room: int, share: float) -> None:
        self.room = room
        self.server = Server(share)


class Place:
    """A cell that clients come to: its hubs, and the store they share."""

    __slots__ = ("hubs", "store")

    def __init__(self, hubs: list[Hub], store_share: float = 1.0) -> None:
        self.hubs = hubs
        self.store = Server(store_share)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How a storm went. Times count from when the hub or cell died; None is never.

    Args:
        clients: how many lost their hub.
        course: pairs of seconds and how many were live by then, wherever that changed, 200 of them at most.
        half_s, most_s, all_s: until 50 %, 99 % and all were live again.
        refused: attempts turned away for want of room.
        given_up: attempts whose client did not wait for the answer.
        wasted: of the hubs' work, the part done for nobody.
        longest_wait_s: the longest queue of a hub.
    """

    clients: int
    course: list[tuple[float, int]]
    half_s: float | None
    most_s: float | None
    all_s: float | None
    refused: int
    given_up: int
    wasted: float
    longest_wait_s: float

    @property
    def back(self) -> int:
        """How many were live at the end."""
        return self.course[-1][1]

    def out_at(self, second: float) -> int:
        """Return how many were not live yet at a time."""
        return self.clients - max((live for at_s, live in self.course if at_s <= second), default=0)


class Storm:
    """All clients that lost their hub, and the places they go to."""

    def __init__(self, places: list[Place], terms: Terms, ends_s: float = ENDS_S) -> None:
        """Make a storm without clients."""
        self._places = places
        self._terms = terms
        self._last = round(ends_s / TICK_S)
        self._attempts: defaultdict[int, defaultdict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))
        self._answers: defaultdict[int, int] = defaultdict(int)
        self._leaving: defaultdict[int, defaultdict[tuple[int, int, int], int]] = defaultdict(lambda: defaultdict(int))
        self.clients = 0
        self.live = 0
        self.trying = 0
        self.waiting = 0
        self.refused = 0
        self.given_up = 0
        self._wasted_s = 0.0
        self._longest_s = 0.0

    def come(self, place: int, count: int, from_s: float, within_s: float) -> None:
        """Let clients begin to look for a place, spread evenly over a time."""
        self.clients += count
        self._try_later(place, 0, count, from_s, within_s)

    def check(self) -> None:
        """Assert that nobody was lost or invented."""
        assert self.live + self.trying + self.waiting == self.clients
        assert min(self.live, self.trying, self.waiting) >= 0

    def run(self) -> Seen:
        """Let it go on until all are live or its time is over."""
        course: list[tuple[float, int]] = [(0.0, 0)]
        reached: dict[float, float] = {}
        for tick in range(self._last):
            self._tick(tick)
            if self.live != course[-1][1]:
                course.append((round((tick + 1) * TICK_S, 3), self.live))
            for share in (0.5, 0.99, 1.0):
                if share not in reached and self.live >= share * self.clients:
                    reached[share] = round((tick + 1) * TICK_S, 3)
            if self.live == self.clients:
                break
        worked_s = sum(hub.server.worked_s for place in self._places for hub in place.hubs)
        return Seen(
            clients=self.clients,
            course=_thinned(course),
            half_s=reached.get(0.5),
            most_s=reached.get(0.99),
            all_s=reached.get(1.0),
            refused=self.refused,
            given_up=self.given_up,
            wasted=self._wasted_s / worked_s if worked_s else 0.0,
            longest_wait_s=round(self._longest_s, 3),
        )

    def _tick(self, tick: int) -> None:
        answered = self._answers.pop(tick, 0)
        self.live += answered
        self.waiting -= answered
        for (place, at, stage), count in self._leaving.pop(tick, {}).items():
            self.waiting -= count
            self._places[place].hubs[at].room += count * self._terms.connections
            self._again(place, stage, count, tick * TICK_S)
        for (place, stage), count in sorted(self._attempts.pop(tick, {}).items()):
            self.trying -= count
            self._attempt(place, stage, count, tick)
        self.check()

    def _attempt(self, number: int, stage: int, count: int, tick: int) -> None:
        terms, place, at_s = self._terms, self._places[number], tick * TICK_S
        for at, part in enumerate(spread(count, len(place.hubs), tick)):
            if not part:
                continue
            hub = place.hubs[at]
            taken = min(part, hub.room // terms.connections)
            if taken < part:
                hub.server.offer(at_s, (part - taken) * terms.refused_s)
                self.refused += part - taken
                self._again(number, stage, part - taken, at_s)
            if taken:
                self._serve(number, at, stage, taken, at_s)

    def _serve(self, number: int, at: int, stage: int, count: int, at_s: float) -> None:
        terms, hub, store = self._terms, self._places[number].hubs[at], self._places[number].store
        start_s, done_s = hub.server.offer(at_s, count * terms.work_s)
        self._longest_s = max(self._longest_s, start_s - at_s)
        each_s = (done_s - start_s) / count
        if terms.stored_s:
            stored_s, stored_done_s = store.offer(start_s, count * terms.stored_s)
            if stored_done_s > done_s:
                start_s, each_s = stored_s, (stored_done_s - stored_s) / count
        in_time = max(0, min(count, int((at_s + terms.patience_s - start_s) / each_s) if each_s else count))
        self.waiting += count
        for nth, part in _gathered(in_time, start_s + each_s, each_s):
            self._answers[nth] += part
        hub.room -= count * terms.connections
        if late := count - in_time:
            self.given_up += late
            self._wasted_s += late * terms.work_s
            self._leaving[_tick_of(at_s + terms.patience_s)][number, at, stage] += late

    def _again(self, place: int, stage: int, count: int, from_s: float) -> None:
        self._try_later(place, stage + 1, count, from_s, min(CAP_S, BASE_S * 2**stage))

    def _try_later(self, place: int, stage: int, count: int, from_s: float, within_s: float) -> None:
        self.trying += count
        first, ticks = _tick_of(from_s), max(1, round(within_s / TICK_S))
        for tick, part in _spaced(count, first, ticks):
            self._attempts[tick][place, min(stage, 16)] += part


def _thinned(course: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Keep few enough points; the last always."""
    every = -(-len(course) // COURSE_MAX)
    return [*course[:-1:every], course[-1]]


def _tick_of(at_s: float) -> int:
    """Return the first tick that begins after a moment."""
    return int(at_s / TICK_S) + 1


def _spaced(count: int, first: int, ticks: int) -> Iterator[tuple[int, int]]:
    """Spread a count evenly over ticks; yields those that get some."""
    if count < ticks:
        for one in range(count):
            yield first + one * ticks // count, 1
    else:
        for tick, part in enumerate(spread(count, ticks)):
            yield first + tick, part


def _gathered(count: int, first_s: float, each_s: float) -> Iterator[tuple[int, int]]:
    """Gather what ends one after another by the tick after which it has ended."""
    done = 0
    while done < count:
        tick = _tick_of(first_s + done * each_s)
        until = count if each_s <= 0 else min(count, int((tick * TICK_S - first_s) / each_s) + 1)
        until = max(until, done + 1)
        yield tick, until - done
        done = until
