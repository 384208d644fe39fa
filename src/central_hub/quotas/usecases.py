"""Commands about quota leases: allocate, renew, release. One step decides, or nothing is held."""

from __future__ import annotations

import msgspec

from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.records import Category
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.quotas.ending import free
from central_hub.quotas.keeper import LeaseKeeper
from central_hub.quotas.model import (
    COUNT_LEASES,
    LEVEL_SLACK,
    SCOPE_ADMIN,
    Ending,
    Lease,
    TenantQuotaLevelReached,
    TenantResourcesAllocated,
    budget_stream,
    held_count,
    lease_stream,
)
from central_hub.quotas.ports import Access, Allowance, Limits
from central_hub.quotas.rules import (
    capacity_of,
    check_holder,
    check_lease_count,
    check_room,
    key_reused,
    lease_ended,
    lease_missing,
    level_of,
)
from central_hub.quotas.view import QuotasView
from central_hub.tenants.model import TENANT_STREAM


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A lease as its holder sees it, with where the resource stands. `limit` is None for no limit."""

    lease: Lease
    expires_at: str
    used: int
    limit: int | None


class _Granted(msgspec.Struct, frozen=True, kw_only=True):
    lease_id: str
    resource: str
    amount: int


class Allocations:
    """Holds capacity for tenants, and never more of it than their limit.

    Args:
        view: what is held.
        keeper: when it ends.
        sequencer: makes facts durable.
        limits: what applies to whom.
        access: whether a caller still is who it was.
        clock: wall time for answers.
    """

    def __init__(
        self, view: QuotasView, keeper: LeaseKeeper, sequencer: Sequencer, limits: Limits, access: Access, clock: Clock
    ) -> None:
        self._view = view
        self._keeper = keeper
        self._sequencer = sequencer
        self._limits = limits
        self._access = access
        self._clock = clock
        self._told: dict[tuple[DomainId, str], int] = {}
        self.allocated = 0
        self.refused = 0

    async def allocate(
        self, ctx: TenantContext, *, resource: str, amount: int, ttl_s: float, key: str | None = None
    ) -> Held:
        """Hold an amount of a resource.

        Raises:
            HubError: `quota_exceeded`, `limit_reached` (429), `unknown_resource` (422), and for a repeated key
                `lease_ended`, `idempotency_key_reused` (409).
        """
        domain = ctx.domain
        counting = held_count(resource)

        def decide(tx: Tx) -> _Granted:
            tx.touch(domain, TENANT_STREAM)
            tier = self._access.current(ctx).tier
            allowance = capacity_of(self._limits, domain, tier, resource)
            used = self._view.used(domain, resource) + tx.pending(domain, counting)
            check_room(
                allowance,
                resource=resource,
                amount=amount,
                used=used,
                soonest_ms=self._keeper.soonest_ms(domain, resource),
                now_ms=tx.now_ms,
            )
            leases = self._view.count_leases(domain) + tx.pending(domain, COUNT_LEASES)
            check_lease_count(leases, self._limits.leases_max(domain, tier))
            lease_id = tx.new_id()
            fact = TenantResourcesAllocated(
                lease_id=lease_id,
                resource=resource,
                amount=amount,
                ttl_ms=int(ttl_s * 1_000),
                holder=ctx.principal.id,
            )
            tx.append(domain, fact, streams=(lease_stream(lease_id),), counts={counting: amount, COUNT_LEASES: 1})
            self._warn(tx, domain, resource, allowance, used + amount)
            return _Granted(lease_id=lease_id, resource=resource, amount=amount)

        idempotency = None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"allocate/{key}")
        try:
            committed = await self._sequencer.submit(ctx.actor, (domain,), decide, idempotency=idempotency)
        except HubError as error:
            self.refused += error.code == "quota_exceeded"
            if error.kind in (Kind.UNAVAILABLE, Kind.STORAGE_FULL):
                self._told.pop((domain, resource), None)  # what was not written is said again
            raise
        granted = committed.answer
        if committed.replayed:
            granted = msgspec.convert(granted, _Granted)
            if (granted.resource, granted.amount) != (resource, amount):
                raise key_reused()
        else:
            self.allocated += 1
        lease = self._view.lease(domain, granted.lease_id)
        if lease is None:
            raise lease_ended()
        return self._held_now(ctx, lease)

    async def renew(self, ctx: TenantContext, lease_id: str) -> Held:
        """Give a lease its whole time again; a signal, not a fact.

        Raises:
            HubError: `lease_not_found` (404), `not_lease_holder` (403).
        """
        domain = ctx.domain

        def decide(tx: Tx) -> Lease:
            # An ending that is on its way to the disk comes first: what it frees must not live on.
            tx.touch(domain, lease_stream(lease_id))
            lease = self._own(ctx, lease_id)
            if lease is None:
                raise lease_missing()
            self._keeper.renew(domain, lease.resource, lease_id)
            return lease

        return self._held_now(ctx, (await self._sequencer.submit(ctx.actor, (domain,), decide)).answer)

    async def release(self, ctx: TenantContext, lease_id: str) -> None:
        """End a lease; one that is not there has ended already.

        Raises:
            HubError: `not_lease_holder` (403).
        """
        domain = ctx.domain

        def decide(tx: Tx) -> None:
            tx.touch(domain, lease_stream(lease_id))
            lease = self._own(ctx, lease_id)
            free(tx, domain, () if lease is None else (lease,), Ending.RELEASED)

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    def get(self, ctx: TenantContext, lease_id: str) -> Held:
        """Return a lease.

        Raises:
            HubError: `lease_not_found` (404).
        """
        lease = self._view.lease(ctx.domain, lease_id)
        if lease is None:
            raise lease_missing()
        return self._held_now(ctx, lease)

    def list(self, ctx: TenantContext, *, after: int, limit: int, resource: str | None) -> list[Held]:
        """Return up to `limit` leases with a fencing token above `after`, oldest first."""
        found = self._view.leases_after(ctx.domain, after, limit, resource)
        limits = {name: self._limit_now(ctx, name) for name in {lease.resource for lease in found}}
        return [self._held(ctx, lease, limits[lease.resource]) for lease in found]

    def _warn(self, tx: Tx, domain: DomainId, resource: str, allowance: Allowance, held: int) -> None:
        """Propose an event when a level is reached; it is said again once what is held fell well below it."""
        limit, told = allowance.limit, self._told.get((domain, resource), 0)
        level = level_of(held, limit)
        if limit is None or level == told:
            return
        if level > told:
            reached = TenantQuotaLevelReached(
                name=allowance.name, period_start_ms=0, level=level, reserved=held, limit=limit
            )
            tx.append(domain, reached, streams=(budget_stream(allowance.name),), category=Category.EVENT)
        elif level_of(held + limit * LEVEL_SLACK // 100, limit) >= told:
            return
        if level:
            self._told[domain, resource] = level
        else:
            self._told.pop((domain, resource), None)

    def _own(self, ctx: TenantContext, lease_id: str) -> Lease | None:
        lease = self._view.lease(ctx.domain, lease_id)
        if lease is not None:
            check_holder(lease, ctx.principal.id, may_manage=ctx.principal.holds(SCOPE_ADMIN))
        return lease

    def _held_now(self, ctx: TenantContext, lease: Lease) -> Held:
        return self._held(ctx, lease, self._limit_now(ctx, lease.resource))

    def _held(self, ctx: TenantContext, lease: Lease, limit: int | None) -> Held:
        return Held(
            lease=lease,
            expires_at=self._expires_at(ctx.domain, lease),
            used=self._view.used(ctx.domain, lease.resource),
            limit=limit,
        )

    def _expires_at(self, domain: DomainId, lease: Lease) -> str:
        return rfc3339(self._clock.now_ms() + int(self._keeper.left_ms(domain, lease.resource, lease.id)))

    def _limit_now(self, ctx: TenantContext, resource: str) -> int | None:
        """Return the limit as it is now; 0 where the plan no longer grants the resource."""
        try:
            return capacity_of(self._limits, ctx.domain, ctx.tier, resource).limit
        except HubError:
            return 0
