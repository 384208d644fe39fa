"""Judging and placing commands: the part of a store that every store shares. Pure.

A store brings the head it holds under its lock and what others wrote since; this module says
which commands are accepted and gives their records positions and chain links.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.expiring import Gap
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Accepted, Append, Conflict, Duplicate, Idempotency, StreamKey, Unplaced, Verdict
from central_hub.kernel.records import GENESIS_HASH, Record, chain_hash, chain_header, record_hash

FOREIGN_KEPT_MAX: Final = 10_000
"""Foreign records remembered for judging; a command decided before the oldest of them conflicts."""

DomainHead = tuple[int, bytes]
"""Last position of a domain and the hash of its last record."""


class ForeignWrites:
    """What others wrote, by position, so that a command can be held against what it did not see."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, frozenset[StreamKey]]] = deque()
        self._forgotten_to = 0

    def note(self, pos: int, domain: DomainId, streams: Iterable[str]) -> None:
        """Remember a record that this hub did not write; positions come in order."""
        self._kept.append((pos, frozenset((domain, stream) for stream in streams)))
        if len(self._kept) > FOREIGN_KEPT_MAX:
            self._forgotten_to = self._kept.popleft()[0]

    def conflicts(self, append: Append) -> bool:
        """Say whether a stream the command read was written by others after it was decided."""
        if not self._kept or self._kept[-1][0] <= append.decided_at:
            return False
        if append.decided_at < self._forgotten_to:
            return True
        return any(pos > append.decided_at and not append.reads.isdisjoint(streams) for pos, streams in self._kept)


class Placement:
    """Places one batch behind a head.

    Args:
        pos: last position of the log.
        head_of: last position and hash of a domain, (0, genesis) for a new one.
    """

    def __init__(self, pos: int, head_of: Callable[[DomainId], DomainHead | None]) -> None:
        self.pos = pos
        self.heads: dict[DomainId, DomainHead] = {}
        self.records: list[Record] = []
        self.results: dict[Idempotency, bytes] = {}
        self.told: dict[tuple[DomainId, str], None] = {}
        self._head_of = head_of

    def judge(
        self,
        batch: Sequence[Append],
        foreign: ForeignWrites,
        known: Callable[[Idempotency], bytes | None],
        was_told: Callable[[DomainId, str], bool],
    ) -> list[Verdict]:
        """Return one verdict per command; accepted ones are placed in order.

        Args:
            batch: commands in the order they were decided.
            foreign: what others wrote.
            known: the first result under an idempotency key, if the store keeps one.
            was_told: whether a record was written under this name before.
        """
        verdicts: list[Verdict] = []
        lost: set[StreamKey] = set()
        for append in batch:
            key = append.idempotency
            if key is not None:
                first = self.results.get(key)
                first = known(key) if first is None else first
                if first is not None:
                    verdicts.append(Duplicate(first))
                    continue
            # What was decided on a command that is not written falls with it.
            if foreign.conflicts(append) or (lost and not append.reads.isdisjoint(lost)):
                lost.update((record.domain, stream) for record in append.records for stream in record.streams)
                verdicts.append(Conflict())
                continue
            if key is not None:
                self.results[key] = append.result
            verdicts.append(self._accept(append.records, was_told))
        return verdicts

    def _accept(self, records: Sequence[Unplaced], was_told: Callable[[DomainId, str], bool]) -> Accepted:
        kept = [at for at, record in enumerate(records) if not record.once or self._is_new(record, was_told)]
        if len(kept) == len(records):
            return Accepted(tuple([self._place(record) for record in records]))
        return Accepted(tuple([self._place(records[at]) for at in kept]), tuple(kept))

    def _is_new(self, record: Unplaced, was_told: Callable[[DomainId, str], bool]) -> bool:
        name = (record.domain, record.once)
        if name in self.told or was_told(*name):
            return False
        self.told[name] = None
        return True

    def _place(self, one: Unplaced) -> Record:
        head = self.heads.get(one.domain) or self._head_of(one.domain) or (0, GENESIS_HASH)
        domain_seq, prev_hash = head[0] + 1, head[1]
        header = chain_header(
            one.domain, domain_seq, one.streams, one.category, one.type, one.schema_rev, one.id, one.time_ms, one.actor,
            one.key_id,
        )  # fmt: skip
        digest = chain_hash(prev_hash, header, one.data)
        self.pos += 1
        record = Record(
            pos=self.pos,
            domain=one.domain,
            domain_seq=domain_seq,
            streams=one.streams,
            category=one.category,
            type=one.type,
            schema_rev=one.schema_rev,
            id=one.id,
            time_ms=one.time_ms,
            actor=one.actor,
            key_id=one.key_id,
            prev_hash=prev_hash,
            hash=digest,
            data=one.data,
        )
        self.heads[one.domain] = (domain_seq, digest)
        self.records.append(record)
        return record


class ChainCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying a domain's chain found; `broken_at` is the first position that does not hold."""

    checked: int
    first_seq: int
    last_seq: int
    broken_at: int | None = None


class ChainVerifier:
    """Follows one domain's chain record by record.

    Args:
        anchor: position and hash of the last record of the beginning that left; (0, genesis) if none.
        gaps: runs of records that left later on, by their first position.
    """

    def __init__(self, anchor: DomainHead = (0, GENESIS_HASH), gaps: Iterable[Gap] = ()) -> None:
        self._seq: int = anchor[0]
        self._hash: bytes = anchor[1]
        self._gaps: dict[int, Gap] = {gap.first: gap for gap in gaps}
        self._pos = 0
        self._first = anchor[0] + 1
        self._broken_at: int | None = None
        self._checked = 0

    def check(self, records: Iterable[Record]) -> None:
        """Hold further records, in order, against the chain."""
        for record in records:
            if self._broken_at is not None:
                return
            self._checked += 1
            self._step_over()
            linked = record.domain_seq == self._seq + 1 and record.prev_hash == self._hash
            # The position is not hashed, but it must grow: replay goes by it.
            if not linked or record.pos <= self._pos or record_hash(record) != record.hash:
                self._broken_at = self._seq + 1
                return
            self._pos, self._seq, self._hash = record.pos, record.domain_seq, record.hash

    def _step_over(self) -> None:
        """Go on behind a gap that begins here and was linked to what is here."""
        while (gap := self._gaps.get(self._seq + 1)) is not None and gap.prev_hash == self._hash:
            self._seq, self._hash = gap.last, gap.hash

    def unreadable(self) -> None:
        """Note that the next record does not even decode."""
        if self._broken_at is None:
            self._broken_at = self._seq + 1

    def finish(self, head: DomainHead | None) -> ChainCheck:
        """Return the outcome; a tail that was cut off is held against the domain's known head."""
        self._step_over()
        if self._broken_at is None and head is not None and (self._seq, self._hash) != head:
            self._broken_at = self._seq + 1
        return ChainCheck(checked=self._checked, first_seq=self._first, last_seq=self._seq, broken_at=self._broken_at)


def storage_full(internal: str = "") -> HubError:
    """Return the refusal of a write for which there is no room."""
    return HubError(
        "storage_full",
        Kind.STORAGE_FULL,
        "The hub's storage is full; nothing was written.",
        next_step="Free space; reads go on meanwhile.",
        internal=internal,
    )


def store_unavailable(internal: str = "") -> HubError:
    """Return the refusal of a write that the store does not take now."""
    return HubError(
        "store_unavailable",
        Kind.UNAVAILABLE,
        "The hub's store does not take writes now; nothing was changed.",
        next_step="Try again with jitter; reads and heartbeats go on meanwhile.",
        internal=internal,
        retry_after_s=1,
    )


def outcome_unknown(internal: str = "") -> HubError:
    """Return what is said of a write that was sent and never confirmed."""
    return HubError(
        "outcome_unknown",
        Kind.UNAVAILABLE,
        "The write was sent to the store and not confirmed; it may or may not be durable.",
        next_step="Retry with the same Idempotency-Key: the first result is returned if it went through.",
        internal=internal,
        retry_after_s=1,
    )
