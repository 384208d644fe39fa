"""What tenants say of their events: schemas of their own types in versions, and up to where they are gone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from central_hub.events.model import (
    VERSIONS_MAX,
    EventsPurged,
    EventTypeRegistered,
    EventTypeRetired,
    EventTypesPolicySet,
    TypeVersion,
    UnknownTypes,
)
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.tenants.model import TenantShredded

CHUNK: Final = 64

Versions = tuple[TypeVersion, ...]
"""Of one type, oldest first; never empty."""

_NONE: Final[Mapping[str, Versions]] = MappingProxyType({})


class _Dump(msgspec.Struct, kw_only=True):
    purged: int = 0
    unknown: UnknownTypes = UnknownTypes.ALLOWED
    types: list[tuple[str, Versions]] = []


class _Own:
    """What one domain says."""

    __slots__ = ("purged", "schema_bytes", "types", "unknown")

    def __init__(self) -> None:
        self.types: dict[str, Versions] = {}
        self.unknown = UnknownTypes.ALLOWED
        self.schema_bytes = 0
        self.purged = 0


class EventsView:
    """Every tenant's own types of events."""

    def __init__(self) -> None:
        self._own: dict[DomainId, _Own] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "events"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((EventsPurged, EventTypeRegistered, EventTypeRetired, EventTypesPolicySet, TenantShredded))

    def types(self, domain: DomainId) -> Mapping[str, Versions]:
        """Return a domain's own types by name; do not keep it across an await."""
        own = self._own.get(domain)
        return _NONE if own is None else own.types

    def unknown(self, domain: DomainId) -> UnknownTypes:
        """Return what becomes of events of other types."""
        own = self._own.get(domain)
        return UnknownTypes.ALLOWED if own is None else own.unknown

    def schema_bytes(self, domain: DomainId) -> int:
        """Return how many bytes of schemas a domain keeps."""
        own = self._own.get(domain)
        return 0 if own is None else own.schema_bytes

    def purged(self, domain: DomainId) -> int:
        """Return the position up to which a domain's events are told to nobody any more, 0 for none."""
        own = self._own.get(domain)
        return 0 if own is None else own.purged

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        match applied.fact:
            case EventTypeRegistered() as fact:
                made = TypeVersion(
                    version=fact.version, schema=fact.schema, compatibility=fact.compatibility,
                    description=fact.description, registered_at_ms=applied.time_ms,
                    registered_by=applied.actor.principal,
                )  # fmt: skip
                own = self._own.setdefault(applied.domain, _Own())
                self._keep(own, fact.type, (*own.types.get(fact.type, ()), made)[-VERSIONS_MAX:])
            case EventTypeRetired(type=name):
                self._keep(self._own[applied.domain], name, ())
            case EventTypesPolicySet(unknown=unknown):
                self._own.setdefault(applied.domain, _Own()).unknown = unknown
            case EventsPurged(upto_seq=upto):
                own = self._own.setdefault(applied.domain, _Own())
                own.purged = max(own.purged, upto)
            case TenantShredded(tenant_id=tenant_id):
                self._own.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` types."""
        own = self._own.get(domain)
        if own is None:
            return
        kept = list(own.types.items())
        yield _Dump(purged=own.purged, unknown=own.unknown, types=kept[:CHUNK])
        for start in range(CHUNK, len(kept), CHUNK):
            yield _Dump(unknown=own.unknown, types=kept[start : start + CHUNK])

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            own = self._own.setdefault(domain, _Own())
            own.unknown = dumped.unknown
            own.purged = max(own.purged, dumped.purged)
            for name, versions in dumped.types:
                self._keep(own, name, versions)

    def _keep(self, own: _Own, name: str, versions: Versions) -> None:
        own.schema_bytes -= sum(len(one.schema) for one in own.types.get(name, ()))
        own.schema_bytes += sum(len(one.schema) for one in versions)
        if versions:
            own.types[name] = versions
        else:
            own.types.pop(name, None)
