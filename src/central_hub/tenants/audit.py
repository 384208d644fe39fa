"""The audit trail's reading side: a domain's records, opened, without what nobody may read back.

Every fact already says who, what, when, from where and under which correlation, and its chain
proves that none is missing; so the trail is the log itself, not a second copy of it.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import ChainCheck
from central_hub.kernel.records import Applied, Record

PAGE_MAX: Final = 500
REDACTED: Final = "redacted"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened: position, time, who, from where, and what."""

    seq: int
    at: str
    type: str
    category: str
    actor: str
    actor_kind: str
    origin: str
    correlation_id: str
    record_id: str
    data: dict[str, Any]  # Any: the fact's own fields


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries in order, and the cursor of the next page; none on the last."""

    entries: list[AuditEntry]
    next_cursor: str | None = None


class DomainLog(Protocol):
    """What the trail is read from."""

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        """Return one domain's records after a position."""
        ...

    async def verify(self, domain: DomainId) -> ChainCheck:
        """Verify one domain's chain."""
        ...


class Opener(Protocol):
    """Opens stored records, and knows where a domain's end is (kernel.runner.Runner)."""

    def position(self, domain: DomainId) -> int:
        """Return the last applied position of a domain."""
        ...

    def opened(self, record: Record) -> Applied | None:
        """Open and decode; None for what can be ignored."""
        ...


class AuditTrail:
    """Reads and verifies a domain's trail.

    Args:
        log: where records are.
        opener: unseals them.
    """

    def __init__(self, log: DomainLog, opener: Opener) -> None:
        self._log = log
        self._opener = opener

    async def page(self, domain: DomainId, *, cursor: str | None, limit: int, latest: bool = False) -> AuditPage:
        """Return a page of a domain's trail, oldest first.

        Args:
            domain: whose trail.
            cursor: where to go on; from the beginning without.
            limit: entries at most, up to `PAGE_MAX`.
            latest: without a cursor begin `limit` entries before the end; the cursor of that page goes on from there.

        Raises:
            HubError: `invalid_cursor` (400).
        """
        after = _position(cursor)
        if latest and cursor is None:
            after = max(0, self._opener.position(domain) - limit)
        records = await self._log.read_domain(domain, after, limit + 1)
        entries = [
            _entry(applied) for record in records[:limit] if (applied := self._opener.opened(record)) is not None
        ]
        last = records[:limit][-1].domain_seq if records else 0
        more = last < self._opener.position(domain)  # what is read ends before a gap, and goes on behind it
        return AuditPage(entries=entries, next_cursor=str(last) if records and more else None)

    async def verify(self, domain: DomainId) -> ChainCheck:
        """Verify that nothing in a domain's trail was altered, removed or reordered."""
        return await self._log.verify(domain)


def _entry(applied: Applied) -> AuditEntry:
    return AuditEntry(
        seq=applied.domain_seq,
        at=rfc3339(applied.time_ms),
        type=applied.type,
        category=applied.category.value,
        actor=applied.actor.principal,
        actor_kind=applied.actor.kind,
        origin=applied.actor.origin,
        correlation_id=applied.actor.correlation,
        record_id=applied.id,
        data=_shown(msgspec.to_builtins(applied.fact, builtin_types=(bytes,))),
    )


def _shown(value: Any) -> Any:  # Any: JSON values and bytes
    """Replace bytes (digests of secrets) by a word; everything else in a fact may be seen by its domain."""
    if isinstance(value, bytes):
        return REDACTED
    if isinstance(value, dict):
        return {key: _shown(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]  # JSON
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]  # pyright: ignore[reportUnknownVariableType]  # JSON
    return value


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise HubError(
            "invalid_cursor",
            Kind.INVALID,
            "The cursor is not one that a page gave.",
            next_step="Leave it out to start from the beginning.",
        )
    return int(cursor)
