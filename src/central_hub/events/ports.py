"""What events ask of others: who still may, what services a caller sees, and the log."""

from __future__ import annotations

from typing import Protocol

from central_hub.kernel.context import TenantContext
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
        """Return up to `limit` records of a domain with `domain_seq > after_seq`, in order."""
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
