"""What instances offer, as the log tells it; an instance that leaves takes its offerings along. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.registry.model import ServiceUnregistered
from central_hub.routing.model import FACTS, Offering, OfferingsDeclared, OfferingsWithdrawn
from central_hub.tenants.model import TenantShredded

CHUNK: Final = 256

InstanceKey = tuple[str, str]
"""Service and instance id."""


class Declared(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an instance offers, since a position in its domain."""

    offerings: tuple[Offering, ...]
    revision: int


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    service: str
    instance_id: str
    declared: Declared


_NOTHING: Final[Mapping[InstanceKey, Declared]] = {}


class RoutingView:
    """Offerings of all domains."""

    def __init__(self) -> None:
        self._domains: dict[DomainId, dict[InstanceKey, Declared]] = {}
        self._counts: dict[DomainId, int] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "routing"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*FACTS, ServiceUnregistered, TenantShredded))

    def domains(self) -> tuple[DomainId, ...]:
        """Return the domains that offer something, for the start; no route reaches it."""
        return tuple(domain for domain, known in self._domains.items() if known)

    def declared(self, domain: DomainId, service: str, instance_id: str) -> Declared | None:
        """Return what an instance offers; None for nothing."""
        return self._domains.get(domain, _NOTHING).get((service, instance_id))

    def all_declared(self, domain: DomainId) -> Mapping[InstanceKey, Declared]:
        """Return what every instance of a domain offers; do not keep it across an await."""
        return self._domains.get(domain, _NOTHING)

    def count_offerings(self, domain: DomainId) -> int:
        """Return how many offerings a domain has."""
        return self._counts.get(domain, 0)

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        domain = applied.domain
        match applied.fact:
            case OfferingsDeclared() as fact:
                declared = Declared(offerings=fact.offerings, revision=applied.domain_seq)
                self._put(domain, (fact.service, fact.instance_id), declared)
            case (
                OfferingsWithdrawn(service=service, instance_id=instance_id)
                | ServiceUnregistered(service=service, instance_id=instance_id)
            ):
                self._put(domain, (service, instance_id), None)
            case TenantShredded(tenant_id=tenant_id):
                self._domains.pop(DomainId(tenant_id), None)
                self._counts.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` instances."""
        rows = [_Row(*key, declared) for key, declared in self._domains.get(domain, _NOTHING).items()]
        for start in range(0, len(rows), CHUNK):
            yield rows[start : start + CHUNK]

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            for row in msgspec.msgpack.decode(chunk, type=list[_Row]):
                self._put(domain, (row.service, row.instance_id), row.declared)

    def _put(self, domain: DomainId, key: InstanceKey, declared: Declared | None) -> None:
        known = self._domains.get(domain)
        before = None if known is None else known.get(key)
        if declared is None:
            if known is None or before is None:
                return
            del known[key]
            if not known:
                del self._domains[domain]
        else:
            self._domains.setdefault(domain, {})[key] = declared
        count = self._counts.get(domain, 0) - (0 if before is None else len(before.offerings))
        count += 0 if declared is None else len(declared.offerings)
        if count:
            self._counts[domain] = count
        else:
            self._counts.pop(domain, None)
