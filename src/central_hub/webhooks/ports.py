"""What webhooks ask of others: the values that tenants are told of, and whether a tenant is there."""

from __future__ import annotations

from typing import Protocol

from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Record
from central_hub.webhooks.model import ValueKey


class Values(Protocol):
    """What is told by its fingerprint: configuration and flags of a tenant."""

    def fingerprint(self, domain: DomainId, key: ValueKey) -> str | None:
        """Return the same text as long as the value is the same; None when there is no value for the tenant now."""
        ...

    def fresh_until_ms(self, domain: DomainId) -> float:
        """Return the wall time up to which only facts change a tenant's values, infinite when time never does."""
        ...


class Customers(Protocol):
    """Which tenants are there to be told anything."""

    def is_told(self, domain: DomainId) -> bool:
        """Say whether a tenant exists and is not deleted."""
        ...


class DomainLog(Protocol):
    """The log, read by domain."""

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        """Return up to `limit` records of a domain with `domain_seq > after_seq`, in order."""
        ...
