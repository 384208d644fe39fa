"""Follows the log for every relay: reads, writes events, hands them over, keeps cursors; or takes from a broker.

Each relay goes at its own pace and holds up nothing else: what its broker does not take waits in the log. A batch is
handed over in order and acknowledged before the next one is; after any trouble the link is dropped and what was not
acknowledged is handed over again on another, under the same ids. Only the hub that owns a relay does this, and it asks
before each step. When the store is away nothing is lost: it is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from central_hub.kernel.brokers import (
    OF_ONE,
    BrokerError,
    Brokers,
    BrokerTarget,
    Link,
    Message,
    Received,
    Sent,
    Trouble,
)
from central_hub.kernel.clock import Clock
from central_hub.kernel.cursors import Cursors
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.ownership import Ownership
from central_hub.kernel.records import Applied
from central_hub.relays.line import Failing, Line
from central_hub.relays.model import (
    BATCH_BYTES_MAX,
    BATCH_MAX,
    CURSOR_EVERY_S,
    ENCODE_SLICE,
    FACTS,
    LOOK_EVERY_S,
    OWNED_WORK,
    READ_PAGE,
    Relay,
    Status,
    consumer_of,
)
from central_hub.relays.outcomes import Outcomes
from central_hub.relays.ports import Applying, Credentials, Shredded, Telling, WholeLog
from central_hub.relays.rules import wait_s, wants
from central_hub.relays.taking import Taking
from central_hub.relays.view import RelaysView

DRAW_BITS: Final = 24
STORE_RETRY_S: Final = 1.0
END_EVERY_S: Final = 0.5

_log = structlog.get_logger("central_hub.relays")
_RELAYS: Final = frozenset(fact.__name__ for fact in FACTS)


class Following:
    """Hands the log's events to brokers.

    Args:
        view: the relays.
        telling: writes a record as an event.
        log: read where a relay has fallen behind.
        applying: what was applied, and how records are opened.
        brokers: opens links.
        credentials: what relays prove themselves with.
        taking: records what brokers hand out.
        outcomes: records what has to be.
        cursors: where relays stand, durably.
        ownership: which relays are this hub's.
        shredded: whose events are not handed over any more.
        clock: wall time for what is shown, monotonic for waits.
        draw: random bits for jitter.
    """

    def __init__(
        self,
        view: RelaysView,
        telling: Telling,
        log: WholeLog,
        applying: Applying,
        brokers: Brokers,
        credentials: Credentials,
        taking: Taking,
        outcomes: Outcomes,
        cursors: Cursors,
        ownership: Ownership,
        shredded: Shredded,
        clock: Clock,
        draw: Callable[[int], int],
    ) -> None:
        self._view = view
        self._telling = telling
        self._log = log
        self._applying = applying
        self._brokers = brokers
        self._credentials = credentials
        self._taking = taking
        self._outcomes = outcomes
        self._cursors = cursors
        self._ownership = ownership
        self._shredded = shredded
        self._clock = clock
        self._draw = draw
        self._lines: dict[str, Line] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._waiting: set[asyncio.Event] = set()
        ownership.on_change(self._wake)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Follow what became true; a listener of the runner."""
        if any(one.type in _RELAYS for one in batch):
            self._changed.set()
        if self._lines:
            for line in self._lines.values():
                line.offer(batch)
            self._wake()

    def line(self, relay_id: str) -> Line | None:
        """Return where a relay stands, as far as this hub knows."""
        return self._lines.get(relay_id)

    def lines(self) -> Sequence[Line]:
        """Return where every relay stands."""
        return tuple(self._lines.values())

    async def run(self) -> None:
        """Follow until cancelled."""
        self._changed.set()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._sync()
        finally:
            await self._end(list(self._tasks))

    async def flush(self) -> None:
        """Keep every cursor that moved.

        Raises:
            HubError: `store_unavailable`.
        """
        for line in self._lines.values():
            if self._is_ours(line):
                await self._keep(line)

    async def _sync(self) -> None:
        """Take over what the view says: a relay that is another than it was begins with a new link."""
        there = {one.id: one for one in self._view.relays(PLATFORM)}
        ended = [relay_id for relay_id in self._tasks if not _same(self._lines[relay_id].relay, there.get(relay_id))]
        await self._end(ended)
        for relay_id in [relay_id for relay_id in self._lines if relay_id not in there]:
            del self._lines[relay_id]
            await self._drop(relay_id)
        for relay in there.values():
            line = self._lines.setdefault(relay.id, Line(relay))
            if not _same(line.relay, relay):
                line.relay = relay
                line.let_go()
            if relay.status is Status.RUNNING and relay.id not in self._tasks:
                self._tasks[relay.id] = asyncio.get_running_loop().create_task(self._follow(line))

    async def _end(self, relay_ids: Sequence[str]) -> None:
        tasks = [self._tasks.pop(relay_id) for relay_id in relay_ids]
        waiting = set(tasks)
        while waiting:  # a client library may swallow a cancellation: it is told again
            for task in waiting:
                task.cancel()
            _, waiting = await asyncio.wait(waiting, timeout=END_EVERY_S)

    async def _drop(self, relay_id: str) -> None:
        try:
            await self._cursors.save((), dropped=(consumer_of(relay_id),))
        except HubError as error:  # nobody looks at it again; it costs its room
            _log.warning("relays.cursor_not_dropped", relay=relay_id, code=error.code)

    async def _follow(self, line: Line) -> None:
        """Follow for one relay; whatever goes wrong is tried again."""
        while True:
            try:
                if not self._is_ours(line):
                    line.loaded = line.connected = False
                    await self._sleep(LOOK_EVERY_S)
                    continue
                if line.relay.settings.into:
                    await self._take_in(line)
                    continue
                if not line.loaded:
                    await self._begin(line)
                await self._link(line)
            except BrokerError as error:
                await self._failed(line, error.trouble, error.detail)
            except HubError as error:
                _log.warning("relays.store_failed", relay=line.relay.name, code=error.code)
                await asyncio.sleep(STORE_RETRY_S)
            except Exception as error:  # a bug about one relay must not end the others, nor this one for good
                _log.exception("relays.step_failed", relay=line.relay.name)
                await self._failed(line, Trouble.REFUSED, type(error).__name__)

    async def _begin(self, line: Line) -> None:
        consumer = consumer_of(line.relay.id)
        kept = next((one for one in await self._cursors.load() if one.consumer == consumer), None)
        line.begin(kept, self._applying.pos)

    async def _link(self, line: Line) -> None:
        """Open a link and use it as long as it holds.

        Raises:
            BrokerError: it does not open, or does not hold.
        """
        link = await self._brokers.connect(self._target(line.relay))
        try:
            await self._go_on_after(line, link)
            line.connected = True
            kept_ms = self._clock.monotonic_ms()
            while self._is_ours(line):
                batch = await self._next(line)
                if batch:
                    await self._hand_over(line, link, batch)
                now_ms = self._clock.monotonic_ms()
                if not batch or now_ms - kept_ms >= CURSOR_EVERY_S * 1_000:
                    await self._keep(line)
                    kept_ms = now_ms
                if not batch:
                    await self._wait_for_more(line)
        finally:
            line.connected = False
            await link.close()

    async def _take_in(self, line: Line) -> None:
        """Open a source and take from it as long as it holds; what is taken is acknowledged when it is recorded.

        Raises:
            BrokerError: it does not open, or does not hold.
        """
        source = await self._brokers.listen(self._target(line.relay))
        try:
            line.connected = True
            while self._is_ours(line):
                received = await source.receive()
                if received and not await self._record(line, received):
                    return
                await source.acknowledge()
                self._answers(line)
        finally:
            line.connected = False
            await source.close()

    async def _record(self, line: Line, received: Sequence[Received]) -> bool:
        """Record what was taken, however long that takes; says whether it was, or is another hub's by now."""
        while self._is_ours(line):
            try:
                taken = await self._taking.take(line.relay, received)
            except HubError as error:
                _log.warning("relays.not_recorded", relay=line.relay.name, code=error.code)
                line.failing = self._one_more(line.failing, Trouble.NOT_RECORDED, error.code)
                await asyncio.sleep(STORE_RETRY_S)
                continue
            line.taken += taken.accepted
            line.known += taken.known
            line.refused += taken.refused
            return True
        return False

    async def _go_on_after(self, line: Line, link: Link) -> None:
        """Believe a broker that says where it stands: what it lost it is given again, what it has it is not."""
        reached = await link.resume_after()
        if reached is None or reached > self._applying.pos:
            return
        if reached < line.acked:
            _log.warning("relays.broker_lost", relay=line.relay.name, records=line.acked - reached)
            line.stand_at(reached)
        elif reached > line.done:
            line.stand_at(reached)

    async def _hand_over(self, line: Line, link: Link, batch: Sequence[Message]) -> None:
        sent = await link.send(batch)
        line.take(sent.stored, sent.repeated)
        if sent.stored:
            self._answers(line)
        if sent.trouble is None:
            return
        if sent.trouble not in OF_ONE:
            raise BrokerError(sent.trouble, sent.detail)
        await self._park(line, sent)

    async def _park(self, line: Line, sent: Sent) -> None:
        assert sent.trouble is not None
        refused = line.pending[0]
        await self._outcomes.park(line.relay, refused, sent.trouble)
        line.pass_over()
        _log.warning("relays.event_parked", relay=line.relay.name, tenant=refused.tenant, trouble=sent.trouble.value)

    def _answers(self, line: Line) -> None:
        if line.failing.failures:
            _log.info("relays.broker_answers", relay=line.relay.name, failures=line.failing.failures)
        line.failing = Failing()

    async def _failed(self, line: Line, trouble: Trouble, detail: str) -> None:
        before = line.failing
        if before.trouble is not trouble:
            _log.warning("relays.broker_failed", relay=line.relay.name, trouble=trouble.value)
        line.failing = self._one_more(before, trouble, detail)
        await asyncio.sleep(wait_s(line.failing.failures, self._draw(DRAW_BITS) / (1 << DRAW_BITS)))

    def _one_more(self, before: Failing, trouble: Trouble, detail: str) -> Failing:
        since_ms = before.since_ms or self._clock.now_ms()
        return Failing(failures=before.failures + 1, since_ms=since_ms, trouble=trouble, detail=detail)

    async def _next(self, line: Line) -> Sequence[Message]:
        """Return what is handed over next, in order; nothing when everything was looked at."""
        size = sum(len(one.body) for one in line.pending)
        while len(line.pending) < BATCH_MAX and size < BATCH_BYTES_MAX:
            if line.queue:
                found = [line.queue.popleft() for _ in range(min(ENCODE_SLICE, len(line.queue)))]
                size += self._look_at(line, found)
            elif line.live or not await self._read(line):
                break
            await asyncio.sleep(0)
        return _first(line.pending)

    async def _read(self, line: Line) -> bool:
        """Have records of the log wait; says whether there were any."""
        applied_pos = self._applying.pos
        found = await self._log.read(line.scanned, READ_PAGE)
        known = [record for record in found if record.pos <= applied_pos]
        if not known:  # what there was has left the log, or there was nothing
            line.missed += max(0, applied_pos - line.scanned)
            line.scanned = max(line.scanned, applied_pos)
            line.live = line.scanned == self._applying.pos
            return not line.live
        line.missed += known[-1].pos - line.scanned - len(known)
        for start in range(0, len(known), ENCODE_SLICE):
            part = known[start : start + ENCODE_SLICE]
            self._look_at(line, [one for record in part if (one := self._applying.opened(record)) is not None])
            line.scanned = part[-1].pos
            await asyncio.sleep(0)
        line.live = line.scanned >= self._applying.pos
        return True

    def _look_at(self, line: Line, found: Sequence[Applied]) -> int:
        """Have the events among records wait that are for a relay; returns their bytes."""
        size = 0
        for applied in found:
            message = self._message(line.relay, applied)
            line.scanned = max(line.scanned, applied.pos)
            if message is not None:
                line.add(message, applied.time_ms)
                size += len(message.body)
        return size

    def _message(self, relay: Relay, applied: Applied) -> Message | None:
        if relay.settings.tenants and applied.domain not in relay.settings.tenants:
            return None
        if self._shredded.is_shredded(applied.domain):
            return None
        told = self._telling.told(applied)
        if told is None or not wants(
            relay.settings, tenant=applied.domain, category=told.category, type_=told.type, title=told.title
        ):
            return None
        return Message(
            id=applied.id,
            pos=applied.pos,
            seq=applied.domain_seq,
            tenant=applied.domain,
            category=told.category,
            type=told.type,
            key=f"{applied.domain}/{applied.streams[0] if applied.streams else applied.type}",
            body=told.body,
        )

    async def _keep(self, line: Line) -> None:
        cursor = line.cursor()
        if cursor is not None:
            await self._cursors.save((cursor,))
            line.saved = cursor.seq

    async def _wait_for_more(self, line: Line) -> None:
        if not line.queue:
            await self._sleep(LOOK_EVERY_S)

    async def _sleep(self, seconds: float) -> None:
        """Wait until something was applied or is another hub's, or a time is up."""
        woken = asyncio.Event()
        self._waiting.add(woken)
        try:
            async with asyncio.timeout(seconds):
                await woken.wait()
        except TimeoutError:
            pass  # it looks again
        finally:
            self._waiting.discard(woken)

    def _wake(self) -> None:
        for one in self._waiting:
            one.set()

    def _is_ours(self, line: Line) -> bool:
        """Say whether a relay is this hub's to go on with, as it is: not paused, changed or deleted meanwhile."""
        now = self._view.relay(PLATFORM, line.relay.id)
        return _same(line.relay, now) and self._ownership.owns(OWNED_WORK, line.relay.id)

    def _target(self, relay: Relay) -> BrokerTarget:
        given = relay.settings
        credential = self._credentials.value(given.secret) if given.secret else ""
        if credential is None:
            raise BrokerError(Trouble.NO_CREDENTIAL, f"there is no secret {given.secret}")
        servers = tuple((one.host, one.port) for one in given.servers)
        return BrokerTarget(
            relay=relay.name, history=f"{self._applying.incarnation}/{relay.id}", kind=given.kind, servers=servers,
            tls=given.tls, ca=given.ca, credential=credential, mechanism=given.mechanism,
            destination=given.destination, prefix=given.prefix, keep=given.keep, subject=given.subject,
            group=given.group, beginning=given.beginning,
        )  # fmt: skip


def _same(was: Relay, now: Relay | None) -> bool:
    return now is not None and was.revision == now.revision


def _first(pending: Sequence[Message]) -> Sequence[Message]:
    """Return as many messages as are handed over together, at least one where there are any."""
    batch: list[Message] = []
    size = 0
    for message in pending:
        size += len(message.body)
        if batch and (len(batch) >= BATCH_MAX or size > BATCH_BYTES_MAX):
            break
        batch.append(message)
    return batch
