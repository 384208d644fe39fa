"""Commands about quota leases: allocate, renew, release. One step decides, or nothing is held."""

from __future__ import annotations

import msgspec

from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.quotas.ending import free
from central_hub.quotas.keeper import LeaseKeeper
from central_hub.quotas.model import (
    COUNT_LEASES,
    SCOPE_ADMIN,
    Ending,
    Lease,
    TenantResourcesAllocated,
    held_count,
    lease_stream,
)
from central_hub.quotas.ports import Access, Limits
from central_hub.quotas.rules import (
    capacity_of,
    check_holder,
    check_lease_count,
    check_room,
    key_reused,
    lease_ended,
    lease_missing,
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
            allowance = capacity_of(self._limits, domain, self._access.current(ctx).tier, resource)
            check_room(
                allowance,
                resource=resource,
                amount=amount,
                used=self._view.used(domain, resource) + tx.pending(domain, counting),
                soonest_ms=self._keeper.soonest_ms(domain, resource),
                now_ms=tx.now_ms,
            )
            check_lease_count(self._view.count_leases(domain) + tx.pending(domain, COUNT_LEASES))
            lease_id = tx.new_id()
            fact = TenantResourcesAllocated(
                lease_id=lease_id,
                resource=resource,
                amount=amount,
                ttl_ms=int(ttl_s * 1_000),
                holder=ctx.principal.id,
            )
            tx.append(domain, fact, streams=(lease_stream(lease_id),), counts={counting: amount, COUNT_LEASES: 1})
            return _Granted(lease_id=lease_id, resource=resource, amount=amount)

        idempotency = None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"allocate/{key}")
        try:
            committed = await self._sequencer.submit(ctx.actor, (domain,), decide, idempotency=idempotency)
        except HubError as error:
            self.refused += error.code == "quota_exceeded"
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
        return self._held(ctx, lease)

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

        return self._held(ctx, (await self._sequencer.submit(ctx.actor, (domain,), decide)).answer)

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
        return self._held(ctx, lease)

    def list(self, ctx: TenantContext, *, after: int, limit: int, resource: str | None) -> list[Held]:
        """Return up to `limit` leases with a fencing token above `after`, oldest first."""
        return [self._held(ctx, lease) for lease in self._view.leases_after(ctx.domain, after, limit, resource)]

    def _own(self, ctx: TenantContext, lease_id: str) -> Lease | None:
        lease = self._view.lease(ctx.domain, lease_id)
        if lease is not None:
            check_holder(lease, ctx.principal.id, may_manage=ctx.principal.holds(SCOPE_ADMIN))
        return lease

    def _held(self, ctx: TenantContext, lease: Lease) -> Held:
        return Held(
            lease=lease,
            expires_at=self._expires_at(ctx.domain, lease),
            used=self._view.used(ctx.domain, lease.resource),
            limit=self._limit_now(ctx, lease.resource),
        )

    def _expires_at(self, domain: DomainId, lease: Lease) -> str:
        return rfc3339(self._clock.now_ms() + int(self._keeper.left_ms(domain, lease.resource, lease.id)))

    def _limit_now(self, ctx: TenantContext, resource: str) -> int | None:
        """Return the limit as it is now; 0 where the plan no longer grants the resource."""
        try:
            return capacity_of(self._limits, ctx.domain, ctx.tier, resource).limit
        except HubError:
            return 0
