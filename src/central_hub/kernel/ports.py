"""Ports: what the kernel asks of a store, of a key ring and of a view.

Adapters implement the first three, features the last. One contract suite runs on every
adapter of a port.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import SCHEMA_REV, Actor, Applied, Category, Record

StreamKey = tuple[DomainId, str]


class Idempotency(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The name under which a command's first result is kept: (domain, source, id)."""

    domain: DomainId
    source: str
    id: str


class Unplaced(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sealed record on its way to the store; the store gives it position and chain link.

    Of all records of a domain with the same `once`, which is a name, the first is kept and the others are passed over.
    """

    domain: DomainId
    streams: tuple[str, ...]
    category: Category
    type: str
    id: str
    time_ms: int
    actor: Actor
    key_id: str
    data: bytes
    once: str = ""
    schema_rev: int = SCHEMA_REV


class Append(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One command's records, with what it read and when it was decided.

    It is refused as a conflict if a record that the deciding hub had not seen (position above
    `decided_at`, not part of an earlier command of the same hub) is in one of `reads`.
    """

    records: tuple[Unplaced, ...]
    reads: frozenset[StreamKey]
    decided_at: int
    idempotency: Idempotency | None = None
    result: bytes = b""


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The command is durable; its records in order.

    `kept` are the indexes of those that were not passed over, None for all of them.
    """

    records: tuple[Record, ...]
    kept: tuple[int, ...] | None = None


class Conflict(msgspec.Struct, frozen=True):
    """A stream the command read has moved; apply the tail and decide again."""


class Duplicate(msgspec.Struct, frozen=True):
    """The idempotency key was used before; this is the first result, sealed as it was given."""

    result: bytes
    records: tuple[Record, ...] = ()


Verdict = Accepted | Conflict | Duplicate


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the log: last position (0 when empty) and which history it belongs to."""

    pos: int
    incarnation: str


class Log(Protocol):
    """The durable, totally ordered log.

    When the backend is away or full every method raises `HubError` `store_unavailable` (503),
    `storage_full` (507), or `outcome_unknown` (503) if an append was sent and not confirmed.
    """

    async def append(self, batch: Sequence[Append]) -> list[Verdict]:
        """Make the batch durable in one transaction; one verdict per command, in order."""
        ...

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return up to `limit` records with `pos > after`, in order."""
        ...

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        """Return up to `limit` records of one domain with `domain_seq > after_seq`, in order."""
        ...

    async def head(self) -> Head:
        """Return the end of the log."""
        ...

    async def lookup(self, key: Idempotency) -> bytes | None:
        """Return the first result kept under an idempotency key, if it is still kept."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and let go of the backend."""
        ...


class Sealer(Protocol):
    """Encryption per domain. Data keys live in the store, wrapped; the wrapping key does not."""

    def seal(self, domain: DomainId, plain: bytes, associated: bytes) -> tuple[str, bytes]:
        """Encrypt under the domain's current data key; returns (key id, sealed bytes)."""
        ...

    def open(self, domain: DomainId, key_id: str, sealed: bytes, associated: bytes) -> bytes:
        """Decrypt.

        Raises:
            HubError: `unreadable_record` when the key is gone or the bytes were altered.
        """
        ...

    def is_shredded(self, domain: DomainId) -> bool:
        """Say whether a domain's data keys were destroyed on purpose: its records are passed over."""
        ...

    async def ensure(self, domain: DomainId) -> None:
        """Make sure the domain has a durable data key before anything is sealed for it."""
        ...

    async def refresh(self) -> None:
        """Learn of data keys that another hub made, and of those it destroyed."""
        ...


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One view's state of one domain as of `domain_seq`, in chunks that decode on their own."""

    view: str
    domain: DomainId
    domain_seq: int
    chunks: tuple[bytes, ...]


class Snapshots(Protocol):
    """Where a hub keeps what it folded, so that a start need not replay everything."""

    async def save(self, pos: int, incarnation: str, sections: Sequence[Section]) -> int:
        """Keep a snapshot durably, drop older ones, and return the position of the oldest kept."""
        ...

    async def load(self) -> tuple[int, str, list[Section]] | None:
        """Return the newest intact snapshot as (pos, incarnation, sections), or None."""
        ...


class View(Protocol):
    """State folded from facts, in memory, keyed by domain first."""

    @property
    def name(self) -> str:
        """The view's name in snapshots; stable."""
        ...

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        ...

    def apply(self, applied: Applied) -> None:
        """Fold one fact; called in order, never for a fact it does not list."""
        ...

    def dump(self, domain: DomainId) -> Iterable[object]:
        """Return the domain's state as of this call, in encodable chunks of a few hundred items at most.

        Facts are applied between two chunks; none of them shows. A view that holds much of one tenant makes its
        chunks as they are taken.
        """
        ...

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded, each chunk encoded as MessagePack."""
        ...
