"""The one path by which anything becomes true: decide, append, apply, wake, answer.

Commands are decided serially over the committed views. What is decided but not yet durable
locks the streams it writes: a later command that touches one of them is parked until they are
durable, then decided afresh. Sums (instance limits, quotas) are not locked but held in escrow:
a decision sees committed plus pending, so a limit is never exceeded and independent commands
share one fsync. If a commit fails nothing that was decided after it had seen it, so dropping it
drops a suffix. Readers and watchers see only what is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import encode_fact
from central_hub.kernel.fairness import EqualShares, FairQueue, Shares, queue_full
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.placing import outcome_unknown
from central_hub.kernel.ports import (
    Accepted,
    Append,
    Duplicate,
    Idempotency,
    Log,
    Sealer,
    StreamKey,
    Unplaced,
    Verdict,
)
from central_hub.kernel.randomness import Randomness, RandomPool
from central_hub.kernel.records import HUB_ACTOR, Actor, Applied, Draft, Record, associated_data
from central_hub.kernel.runner import Runner
from central_hub.kernel.transaction import StreamBusy, Tx

GROUP_COMMIT_MAX: Final = 128
"""Commands in one transaction; past this an fsync is no longer what limits the rate."""

GROUP_COMMIT_BYTES_MAX: Final = 262_144
"""Sealed bytes after which a transaction takes no further command, so that a few large ones hold nobody up."""

QUEUE_MAX: Final = 8_192
"""Commands decided or parked and not yet answered; more are refused with 503."""

QUEUE_RESERVED: Final = 1_024
"""Of them, those that only the hub's own work may take."""

APPLY_SLICE_BYTES: Final = 6_144
"""Sealed bytes applied before others run: about a millisecond of work."""

HUB: Final = HUB_ACTOR.kind

CONFLICT_RETRIES_MAX: Final = 8
"""Decisions of one command at most. Two hubs after one stream lose to each other about every other time."""

T = TypeVar("T")


class Committed(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What a command answered, and where it stands in each domain it wrote."""

    answer: T
    seq: dict[DomainId, int]
    pos: int
    replayed: bool = False
    written: int = 0
    """Records that were written; fewer than were decided where some had been told before."""


class _Command:
    """A submitted command on its way: its decision, its drafts and who waits for it."""

    __slots__ = (
        "actor", "answer", "append", "attempts", "bytes", "counts", "decide", "done", "drafts", "idempotency", "of",
        "writes",
    )  # fmt: skip

    def __init__(
        self,
        of: DomainId | None,
        actor: Actor,
        decide: Callable[[Tx], Any],  # Any: the answer's type is the caller's, restored by submit's signature
        idempotency: Idempotency | None,
        done: asyncio.Future[Committed[Any]],
    ) -> None:
        self.of = of
        self.actor = actor
        self.decide = decide
        self.idempotency = idempotency
        self.done = done
        self.attempts = 0
        self.answer: Any = None
        self.drafts: list[Draft] = []
        self.writes: tuple[StreamKey, ...] = ()
        self.counts: dict[StreamKey, int] = {}
        self.append: Append | None = None
        self.bytes = 0


class Sequencer:
    """Decides commands one after another and makes them durable in groups.

    Args:
        log: the store.
        sealer: encryption per domain.
        runner: applies what became durable to the views and wakes listeners.
        clock: wall time for records.
        random: source of random bytes.
        shares: what each domain may have of the queue, and how much of a group commit while others wait.
    """

    def __init__(
        self,
        log: Log,
        sealer: Sealer,
        runner: Runner,
        clock: Clock,
        random: Randomness,
        shares: Shares | None = None,
    ) -> None:
        self._log = log
        self._sealer = sealer
        self._runner = runner
        self._clock = clock
        self._random = RandomPool(random).take
        self._shares = shares or EqualShares(QUEUE_MAX)
        self._ready: FairQueue[_Command] = FairQueue(self._shares.weight_of)
        self._parked: dict[StreamKey, deque[_Command]] = {}
        self._writing: dict[StreamKey, int] = {}
        self._pending: dict[StreamKey, int] = {}
        self._in_flight = 0
        self._queued: dict[DomainId | None, int] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._behind = False
        self.commits = 0
        self.failed_commits = 0
        self.failed_reads = 0

    @property
    def queued(self) -> int:
        """Commands decided or parked and not yet answered."""
        return self._in_flight

    @property
    def waiting_domains(self) -> int:
        """Domains that have commands waiting for the next group commit."""
        return self._ready.waiting_domains

    def queued_of(self, domain: DomainId) -> int:
        """Return how many commands of a domain are not yet answered."""
        return self._queued.get(domain, 0)

    async def submit(
        self,
        actor: Actor,
        domains: Sequence[DomainId],
        decide: Callable[[Tx], T],
        *,
        idempotency: Idempotency | None = None,
    ) -> Committed[T]:
        """Decide a command and return once it is durable and visible.

        Args:
            actor: who the record names.
            domains: every domain it may write; each gets a durable data key first.
            decide: pure over the committed views; may run more than once.
            idempotency: key under which the first result is kept; the answer must be encodable.

        Raises:
            HubError: what `decide` raised; or `store_unavailable`, `outcome_unknown` (503),
                `storage_full` (507), `contended` (409), `overloaded` (503), `write_queue_full` (429).
        """
        of = None if domains[0] == PLATFORM or actor.kind == HUB else domains[0]
        queued = self._queued.get(of, 0)
        if self._closing or self._in_flight >= QUEUE_MAX - QUEUE_RESERVED:
            self._check_room(of)
        if of is not None and queued >= self._shares.queued_max(of):
            self._shares.refused(of)
            raise queue_full(self._shares.queued_max(of))
        done: asyncio.Future[Committed[T]] = asyncio.get_running_loop().create_future()
        command = _Command(of, actor, decide, idempotency, done)
        self._in_flight += 1
        self._queued[of] = queued + 1
        try:
            for domain in domains:
                await self._sealer.ensure(domain)
            self._decide(command)
            return await done
        except HubError as refused:
            # A retry of a command that went through is told what the first try was told, even if
            # the rules would refuse it today ("already exists"). Only refusals pay for the look-up.
            if idempotency is None:
                raise
            first = await self._first_result(idempotency, refused)
            if first is None:
                raise
            return self._replayed(first, idempotency)
        finally:
            self._in_flight -= 1
            left = self._queued[of] - 1
            if left:
                self._queued[of] = left
            else:
                del self._queued[of]

    async def run(self) -> None:
        """Commit what is decided until `close`; the hub runs exactly one of these."""
        while True:
            if self._behind:
                self._behind = False
                await self._catch_up()
                continue
            if not self._ready:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._commit(self._ready.take(GROUP_COMMIT_MAX, GROUP_COMMIT_BYTES_MAX))

    def follow(self) -> None:
        """Read what others wrote, between two commits: there may be records that the views have not seen."""
        self._behind = True
        self._wake.set()

    def close(self) -> None:
        """Refuse new commands; `run` returns when what was decided is durable."""
        self._closing = True
        self._wake.set()

    def _check_room(self, of: DomainId | None) -> None:
        """Refuse a command when no more may be waiting; the hub's own work may take what is reserved for it."""
        if self._closing or self._in_flight >= (QUEUE_MAX if of is None else QUEUE_MAX - QUEUE_RESERVED):
            raise HubError(
                "overloaded",
                Kind.UNAVAILABLE,
                "The hub has more writes waiting than it will queue.",
                next_step="Try again after a second, with jitter.",
                retry_after_s=1,
            )

    def _decide(self, command: _Command) -> None:
        tx = Tx(self._clock.now_ms(), self._random, self._writing, self._pending)
        try:
            command.answer = command.decide(tx)
        except StreamBusy as busy:
            self._parked.setdefault(busy.key, deque()).append(command)
            return
        except Exception as error:  # a bug in a rule must reach its caller and leave the sequencer running
            _fail(command, error)
            return
        if not tx.drafts:
            # Nothing changed: there is nothing to make durable, the answer stands on committed state.
            if not command.done.done():
                command.done.set_result(
                    Committed(answer=command.answer, seq=self._runner.positions(), pos=self._runner.pos)
                )
            return
        command.drafts = tx.drafts
        command.counts = tx.counts
        command.writes = tx.written()
        try:
            command.append = self._seal(command, tx)
        except Exception as error:  # as above: an unencodable answer or a shredded key fails this command alone
            _fail(command, error)
            return
        self._hold(command)
        self._ready.put(command.of, command)
        self._wake.set()

    def _seal(self, command: _Command, tx: Tx) -> Append:
        records: list[Unplaced] = []
        size = 0
        for draft in command.drafts:
            record_id = tx.new_id()
            type_name = type(draft.fact).__name__
            key_id, data = self._sealer.seal(
                draft.domain, encode_fact(draft.fact), associated_data(draft.domain, record_id, type_name)
            )
            size += len(data)
            records.append(
                Unplaced(
                    domain=draft.domain,
                    streams=draft.streams,
                    category=draft.category,
                    type=type_name,
                    id=record_id,
                    time_ms=tx.now_ms,
                    actor=command.actor,
                    key_id=key_id,
                    data=data,
                    once=draft.once,
                    schema_rev=self._runner.revision_of(type_name),
                )
            )
        command.bytes = size
        result = b""
        if command.idempotency is not None:
            key = command.idempotency
            key_id, sealed = self._sealer.seal(key.domain, msgspec.msgpack.encode(command.answer), _result_data(key))
            result = msgspec.msgpack.encode((key_id, sealed))
        return Append(
            records=tuple(records),
            reads=frozenset(tx.reads),
            decided_at=self._runner.pos,
            idempotency=command.idempotency,
            result=result,
        )

    async def _first_result(self, key: Idempotency, refused: HubError) -> bytes | None:
        """Look a first result up; where that fails too, what the store said first stands ("outcome unknown")."""
        try:
            return await self._log.lookup(key)
        except HubError:
            if refused.kind in (Kind.UNAVAILABLE, Kind.STORAGE_FULL):
                return None
            raise

    async def _catch_up(self) -> None:
        try:
            await self._runner.catch_up()
        except Exception:  # as in `_commit`; the next word of the store's, or the next command, tries again
            self.failed_reads += 1

    async def _commit(self, batch: list[_Command]) -> None:
        appends = [command.append for command in batch if command.append is not None]
        try:
            verdicts = await self._log.append(appends)
        except Exception as error:  # whatever a store does, its commands are told and the hub goes on
            self._drop(batch, error)
            return
        self.commits += 1
        await self._take_effect(batch, verdicts)

    def _drop(self, batch: list[_Command], error: Exception) -> None:
        self.failed_commits += 1
        for command in batch:
            self._release(command)
            _fail(command, error)
        self._retry_parked()

    async def _take_effect(self, batch: list[_Command], verdicts: Sequence[Verdict]) -> None:
        """Apply what is durable and answer, in slices that leave the event loop free in between."""
        start = 0
        try:
            first = next((one.records[0].pos for one in verdicts if isinstance(one, Accepted) and one.records), 0)
            nothing_new = not first and all(isinstance(one, Accepted) for one in verdicts)
            if first != self._runner.pos + 1 and not nothing_new:
                # Somebody else wrote in between (or a command lost to them): their records come first.
                await self._runner.catch_up()
                self._settle(batch, verdicts)
                return
            while start < len(batch):
                stop = _slice_end(batch, start)
                if start:
                    await asyncio.sleep(0)
                self._runner.apply(_applied_by(batch[start:stop], verdicts[start:stop]))
                part, start = (batch[start:stop], verdicts[start:stop]), stop
                self._settle(*part)
        except Exception as error:  # durable, and not in the views: nobody may take it for refused
            self._drop(batch[start:], outcome_unknown(f"{type(error).__name__}: {error}"))

    def _settle(self, batch: list[_Command], verdicts: Sequence[Verdict]) -> None:
        again: list[_Command] = []
        for command, verdict in zip(batch, verdicts, strict=True):
            self._release(command)
            if isinstance(verdict, Accepted):
                self._answer(command, verdict.records)
            elif isinstance(verdict, Duplicate) and command.idempotency is not None:
                if not command.done.done():
                    command.done.set_result(self._replayed(verdict.result, command.idempotency))
            else:
                again.append(command)
        self._retry_parked()
        for command in again:
            self._decide_again(command)

    def _answer(self, command: _Command, records: Sequence[Record]) -> None:
        if not command.done.done():
            seq = {record.domain: record.domain_seq for record in records} or self._runner.positions()
            pos = records[-1].pos if records else self._runner.pos
            command.done.set_result(Committed(answer=command.answer, seq=seq, pos=pos, written=len(records)))

    def _decide_again(self, command: _Command) -> None:
        command.attempts += 1
        if command.attempts >= CONFLICT_RETRIES_MAX:
            contended = HubError(
                "contended",
                Kind.CONFLICT,
                "Others kept changing what this command depends on.",
                next_step="Read the current state and try again.",
            )
            _fail(command, contended)
            return
        self._decide(command)

    def _replayed(self, result: bytes, key: Idempotency) -> Committed[Any]:
        key_id, sealed = msgspec.msgpack.decode(result, type=tuple[str, bytes])
        plain = self._sealer.open(key.domain, key_id, sealed, _result_data(key))
        return Committed(
            answer=msgspec.msgpack.decode(plain), seq=self._runner.positions(), pos=self._runner.pos, replayed=True
        )

    def _hold(self, command: _Command) -> None:
        for key in command.writes:
            self._writing[key] = self._writing.get(key, 0) + 1
        for key, change in command.counts.items():
            if change > 0:
                self._pending[key] = self._pending.get(key, 0) + change

    def _release(self, command: _Command) -> None:
        for key in command.writes:
            left = self._writing.get(key, 0) - 1
            if left > 0:
                self._writing[key] = left
            else:
                self._writing.pop(key, None)
        for key, change in command.counts.items():
            if change > 0:
                left = self._pending.get(key, 0) - change
                if left > 0:
                    self._pending[key] = left
                else:
                    self._pending.pop(key, None)
        command.writes = ()
        command.counts = {}

    def _retry_parked(self) -> None:
        if not self._parked:
            return
        for key in [key for key in self._parked if key not in self._writing]:
            waiting = self._parked.pop(key, None)
            while waiting:
                # A retried command may take the stream again: those behind it go back to the queue.
                self._decide(waiting.popleft())


def _fail(command: _Command, error: Exception) -> None:
    if not command.done.done():
        command.done.set_exception(error)


def _result_data(key: Idempotency) -> bytes:
    return associated_data(key.domain, key.id, f"result\n{key.source}")


def _slice_end(batch: Sequence[_Command], start: int) -> int:
    """Return where the slice that begins at `start` ends: at least one command on."""
    size = 0
    for at in range(start, len(batch)):
        size += batch[at].bytes
        if size >= APPLY_SLICE_BYTES:
            return at + 1
    return len(batch)


def _applied_by(batch: Sequence[_Command], verdicts: Sequence[Verdict]) -> list[Applied]:
    return [
        _applied(record, draft)
        for command, verdict in zip(batch, verdicts, strict=True)
        if isinstance(verdict, Accepted)
        for record, draft in zip(verdict.records, _kept(command.drafts, verdict), strict=True)
    ]


def _kept(drafts: list[Draft], verdict: Accepted) -> list[Draft]:
    return drafts if verdict.kept is None else [drafts[at] for at in verdict.kept]


def _applied(record: Record, draft: Draft) -> Applied:
    return Applied(
        pos=record.pos,
        domain=record.domain,
        domain_seq=record.domain_seq,
        streams=record.streams,
        category=record.category,
        type=record.type,
        id=record.id,
        time_ms=record.time_ms,
        actor=record.actor,
        fact=draft.fact,
    )
