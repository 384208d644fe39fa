"""The verdicts that are in force, as the log tells them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from central_hub.breakers.verdicts import (
    FACTS,
    BreakerProbesLeased,
    BreakerProbesTried,
    Key,
    SharedBreakerRecovered,
    SharedBreakerTripped,
    Verdict,
    tripped,
    with_lease,
    with_outcome,
)
from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.tenants.model import TenantShredded

CHUNK: Final = 64
_NONE: Final[Mapping[Key, Verdict]] = MappingProxyType({})


class _Dump(msgspec.Struct, kw_only=True):
    verdicts: list[Verdict] = []


class BreakersView:
    """What the hub says of services: for each tenant, and in the domain `shared` for everyone."""

    def __init__(self) -> None:
        self._verdicts: dict[DomainId, dict[Key, Verdict]] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "breakers"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*FACTS, TenantShredded))

    def verdict(self, domain: DomainId, key: Key) -> Verdict | None:
        """Return the verdict about a service and route class; None when calls go through."""
        return self._verdicts.get(domain, _NONE).get(key)

    def verdicts(self, domain: DomainId) -> Mapping[Key, Verdict]:
        """Return a domain's verdicts."""
        return self._verdicts.get(domain, _NONE)

    def domains(self, domain: DomainId) -> Sequence[DomainId]:
        """Return the domains that have verdicts, as the platform may know; whoever else asks knows its own."""
        return [each for each in self._verdicts if domain in (each, PLATFORM)]

    @property
    def count(self) -> int:
        """How many are in force, of all domains."""
        return sum(map(len, self._verdicts.values()))

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        domain = applied.domain
        match applied.fact:
            case SharedBreakerTripped() as fact:
                self._verdicts.setdefault(domain, {})[fact.service, fact.route_class] = tripped(fact, applied.time_ms)
            case BreakerProbesLeased(service=service, route_class=route_class) as fact:
                held = self.verdict(domain, (service, route_class))
                if held is not None:
                    self._verdicts[domain][held.key] = with_lease(held, fact, applied.time_ms)
            case BreakerProbesTried(service=service, route_class=route_class) as fact:
                held = self.verdict(domain, (service, route_class))
                if held is not None:
                    self._verdicts[domain][held.key] = with_outcome(
                        held, fact.tenant, fact.succeeded, fact.failed, applied.time_ms
                    )
            case SharedBreakerRecovered(service=service, route_class=route_class):
                self._drop(domain, (service, route_class))
            case TenantShredded(tenant_id=tenant_id):
                self._verdicts.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        verdicts = list(self.verdicts(domain).values())
        for start in range(0, len(verdicts), CHUNK):
            yield _Dump(verdicts=verdicts[start : start + CHUNK])

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            for verdict in msgspec.msgpack.decode(chunk, type=_Dump).verdicts:
                self._verdicts.setdefault(domain, {})[verdict.key] = verdict

    def _drop(self, domain: DomainId, key: Key) -> None:
        held = self._verdicts.get(domain)
        if held is not None:
            held.pop(key, None)
            if not held:
                del self._verdicts[domain]
