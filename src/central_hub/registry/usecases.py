"""The registry's commands: register one or many, drain, undrain, deregister.

Each loads what it needs from the view inside a decision, lets `rules` decide, appends facts and
answers once they are durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Committed, Sequencer, Tx
from central_hub.registry.model import (
    COUNT_INSTANCES,
    COUNT_SERVICES,
    INSTANCES_PER_DOMAIN_MAX,
    INSTANCES_PER_RECORD_MAX,
    REGISTER_BATCH_MAX,
    RESOURCE_LIMITS,
    SCOPE_SHARED,
    SERVICES_PER_DOMAIN_MAX,
    TENANT_STREAM,
    Instance,
    RemovalReason,
    ServiceDrainChanged,
    ServiceRegistered,
    ServicesRegistered,
    ServiceUnregistered,
    instance_stream,
    service_stream,
)
from central_hub.registry.ports import Access, LeaseAdvice, Tiers
from central_hub.registry.rules import (
    Registration,
    check_registration,
    check_resource_limits,
    check_service_size,
    instance_of,
    limit_reached,
    may_change,
    not_owner,
    succeed,
)
from central_hub.registry.schemas import BatchItem, BatchRegistered, Registered
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import viewer_of, visible

STATUS_CREATED: Final = 201
RANKED_ABOVE: Final = "resource_tier '{0}' is kept and shown; the tier '{1}' does not grant it and nothing enforces it."
TIER_OF_RESOURCE: Final = {"premium": "pro", "enterprise": "enterprise"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one domain may hold."""

    instances: int = INSTANCES_PER_DOMAIN_MAX
    services: int = SERVICES_PER_DOMAIN_MAX


T = TypeVar("T")


class _Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What a registration came to: its instance and, when nothing had to be written, where it stands."""

    instance: Instance
    seq: int = 0


@dataclass(slots=True)
class _Held:
    """What earlier items of the same batch already take."""

    accepted: dict[str, Instance] = field(default_factory=dict[str, Instance])
    streams: list[str] = field(default_factory=list[str])
    instances: int = 0
    used: int = -1
    services: set[str] = field(default_factory=set[str])


class Registry:
    """Registers, drains and removes instances.

    Args:
        view: what is registered.
        sequencer: makes facts durable.
        leases: which lease an instance gets.
        tiers: what tiers there are.
        access: whether the caller still may, at the moment of the decision.
        reserved: words that cannot name a service.
        limits: per domain.
    """

    def __init__(
        self,
        view: RegistryView,
        sequencer: Sequencer,
        leases: LeaseAdvice,
        tiers: Tiers,
        access: Access,
        *,
        reserved: Set[str],
        limits: Limits | None = None,
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._leases = leases
        self._tiers = tiers
        self._access = access
        self._reserved = reserved
        self._limits = limits or Limits()

    async def register(self, ctx: TenantContext, wanted: Registration, *, key: str | None = None) -> Registered:
        """Register an instance, or renew what is registered; an identical registration writes nothing.

        Args:
            ctx: the caller; a tenant's instance is private unless `wanted.shared`.
            wanted: what was sent.
            key: idempotency key.

        Raises:
            HubError: a field's refusal (422), `scope_missing` or `not_owner` or
                `resource_limits_above_tier` (403), `instance_limit`, `service_limit` (429).
        """
        self._check(ctx, wanted)
        domain = self._target(ctx, wanted)

        def decide(tx: Tx) -> _Decided:
            return self._decide_one(tx, ctx, domain, wanted)

        committed = await self._sequencer.submit(
            ctx.actor, (domain,), decide, idempotency=_idempotency(ctx, domain, "register", key)
        )
        decided = _first_answer(committed, _Decided)
        seq = decided.seq or self._seq_of(committed, domain, decided.instance)
        return self._registered(ctx, domain, decided.instance, seq)

    async def register_batch(
        self, ctxs: Sequence[TenantContext | HubError], batch: Sequence[Registration], *, key: str | None = None
    ) -> BatchRegistered:
        """Register many instances; each is accepted or refused on its own.

        Args:
            ctxs: for each item the context it is registered under, or why there is none.
            batch: at most `REGISTER_BATCH_MAX` registrations.
            key: idempotency key of the whole batch.

        Raises:
            HubError: `batch_too_large` (413), or what made storing impossible.
        """
        if len(batch) > REGISTER_BATCH_MAX:
            raise HubError(
                "batch_too_large",
                Kind.TOO_LARGE,
                f"A batch has at most {REGISTER_BATCH_MAX} registrations.",
                next_step="Split it.",
            )
        results: list[BatchItem] = []
        # One record after another: the event loop, and other callers' writes, get their turn in between.
        await asyncio.sleep(0)
        for start in range(0, len(batch), INSTANCES_PER_RECORD_MAX):
            stop = start + INSTANCES_PER_RECORD_MAX
            part_key = None if key is None else f"{key}/{start}"
            results.extend(await self._register_part(ctxs[start:stop], batch[start:stop], part_key))
        refused = sum(1 for item in results if item.code)
        return BatchRegistered(registered=len(results) - refused, refused=refused, results=tuple(results))

    async def drain(
        self, ctx: TenantContext, name: str, instance_id: str, *, draining: bool
    ) -> tuple[DomainId, Instance]:
        """Take an instance out of recommendations, or back in; doing it again changes nothing.

        Returns:
            The domain it lives in and the instance as it is now.

        Raises:
            HubError: `service_not_found`, `instance_not_found` (404), `not_owner` (403).
        """

        def decide(tx: Tx) -> None:
            domain = self._domain_of(ctx, name, instance_id)
            tx.touch(domain, instance_stream(name, instance_id))
            found = self._view.instance(domain, name, instance_id)
            if found is None:
                raise instance_not_found(name, instance_id)
            self._may_change(ctx, domain, found)
            if found.draining != draining:
                tx.append(
                    domain,
                    ServiceDrainChanged(service=name, instance_id=instance_id, draining=draining, by=ctx.principal.id),
                    streams=(instance_stream(name, instance_id),),
                )

        await self._sequencer.submit(ctx.actor, (ctx.domain, SHARED), decide)
        domain = self._domain_of(ctx, name, instance_id)
        found = self._view.instance(domain, name, instance_id)
        if found is None:
            raise instance_not_found(name, instance_id)
        return domain, found

    async def deregister(self, ctx: TenantContext, name: str, instance_id: str) -> None:
        """Remove an instance; one that is not there is already removed.

        Raises:
            HubError: `not_owner` (403).
        """

        def decide(tx: Tx) -> None:
            domain = self._domain_of(ctx, name, instance_id)
            tx.touch(domain, instance_stream(name, instance_id))
            found = self._view.instance(domain, name, instance_id)
            if found is None:
                return
            self._may_change(ctx, domain, found)
            service = self._view.service(domain, name)
            counts = {COUNT_INSTANCES: -1}
            streams = (instance_stream(name, instance_id),)
            if service is not None and len(service.instances) == 1:
                counts[COUNT_SERVICES] = -1
            tx.append(
                domain,
                ServiceUnregistered(service=name, instance_id=instance_id, reason=RemovalReason.DEREGISTERED),
                streams=streams,
                counts=counts,
            )

        await self._sequencer.submit(ctx.actor, (ctx.domain, SHARED), decide)

    def _check(self, ctx: TenantContext, wanted: Registration) -> None:
        check_registration(wanted, rank_of=self._tiers.rank_of, reserved=self._reserved)
        # Few instances ask for resources, and what a plan grants is worked out for each that does.
        if RESOURCE_LIMITS in wanted.metadata and not self._is_shared(ctx, wanted):
            check_resource_limits(wanted.metadata, self._tiers.limits_of(ctx.domain, ctx.tier), ctx.tier)

    def _is_shared(self, ctx: TenantContext, wanted: Registration) -> bool:
        return wanted.shared or ctx.tenant_id is None

    def _target(self, ctx: TenantContext, wanted: Registration) -> DomainId:
        if not self._is_shared(ctx, wanted):
            return ctx.domain
        ctx.require(SCOPE_SHARED)
        if wanted.tenant_id is not None:
            raise HubError(
                "invalid_field",
                Kind.MALFORMED,
                "A shared service belongs to no tenant.",
                next_step="Send either 'tenant_id' or 'shared'.",
                fields={"field": "shared"},
            )
        return SHARED

    def _decide_one(self, tx: Tx, ctx: TenantContext, domain: DomainId, wanted: Registration) -> _Decided:
        self._hold_access(tx, ctx, domain)
        before, candidate = self._candidate(tx, ctx, domain, wanted)
        if candidate is None:
            assert before is not None
            return _Decided(instance=before, seq=before.revision)
        streams, counts = self._claims(tx, domain, candidate, is_new=before is None, held=_Held())
        tx.append(
            domain,
            ServiceRegistered(instance=candidate, replaced=before is not None),
            streams=streams,
            counts=counts,
        )
        return _Decided(instance=candidate)

    def _hold_access(self, tx: Tx, ctx: TenantContext, domain: DomainId) -> None:
        tx.touch(domain, TENANT_STREAM)
        self._access.current(ctx)

    def _candidate(
        self, tx: Tx, ctx: TenantContext, domain: DomainId, wanted: Registration
    ) -> tuple[Instance | None, Instance | None]:
        """Return what is registered now and what replaces it; None for nothing new."""
        instance_id = wanted.instance_id or tx.new_id()
        tx.touch(domain, instance_stream(wanted.name, instance_id))
        tenant_id = None if domain == SHARED else str(domain)
        candidate = instance_of(
            wanted, instance_id=instance_id, tenant_id=tenant_id, owner=ctx.principal.id, now_ms=tx.now_ms
        )
        before = self._view.instance(domain, wanted.name, instance_id)
        if before is None:
            return None, candidate
        self._may_change(ctx, domain, before)
        return before, succeed(before, candidate)

    def _claims(
        self, tx: Tx, domain: DomainId, candidate: Instance, *, is_new: bool, held: _Held
    ) -> tuple[tuple[str, ...], dict[str, int]]:
        """Return the streams a registration writes and the counts it moves, within the domain's limits."""
        streams = (instance_stream(candidate.service_name, candidate.instance_id),)
        if not is_new:
            return streams, {}
        if held.used < 0:
            # Nothing else is decided while this is, so what others hold is looked up once.
            held.used = self._view.count_instances(domain) + tx.pending(domain, COUNT_INSTANCES)
        used = held.used + held.instances
        if used >= self._limits.instances:
            raise limit_reached("instance", used, self._limits.instances)
        service = self._view.service(domain, candidate.service_name)
        if service is not None:
            check_service_size(candidate.service_name, len(service.instances))
            return streams, {COUNT_INSTANCES: 1}
        if candidate.service_name in held.services:
            return streams, {COUNT_INSTANCES: 1}
        # The first instance of a service also creates the service: whoever comes second waits until
        # that is durable, and then finds it there.
        tx.touch(domain, service_stream(candidate.service_name))
        services = self._view.count_services(domain) + tx.pending(domain, COUNT_SERVICES) + len(held.services)
        if services >= self._limits.services:
            raise limit_reached("service", services, self._limits.services)
        return (*streams, service_stream(candidate.service_name)), {COUNT_INSTANCES: 1, COUNT_SERVICES: 1}

    async def _register_part(
        self, ctxs: Sequence[TenantContext | HubError], batch: Sequence[Registration], key: str | None
    ) -> list[BatchItem]:
        """Register up to one record's worth; items of one domain share a record."""
        results: list[BatchItem | None] = [None] * len(batch)
        by_domain: dict[tuple[DomainId, str], tuple[TenantContext, list[int]]] = {}
        for index, (ctx, wanted) in enumerate(zip(ctxs, batch, strict=True)):
            try:
                if isinstance(ctx, HubError):
                    raise ctx
                self._check(ctx, wanted)
                target = (self._target(ctx, wanted), ctx.principal.id)
                by_domain.setdefault(target, (ctx, []))[1].append(index)
            except HubError as error:
                results[index] = _refused(wanted, error)
        for (domain, _), (ctx, indices) in by_domain.items():
            chosen = [batch[index] for index in indices]
            items = await self._register_together(ctx, domain, chosen, key)
            for index, item in zip(indices, items, strict=True):
                results[index] = item
        return [item for item in results if item is not None]

    async def _register_together(
        self, ctx: TenantContext, domain: DomainId, batch: Sequence[Registration], key: str | None
    ) -> list[BatchItem]:
        def decide(tx: Tx) -> list[BatchItem]:
            self._hold_access(tx, ctx, domain)
            return self._decide_many(tx, ctx, domain, batch)

        committed = await self._sequencer.submit(
            ctx.actor, (domain,), decide, idempotency=_idempotency(ctx, domain, "register_batch", key)
        )
        seq = committed.seq.get(domain, 0)
        items = _first_answer(committed, list[BatchItem])
        for item in items:
            # Registering what is registered already is a heartbeat.
            known = self._view.instance(domain, item.service_name, item.instance_id or "") if item.seq else None
            if known is not None:
                self._leases.advise(domain, known)
        return [item if item.code or item.seq else msgspec.structs.replace(item, seq=seq) for item in items]

    def _decide_many(
        self, tx: Tx, ctx: TenantContext, domain: DomainId, batch: Sequence[Registration]
    ) -> list[BatchItem]:
        items: list[BatchItem] = []
        held = _Held()
        for wanted in batch:
            try:
                items.append(self._decide_item(tx, ctx, domain, wanted, held))
            except HubError as error:
                items.append(_refused(wanted, error))
        if held.accepted:
            fact = ServicesRegistered(instances=tuple(held.accepted.values()))
            counts = {COUNT_INSTANCES: held.instances, COUNT_SERVICES: len(held.services)}
            moved = {stream: change for stream, change in counts.items() if change}
            tx.append(domain, fact, streams=tuple(held.streams), counts=moved)
        return items

    def _decide_item(
        self, tx: Tx, ctx: TenantContext, domain: DomainId, wanted: Registration, held: _Held
    ) -> BatchItem:
        before, candidate = self._candidate(tx, ctx, domain, wanted)
        if candidate is None:
            assert before is not None
            return BatchItem(
                service_name=wanted.name, status=STATUS_CREATED, instance_id=before.instance_id, seq=before.revision
            )
        stream = instance_stream(wanted.name, candidate.instance_id)
        if stream in held.accepted:
            raise HubError(
                "duplicate_in_batch",
                Kind.CONFLICT,
                f"The batch registers instance '{candidate.instance_id}' of '{wanted.name}' twice.",
                next_step="Send each instance once.",
            )
        streams, counts = self._claims(tx, domain, candidate, is_new=before is None, held=held)
        held.accepted[stream] = candidate
        held.streams.extend(streams)
        held.instances += counts.get(COUNT_INSTANCES, 0)
        if COUNT_SERVICES in counts:
            held.services.add(wanted.name)
        return BatchItem(service_name=wanted.name, status=STATUS_CREATED, instance_id=candidate.instance_id)

    def _registered(self, ctx: TenantContext, domain: DomainId, instance: Instance, seq: int) -> Registered:
        advice = self._leases.advise(domain, instance)
        asked = self._tiers.rank_of(TIER_OF_RESOURCE.get(instance.resource_tier, ""))
        warnings = advice.warnings
        if domain != SHARED and asked is not None and asked > ctx.rank:
            warnings += (RANKED_ABOVE.format(instance.resource_tier, ctx.tier),)
        return Registered(
            service_name=instance.service_name,
            instance_id=instance.instance_id,
            tenant_id=instance.tenant_id,
            tenant_namespace=instance.tenant_namespace,
            lease=advice.lease,
            seq=seq,
            warnings=warnings,
        )

    def _seq_of(self, committed: Committed[Any], domain: DomainId, instance: Instance) -> int:
        """Return where a registration stands; a replayed one is looked up, as its first answer could not know."""
        if committed.replayed:
            found = self._view.instance(domain, instance.service_name, instance.instance_id)
            if found is not None:
                return found.revision
        return committed.seq.get(domain, 0)

    def _domain_of(self, ctx: TenantContext, name: str, instance_id: str) -> DomainId:
        """Return the domain an instance of a path lives in for this caller: its own before the shared one."""
        if self._view.instance(ctx.domain, name, instance_id) is not None:
            return ctx.domain
        found = visible(self._view, viewer_of(ctx), name)
        return ctx.domain if found is None else found[0]

    def _may_change(self, ctx: TenantContext, domain: DomainId, instance: Instance) -> None:
        if not may_change(ctx, domain, instance):
            raise not_owner(instance.service_name, instance.instance_id)


def instance_not_found(name: str, instance_id: str) -> HubError:
    """Return the refusal for an instance that does not exist for this caller."""
    return HubError(
        "instance_not_found",
        Kind.NOT_FOUND,
        f"There is no instance '{instance_id}' of a service '{name}'.",
        next_step="Register it (again), or list the service's instances.",
    )


def _refused(wanted: Registration, error: HubError) -> BatchItem:
    return BatchItem(
        service_name=wanted.name,
        instance_id=wanted.instance_id,
        status=_STATUS_OF.get(error.kind, 422),
        code=error.code,
        detail=error.message,
    )


_STATUS_OF: Final = {Kind.MALFORMED: 422, Kind.DENIED: 403, Kind.LIMIT: 429, Kind.CONFLICT: 409}


def _idempotency(ctx: TenantContext, domain: DomainId, operation: str, key: str | None) -> Idempotency | None:
    return None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"{operation}/{key}")


def _first_answer(committed: Committed[T], kind: type[T]) -> T:
    """Return the answer as its type; one that is replayed comes back from the store as plain data."""
    return msgspec.convert(committed.answer, kind) if committed.replayed else committed.answer
