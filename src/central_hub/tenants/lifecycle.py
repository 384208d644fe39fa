"""Commands about the life of a tenant after its creation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.tenants.model import (
    SHREDDED_STREAM,
    TENANT_STREAM,
    State,
    Tenant,
    TenantResumed,
    TenantShredded,
    TenantStateChanged,
    TenantSuspended,
)
from central_hub.tenants.states import Move, moved
from central_hub.tenants.usecases import tenant_missing
from central_hub.tenants.view import TenantsView


class Shredder(Protocol):
    """Destroys what a domain's records are sealed under."""

    async def shred(self, domain: DomainId) -> None:
        """Destroy a domain's data keys; doing it again does nothing."""
        ...


class Leaves(Protocol):
    """What lives in a tenant's domain and ends with the tenant; doing it again does nothing."""

    async def leave(self, domain: DomainId) -> None:
        """Record the end of everything of its kind in a domain."""
        ...


class LifeCycle:
    """Moves tenants from state to state; each move holds before it returns.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        shredder: destroys data keys.
        leaving: what ends with a tenant.
    """

    def __init__(
        self, view: TenantsView, sequencer: Sequencer, shredder: Shredder, leaving: Sequence[Leaves] = ()
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._shredder = shredder
        self._leaving = leaving

    async def move(self, ctx: TenantContext, tenant_id: str, move: Move, *, reason: str = "") -> Tenant:
        """Move a tenant to another state; one that is there already writes nothing.

        Raises:
            HubError: `tenant_not_found` (404), `wrong_state` (409).
        """
        domain = DomainId(tenant_id)

        def decide(tx: Tx) -> None:
            tx.touch(domain, TENANT_STREAM)
            before = self._get(domain).state
            after = moved(before, move)
            if after is None or after is before:
                return
            fact = TenantStateChanged(state=after, previous_state=before, reason=reason)
            if move is Move.SUSPEND:
                fact = TenantSuspended(reason=reason)
            elif move is Move.RESUME:
                fact = TenantResumed()
            tx.append(domain, fact, streams=(TENANT_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        found = self._get(domain)
        if found.state is State.DELETED:
            await self._leave(domain)
        return found

    async def shred(self, ctx: TenantContext, tenant_id: str, *, confirm: str) -> None:
        """End a deleted tenant for good: its data key is destroyed, and its id is never given again.

        Raises:
            HubError: `tenant_not_found` (404), `not_confirmed` (422), `wrong_state` (409).
        """
        domain = DomainId(tenant_id)
        if confirm != tenant_id:
            raise HubError(
                "not_confirmed",
                Kind.MALFORMED,
                "What is shredded does not come back, and this is not confirmed.",
                next_step="Send the tenant's id as confirm.",
            )

        if self._get(domain).state is State.DELETED:
            await self._leave(domain)

        def decide(tx: Tx) -> None:
            tx.touch(domain, TENANT_STREAM)
            moved(self._get(domain).state, Move.SHRED)
            tx.append(PLATFORM, TenantShredded(tenant_id=tenant_id), streams=(SHREDDED_STREAM,))

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)
        await self._shredder.shred(domain)

    async def finish(self) -> None:
        """Destroy the keys of tenants that were shredded just before the hub ended (at a start)."""
        for tenant_id in self._view.shredded:
            await self._shredder.shred(DomainId(tenant_id))

    async def _leave(self, domain: DomainId) -> None:
        for each in self._leaving:
            await each.leave(domain)

    def _get(self, domain: DomainId) -> Tenant:
        found = self._view.tenant(domain)
        if found is None:
            raise tenant_missing()
        return found
