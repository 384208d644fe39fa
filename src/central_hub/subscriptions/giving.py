"""Gives out events: a few for one subscription, then the next tenant's; again where nobody acknowledges.

Live, an event is encoded once for all. Who is behind reads the log, a few lines at a time and in turn, so that one
tenant's past is never in the way of another's present.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from central_hub.events.reading import EventReading, Told, Wanted, position_gone
from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.subscriptions.consumers import Consumer, Given
from central_hub.subscriptions.crowd import Crowd
from central_hub.subscriptions.keeping import PlaceKeeper
from central_hub.subscriptions.lapses import Lapses
from central_hub.subscriptions.lines import Line, Pending
from central_hub.subscriptions.model import (
    BATCH,
    READ_PAGE,
    READS_AT_ONCE,
    READS_PER_TENANT_AT_ONCE,
    Cause,
    Status,
)
from central_hub.subscriptions.rounds import Rounds
from central_hub.subscriptions.rules import delivery_id

SLICE_MS: Final = 1.0
STORE_RETRY_S: Final = 1.0
STALLED_S: Final = 0.05
"""Seconds between looks at consumers whose connection has not sent yet what it was given."""

_EVERYTHING: Final = Wanted()
_log = structlog.get_logger("central_hub.subscriptions")


class Giving:
    """Gives lines their turns.

    Args:
        crowd: who follows what.
        lapses: keeps the time of what is given out.
        keeper: keeps places.
        reading: the log as events.
        clock: monotonic time, for slices.
    """

    def __init__(self, crowd: Crowd, lapses: Lapses, keeper: PlaceKeeper, reading: EventReading, clock: Clock) -> None:
        self._crowd = crowd
        self._lapses = lapses
        self._keeper = keeper
        self._reading = reading
        self._clock = clock
        self._rounds: Rounds[Line] = Rounds()
        self._to_read: Rounds[Line] = Rounds()
        self._reads: dict[DomainId, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled: asyncio.Handle | None = None
        self._stalled: dict[Line, None] = {}
        self._look_again: asyncio.Handle | None = None
        self.given = 0
        self.given_again = 0
        lapses.on_ready(self.offer)

    def offer(self, line: Line) -> None:
        """Let a line have a turn where somebody follows it."""
        if self._crowd.follows(line):
            self._rounds.add(line.domain, line)
            if self._scheduled is None:
                self._scheduled = asyncio.get_running_loop().call_soon(self._slice)

    def leave(self, line: Line) -> None:
        """Let a line have no more turns: nobody follows it."""
        self._rounds.discard(line.domain, line)
        self._to_read.discard(line.domain, line)
        self._stalled.pop(line, None)
        line.stop()

    def is_behind(self, line: Line) -> bool:
        """Say whether there is more for a line than it has given out, and nothing keeps it from giving that."""
        if line.subscription.status is not Status.ACTIVE:
            return False
        return line.fetching or bool(line.again) or (line.has_room and (bool(line.ready) or self._is_short(line)))

    async def end(self) -> None:
        """End what is being read."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _slice(self) -> None:
        """Give for a slice of time, then let others run."""
        self._scheduled = None
        ends_ms = self._clock.monotonic_ms() + SLICE_MS
        while (line := self._rounds.take()) is not None:
            if self._give(line):
                self._rounds.add(line.domain, line)
            if self._clock.monotonic_ms() >= ends_ms:
                break
        if self._rounds:
            self._scheduled = asyncio.get_running_loop().call_soon(self._slice)

    def _give(self, line: Line) -> bool:
        """Give a few events of a line; says whether there is more to give at once."""
        if line.subscription.status is not Status.ACTIVE:
            return False
        self._fill(line)
        now_ms = self._clock.monotonic_ms()
        for _ in range(BATCH):
            consumer = self._next(line) if line.ready and line.has_room else None
            if consumer is None:
                break
            pending, told = line.give(now_ms)
            self._hand(consumer, pending, told)
        self._keeper.moved(line)
        if line.ready and line.has_room and self._next(line) is not None:
            return True
        self._read_more(line)
        return False

    def _fill(self, line: Line) -> None:
        """Take what followed in the log, where that is at hand."""
        recent = self._crowd.recent.get(line.domain)
        if recent is None or line.fetching:
            return
        for seq, told in recent.after(line.read_to) or ():
            if not line.may_read:
                return
            line.offer(seq, told)

    def _read_more(self, line: Line) -> None:
        """Have the log read for a line that needs it: for what comes again, and for what is not at hand."""
        if line.fetching or not (line.again or (line.has_room and self._is_short(line))):
            return
        if self._next(line) is not None:
            self._to_read.add(line.domain, line)
            self._begin_reading()

    def _is_short(self, line: Line) -> bool:
        return not line.ready and line.read_to < self._reading.head(line.domain)

    def _next(self, line: Line) -> Consumer | None:
        """Return the next consumer that can take something."""
        stalled = False
        for consumer in self._crowd.with_room(line):
            if consumer.taker.can_take():
                return consumer
            stalled = True
        if stalled:
            self._stalled[line] = None
            if self._look_again is None:
                self._look_again = asyncio.get_running_loop().call_later(STALLED_S, self._look_at_stalled)
        return None

    def _look_at_stalled(self) -> None:
        """Look at connections that had not sent what they were given; nobody says when they have."""
        self._look_again = None
        stalled, self._stalled = self._stalled, {}
        for line in stalled:
            self.offer(line)

    def _hand(self, consumer: Consumer, pending: Pending, told: Told) -> None:
        line = consumer.line
        self._crowd.had_turn(consumer)
        pending.holder = consumer
        consumer.held += 1
        self.given += 1
        self.given_again += pending.attempts > 1
        given = Given(
            id=delivery_id(self._reading.incarnation, pending.seq, pending.attempts),
            attempt=pending.attempts,
            ack_wait_s=line.subscription.terms.ack_wait_s,
            told=told,
        )
        if not consumer.taker.take(given) and self._crowd.remove(consumer) and not self._crowd.follows(line):
            self.leave(line)
        self._lapses.arm(line)

    def _begin_reading(self) -> None:
        while len(self._tasks) < READS_AT_ONCE:
            line = self._to_read.take(self._reads, READS_PER_TENANT_AT_ONCE)
            if line is None:
                return
            line.fetching = True
            self._reads[line.domain] = self._reads.get(line.domain, 0) + 1
            task = asyncio.get_running_loop().create_task(self._read(line))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._begin_reading()

    async def _read(self, line: Line) -> None:
        wait_s = 0.0
        try:
            if line.again:
                await self._read_again(line)
            else:
                page = await self._reading.page(line.domain, line.read_to, _EVERYTHING, READ_PAGE)
                if page.seq == line.read_to < self._reading.head(line.domain):
                    raise position_gone("records after it have left the log")
                line.read(page.events, page.seq)
        except HubError as error:
            if error.code == "position_gone":
                line.gone = error
                self._end(line, error)
            else:
                wait_s = STORE_RETRY_S
                _log.warning("subscriptions.read_failed", code=error.code, tenant=line.domain)
        except Exception:  # a bug about one subscription must not end the reading of all
            wait_s = STORE_RETRY_S
            _log.exception("subscriptions.read_failed", tenant=line.domain)
        finally:
            line.fetching = False
            left = self._reads[line.domain] - 1
            if left:
                self._reads[line.domain] = left
            else:
                del self._reads[line.domain]
        if wait_s:
            asyncio.get_running_loop().call_later(wait_s, self.offer, line)
        else:
            self.offer(line)

    def _end(self, line: Line, error: HubError) -> None:
        for consumer in self._crowd.of(line):
            self._crowd.remove(consumer)
            consumer.taker.end(error)
        self.leave(line)

    async def _read_again(self, line: Line) -> None:
        """Give out once more what is due: its bytes are in the log, and nowhere else."""
        for _ in range(BATCH):
            if not line.again or line.subscription.status is not Status.ACTIVE or self._next(line) is None:
                return
            pending = line.again.popleft()
            if line.find(pending.seq) is not pending or pending.out:
                continue
            try:
                told = await self._at(line, pending)
            except BaseException:
                line.again.appendleft(pending)
                raise
            if line.find(pending.seq) is not pending or pending.out:
                continue  # acknowledged late, meanwhile
            consumer = self._next(line)
            if told is None:
                self._lapses.failed(line, pending, cause=Cause.EXPIRED, detail="it has left the log")
            elif consumer is None:
                line.again.appendleft(pending)
                return
            else:
                line.lend(pending, self._clock.monotonic_ms())
                self._hand(consumer, pending, told)
                self._keeper.moved(line)

    async def _at(self, line: Line, pending: Pending) -> Told | None:
        try:
            page = await self._reading.page(line.domain, pending.seq - 1, _EVERYTHING, 1)
        except HubError as error:
            if error.code == "position_gone":
                return None
            raise
        return page.events[0] if page.events and page.events[0].seq == pending.seq else None
