"""What events ask of others: who still may, what services a caller sees, and the log."""

from __future__ import annotations

from typing import Protocol

from central_hub.kernel.context import TenantContext
from central_hub.kernel.expiring import Expired, Terms, Weighed
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied, Record


class Access(Protocol):
    """Whether a caller still is who it was (tenants.authentication)."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it is now, or refuse."""
        ...


class DomainLog(Protocol):
    """The log, read by domain."""

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        """Return up to `limit` records of a domain with `domain_seq > after_seq`, in order, up to the next gap."""
        ...

    async def horizon(self, domain: DomainId) -> int:
        """Return the last position at which a record has left, 0 for none."""
        ...


class ExpiringLog(Protocol):
    """The log, as far as records leave it."""

    async def expire(self, domain: DomainId, *, after_seq: int, behind_pos: int, terms: Terms) -> Expired:
        """Drop some of the oldest records of one domain in one step; say what left and how far was looked."""
        ...

    async def weigh(self, after_pos: int, limit: int) -> Weighed:
        """Return what events among the next `limit` records take."""
        ...


class Snapshotted(Protocol):
    """What was applied, and behind which position a start needs no records (kernel.runner.Runner)."""

    droppable_pos: int

    def positions(self) -> dict[DomainId, int]:
        """Return the last applied position of every domain."""
        ...


class Applying(Protocol):
    """What was applied so far, and how a stored record is opened (kernel.runner.Runner)."""

    incarnation: str

    def position(self, domain: DomainId) -> int:
        """Return the last applied position of a domain."""
        ...

    def opened(self, record: Record) -> Applied | None:
        """Open and decode; None for what can be ignored."""
        ...
