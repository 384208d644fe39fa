"""Quotas as the log tells them: what is held and by whom, the sums, and what was set aside to be spent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.quotas.model import (
    VIEW_FACTS,
    Lease,
    Reserved,
    TenantBudgetReserved,
    TenantResourcesAllocated,
    TenantResourcesFreed,
)
from central_hub.tenants.model import TenantShredded

CHUNK: Final = 256


class _Dump(msgspec.Struct, kw_only=True):
    leases: list[Lease] = []
    reserved: list[Reserved] = []


class _Held:
    """What one domain holds."""

    __slots__ = ("leases", "used")

    def __init__(self) -> None:
        self.leases: dict[str, Lease] = {}
        self.used: dict[str, int] = {}

    def put(self, lease: Lease) -> None:
        self.leases[lease.id] = lease
        self.used[lease.resource] = self.used.get(lease.resource, 0) + lease.amount

    def take(self, lease_id: str) -> None:
        lease = self.leases.pop(lease_id)
        left = self.used[lease.resource] - lease.amount
        if left:
            self.used[lease.resource] = left
        else:
            del self.used[lease.resource]


class QuotasView:
    """Who holds how much. At every position the sum of a resource is the sum of its leases."""

    def __init__(self) -> None:
        self._held: dict[DomainId, _Held] = {}
        self._reserved: dict[DomainId, dict[str, Reserved]] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "quotas"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*VIEW_FACTS, TenantShredded))

    def lease(self, domain: DomainId, lease_id: str) -> Lease | None:
        """Return a lease of a domain; None when it is missing, ended or another domain's."""
        held = self._held.get(domain)
        return None if held is None else held.leases.get(lease_id)

    def used(self, domain: DomainId, resource: str) -> int:
        """Return how much of a resource is held."""
        held = self._held.get(domain)
        return 0 if held is None else held.used.get(resource, 0)

    def count_leases(self, domain: DomainId) -> int:
        """Return how many leases a domain has."""
        held = self._held.get(domain)
        return 0 if held is None else len(held.leases)

    def leases_after(self, domain: DomainId, token: int, limit: int, resource: str | None = None) -> list[Lease]:
        """Return up to `limit` leases with a fencing token above `token`, oldest first."""
        held = self._held.get(domain)
        if held is None:
            return []
        wanted = (
            lease
            for lease in held.leases.values()
            if lease.fencing_token > token and resource in (None, lease.resource)
        )
        return list(islice(wanted, limit))

    def reserved(self, domain: DomainId, name: str) -> Reserved | None:
        """Return what was set aside of a limit in its latest period; None when nothing ever was."""
        found = self._reserved.get(domain)
        return None if found is None else found.get(name)

    def domains(self) -> tuple[DomainId, ...]:
        """Return the domains that hold something, for the keeper's start."""
        return tuple(self._held)

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        match applied.fact:
            case TenantResourcesAllocated() as fact:
                lease = Lease(
                    id=fact.lease_id,
                    resource=fact.resource,
                    amount=fact.amount,
                    ttl_ms=fact.ttl_ms,
                    holder=fact.holder,
                    fencing_token=applied.domain_seq,
                    allocated_at_ms=applied.time_ms,
                )
                self._held.setdefault(applied.domain, _Held()).put(lease)
            case TenantResourcesFreed(lease_ids=lease_ids):
                held = self._held[applied.domain]
                for lease_id in lease_ids:
                    held.take(lease_id)
                if not held.leases:
                    del self._held[applied.domain]
            case TenantBudgetReserved(name=name, period_start_ms=start_ms, reserved=reserved):
                budgets = self._reserved.setdefault(applied.domain, {})
                budgets[name] = Reserved(name=name, period_start_ms=start_ms, amount=reserved)
            case TenantShredded(tenant_id=tenant_id):
                self._held.pop(DomainId(tenant_id), None)
                self._reserved.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        leases = self.leases_after(domain, -1, self.count_leases(domain))
        for start in range(0, len(leases), CHUNK):
            yield _Dump(leases=leases[start : start + CHUNK])
        reserved = list(self._reserved.get(domain, {}).values())
        for start in range(0, len(reserved), CHUNK):
            yield _Dump(reserved=reserved[start : start + CHUNK])

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            for lease in dumped.leases:
                self._held.setdefault(domain, _Held()).put(lease)
            for reserved in dumped.reserved:
                self._reserved.setdefault(domain, {})[reserved.name] = reserved
