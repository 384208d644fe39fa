"""The registry in memory: domain, then service, then instance; and what changed since it was last asked.

Pure. Folds the registry's facts in order. A removed instance and a vanished service leave a
bounded trace, so that a watch that resumes learns of the removal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from weakref import WeakSet

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.registry.dumping import Dump, Dumped
from central_hub.registry.model import (
    RANK_NOBODY,
    RANK_PUBLIC,
    REMOVED_PER_SERVICE_MAX,
    TOMBSTONES_PER_DOMAIN_MAX,
    VIEW_FACTS,
    Instance,
    ServiceDrainChanged,
    ServiceHealthChanged,
    ServiceKey,
    ServiceRegistered,
    ServicesRegistered,
    ServiceUnregistered,
    Status,
)
from central_hub.registry.service import Service, Tombstone

RankOf = Callable[[str], int | None]

_EMPTY_MAP: Final[dict[str, Any]] = {}  # Any: JSON; shared by every instance without metadata, never written


@dataclass(slots=True)
class Change:
    """What happened to a service since changes were last taken.

    `rank_before` is the rank it asked for then, None when it did not exist.
    """

    rank_before: int | None
    instance_ids: set[str] = field(default_factory=set[str])


@dataclass(slots=True)
class _Domain:
    services: dict[str, Service] = field(default_factory=dict[str, Service])
    tombstones: dict[str, Tombstone] = field(default_factory=dict[str, Tombstone])
    horizon: int = 0
    instance_count: int = 0
    status_counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Status, 0))
    dumps: WeakSet[Dump] | None = None  # those being taken; none for nearly all tenants, nearly always


_CHUNK_DECODER: Final = msgspec.msgpack.Decoder(Dumped)
_NO_SERVICES: Final[Mapping[str, Service]] = MappingProxyType({})


class RegistryView:
    """All services of all domains.

    Args:
        rank_of: the rank of a tier by name, None for an unknown one.
    """

    def __init__(self, rank_of: RankOf) -> None:
        self._rank_of = rank_of
        self._domains: dict[DomainId, _Domain] = {}
        self._changes: dict[ServiceKey, Change] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "registry"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return VIEW_FACTS

    def service(self, domain: DomainId, name: str) -> Service | None:
        """Return a service that has at least one instance."""
        known = self._domains.get(domain)
        return None if known is None else known.services.get(name)

    def instance(self, domain: DomainId, name: str, instance_id: str) -> Instance | None:
        """Return one instance."""
        service = self.service(domain, name)
        return None if service is None else service.instances.get(instance_id)

    def services(self, domain: DomainId) -> Mapping[str, Service]:
        """Return the services of a domain by name; do not keep it across an await."""
        known = self._domains.get(domain)
        return _NO_SERVICES if known is None else known.services

    def domains(self) -> Iterator[DomainId]:
        """Iterate over the domains that have or had services."""
        return iter(tuple(self._domains))

    def count_instances(self, domain: DomainId) -> int:
        """Return how many instances a domain has."""
        known = self._domains.get(domain)
        return 0 if known is None else known.instance_count

    def count_services(self, domain: DomainId) -> int:
        """Return how many services a domain has."""
        return len(self.services(domain))

    def count_status(self, domain: DomainId) -> Mapping[str, int]:
        """Return how many instances of a domain have each journaled status."""
        known = self._domains.get(domain)
        return MappingProxyType(_Domain().status_counts if known is None else known.status_counts)

    def revision(self, domain: DomainId, name: str) -> int:
        """Return the position of a name's last change, 0 if there never was one.

        After a tombstone was dropped it is the horizon, which is not older: a revision never
        goes back.
        """
        known = self._domains.get(domain)
        if known is None:
            return 0
        service = known.services.get(name)
        if service is not None:
            return service.revision
        buried = known.tombstones.get(name)
        return known.horizon if buried is None else buried.seq

    def horizon(self, domain: DomainId) -> int:
        """Return the position before which vanished services are forgotten."""
        known = self._domains.get(domain)
        return 0 if known is None else known.horizon

    def vanished_since(self, domain: DomainId, seq: int) -> list[str]:
        """Return the names of services that vanished after `seq` and are not back."""
        known = self._domains.get(domain)
        return [] if known is None else [name for name, buried in known.tombstones.items() if buried.seq > seq]

    def rank_floor(self, domain: DomainId, name: str) -> int:
        """Return the lowest rank that a service of that name, gone or not, ever asked for."""
        known = self._domains.get(domain)
        service = None if known is None else known.services.get(name)
        if service is not None:
            return service.rank_floor
        buried = None if known is None else known.tombstones.get(name)
        return RANK_NOBODY if buried is None else buried.rank_floor

    def take_changes(self) -> dict[ServiceKey, Change]:
        """Return what changed since the last call, by (domain, service)."""
        changes, self._changes = self._changes, {}
        return changes

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        fact = applied.fact
        seq = applied.domain_seq
        domain = self._domains.setdefault(applied.domain, _Domain())
        match fact:
            case ServiceRegistered(instance=instance):
                self._put(applied.domain, domain, instance, seq)
            case ServicesRegistered(instances=instances):
                for instance in instances:
                    self._put(applied.domain, domain, instance, seq)
            case ServiceUnregistered(service=name, instance_id=instance_id):
                self._remove(applied.domain, domain, name, instance_id, seq)
            case ServiceDrainChanged(service=name, instance_id=instance_id):
                self._amend(
                    applied, domain, name, instance_id,
                    draining=fact.draining, drained_by=sys.intern(fact.by) if fact.draining else "",
                    drain_seq=seq, active_since_ms=applied.time_ms,
                )  # fmt: skip
            case ServiceHealthChanged(service=name, instance_id=instance_id):
                self._amend(
                    applied, domain, name, instance_id,
                    status=fact.status, status_reason=sys.intern(fact.reason), status_since_ms=applied.time_ms,
                )  # fmt: skip
            case _:
                pass

    def dump(self, domain: DomainId) -> Iterator[object]:
        """Return the domain's state as of now, in chunks that are made as they are taken."""
        known = self._domains.get(domain)
        if known is None:
            return iter(())
        dump = Dump(known.services, known.tombstones, known.horizon)
        known.dumps = known.dumps or WeakSet[Dump]()
        known.dumps.add(dump)
        return dump.chunks()

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        known = self._domains.setdefault(domain, _Domain())
        for chunk in chunks:
            dumped = _CHUNK_DECODER.decode(chunk)
            known.horizon = max(known.horizon, dumped.horizon)
            known.tombstones.update({sys.intern(name): buried for name, buried in dumped.tombstones.items()})
            for row in dumped.services:
                service = known.services[sys.intern(row.name)] = Service(
                    sys.intern(row.name), row.created, row.rank_floor
                )
                service.revision, service.ranked = row.revision, row.ranked
                service.removed, service.removed_horizon = row.removed or None, row.removed_horizon
            for instance in dumped.instances:
                service = known.services[instance.service_name]
                service.instances[instance.instance_id] = _compact(instance, service, instance.revision)
                known.instance_count += 1
                known.status_counts[instance.status] += 1
        for service in known.services.values():
            service.rank = self._required_rank(service)

    def ranks_changed(self) -> None:
        """Compute every service's required rank again, after the tiers themselves changed."""
        for known in self._domains.values():
            for service in known.services.values():
                service.rank = self._required_rank(service)

    def _put(self, domain_id: DomainId, domain: _Domain, instance: Instance, seq: int) -> None:
        name = instance.service_name
        service = domain.services.get(name)
        change = self._note(domain_id, domain, name, service)
        if service is None:
            buried = domain.tombstones.pop(name, None)
            floor = RANK_NOBODY if buried is None else buried.rank_floor
            service = domain.services[sys.intern(name)] = Service(sys.intern(name), seq, floor)
        before = service.instances.get(instance.instance_id)
        if before is None:
            domain.instance_count += 1
        else:
            domain.status_counts[before.status] -= 1
        domain.status_counts[instance.status] += 1
        service.instances[instance.instance_id] = _compact(instance, service, seq)
        if service.removed is not None:
            service.removed.pop(instance.instance_id, None)
        change.instance_ids.add(instance.instance_id)
        service.revision = seq
        self._rank(service, before, instance, seq)

    def _remove(self, domain_id: DomainId, domain: _Domain, name: str, instance_id: str, seq: int) -> None:
        service = domain.services.get(name)
        if service is None or instance_id not in service.instances:
            return
        self._note(domain_id, domain, name, service).instance_ids.add(instance_id)
        before = service.instances.pop(instance_id)
        domain.instance_count -= 1
        domain.status_counts[before.status] -= 1
        service.revision = seq
        if not service.instances:
            del domain.services[name]
            _bury(domain, service, seq)
            return
        _forget(service, instance_id, seq)
        self._rank(service, before, None, seq)

    def _amend(self, applied: Applied, domain: _Domain, name: str, instance_id: str, **fields: object) -> None:
        service = domain.services.get(name)
        before = None if service is None else service.instances.get(instance_id)
        if service is None or before is None:
            return
        self._note(applied.domain, domain, name, service).instance_ids.add(instance_id)
        after = msgspec.structs.replace(before, revision=applied.domain_seq, **fields)
        domain.status_counts[before.status] -= 1
        domain.status_counts[after.status] += 1
        service.instances[instance_id] = after
        service.revision = applied.domain_seq

    def _note(self, domain_id: DomainId, domain: _Domain, name: str, service: Service | None) -> Change:
        """Take note of a service that is about to change."""
        if service is not None and domain.dumps:
            for dump in domain.dumps:
                dump.keep(service)
        key = (domain_id, name)
        change = self._changes.get(key)
        if change is None:
            change = self._changes[key] = Change(None if service is None else service.rank)
        return change

    def _rank(self, service: Service, before: Instance | None, after: Instance | None, seq: int) -> None:
        asked = () if before is None else before.subscription_requirements
        asks = () if after is None else after.subscription_requirements
        if asked != asks:
            added = max(service.rank, required_rank(asks, self._rank_of))
            rank = added if before is None else self._required_rank(service)
            if rank != service.rank:
                service.rank, service.ranked = rank, seq
        service.rank_floor = min(service.rank_floor, service.rank)

    def _required_rank(self, service: Service) -> int:
        """Return the strictest of its instances: one that forgets its requirement opens nothing."""
        asked = {instance.subscription_requirements for instance in service.instances.values()}
        return max((required_rank(requirements, self._rank_of) for requirements in asked), default=RANK_PUBLIC)


def required_rank(requirements: tuple[str, ...], rank_of: RankOf) -> int:
    """Return the rank that satisfies a requirement: the lowest of the tiers it names.

    Returns:
        `RANK_PUBLIC` for no requirement; `RANK_NOBODY` when it names an unknown tier.
    """
    if not requirements:
        return RANK_PUBLIC
    lowest = RANK_NOBODY
    for tier in requirements:
        rank = rank_of(tier)
        if rank is None:
            return RANK_NOBODY
        lowest = min(lowest, rank)
    return lowest


def _bury(domain: _Domain, service: Service, seq: int) -> None:
    domain.tombstones[service.name] = Tombstone(seq, service.rank_floor)
    if len(domain.tombstones) > TOMBSTONES_PER_DOMAIN_MAX:
        # Insertion order is the order of the positions: the first is the oldest.
        oldest = next(iter(domain.tombstones))
        domain.horizon = domain.tombstones.pop(oldest).seq


def _forget(service: Service, instance_id: str, seq: int) -> None:
    if service.removed is None:
        service.removed = {}
    service.removed[instance_id] = seq
    if len(service.removed) > REMOVED_PER_SERVICE_MAX:
        oldest = next(iter(service.removed))
        service.removed_horizon = service.removed.pop(oldest)


def _compact(instance: Instance, service: Service, revision: int) -> Instance:
    """Return the instance with everything that repeats shared: strings interned, equal maps one map."""
    like = next(iter(service.instances.values()), None)
    metadata = instance.metadata or _EMPTY_MAP
    tags, depends_on, requirements = (instance.tags, instance.depends_on, instance.subscription_requirements)
    if like is not None:
        metadata = like.metadata if _same(metadata, like.metadata) else metadata
        tags = like.tags if tags == like.tags else tags
        depends_on = like.depends_on if depends_on == like.depends_on else depends_on
        requirements = (
            like.subscription_requirements if requirements == like.subscription_requirements else requirements
        )
    intern = sys.intern
    return msgspec.structs.replace(
        instance,
        service_name=service.name,
        protocol=intern(instance.protocol),
        host=intern(instance.host),
        health_endpoint=intern(instance.health_endpoint),
        metadata=metadata,
        tenant_id=None if instance.tenant_id is None else intern(instance.tenant_id),
        tenant_namespace=None if instance.tenant_namespace is None else intern(instance.tenant_namespace),
        subscription_requirements=requirements,
        resource_tier=intern(instance.resource_tier),
        version=intern(instance.version),
        zone=intern(instance.zone),
        tags=tags,
        depends_on=depends_on,
        owner=intern(instance.owner),
        status_reason=intern(instance.status_reason),
        revision=revision,
    )


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:  # Any: JSON
    # Equality alone would make {"a": 1} and {"a": true} one map.
    return one == other and repr(one) == repr(other)
