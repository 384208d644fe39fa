"""Commands about offerings: what an instance offers, declared and withdrawn by whoever may change the instance."""

from __future__ import annotations

from collections.abc import Sequence

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.registry.model import Instance, instance_stream
from central_hub.registry.rules import may_change, not_owner
from central_hub.registry.usecases import instance_not_found
from central_hub.routing.model import (
    COUNT_OFFERINGS,
    Offering,
    OfferingsDeclared,
    OfferingsWithdrawn,
    offerings_stream,
)
from central_hub.routing.ports import Plans, Services
from central_hub.routing.rules import check_offerings, room_for
from central_hub.routing.view import Declared, RoutingView


class Offerings:
    """Declares and withdraws what instances offer.

    Args:
        view: what is offered.
        sequencer: makes facts durable.
        services: finds instances.
        plans: which tiers and features there are.
    """

    def __init__(self, view: RoutingView, sequencer: Sequencer, services: Services, plans: Plans) -> None:
        self._view = view
        self._sequencer = sequencer
        self._services = services
        self._plans = plans

    async def declare(
        self, ctx: TenantContext, service: str, instance_id: str, offerings: Sequence[Offering], *, key: str | None
    ) -> Declared:
        """Declare all that an instance offers, in place of what it offered; the same again changes nothing.

        Raises:
            HubError: `service_not_found`, `instance_not_found` (404), `not_owner`, `tier_too_low` (403),
                `invalid_offering`, `unknown_tier`, `unknown_feature` (422), `limit_reached` (429).
        """
        wanted = tuple(offerings)

        def decide(tx: Tx) -> None:
            domain, _ = self._changing(tx, ctx, service, instance_id)
            check_offerings(
                wanted, shared=domain == SHARED, rank_of=self._plans.rank_of, features=self._plans.features()
            )
            before = self._view.declared(domain, service, instance_id)
            if before is not None and before.offerings == wanted:
                return
            added = len(wanted) - (0 if before is None else len(before.offerings))
            if added > 0:
                room_for(self._view.count_offerings(domain) + tx.pending(domain, COUNT_OFFERINGS), added)
            fact = OfferingsDeclared(service=service, instance_id=instance_id, offerings=wanted)
            counts = {COUNT_OFFERINGS: added} if added > 0 else None
            tx.append(domain, fact, streams=(offerings_stream(service, instance_id),), counts=counts)

        idempotency = None
        if key is not None:
            idempotency = Idempotency(
                domain=ctx.domain, source=ctx.principal.id, id=f"declare_offerings/{service}/{instance_id}/{key}"
            )
        await self._sequencer.submit(ctx.actor, (ctx.domain, SHARED), decide, idempotency=idempotency)
        found = self._view.declared(self._domain(ctx, service), service, instance_id)
        if found is None:
            raise instance_not_found(service, instance_id)
        return found

    async def withdraw(self, ctx: TenantContext, service: str, instance_id: str) -> None:
        """Withdraw all that an instance offers; nothing is withdrawn twice.

        Raises:
            HubError: `service_not_found`, `instance_not_found` (404), `not_owner`, `tier_too_low` (403).
        """

        def decide(tx: Tx) -> None:
            domain, _ = self._changing(tx, ctx, service, instance_id)
            if self._view.declared(domain, service, instance_id) is not None:
                fact = OfferingsWithdrawn(service=service, instance_id=instance_id)
                tx.append(domain, fact, streams=(offerings_stream(service, instance_id),))

        await self._sequencer.submit(ctx.actor, (ctx.domain, SHARED), decide)

    def declared(self, ctx: TenantContext, service: str, instance_id: str) -> tuple[DomainId, Declared | None]:
        """Return the domain of an instance, and what it offers.

        Raises:
            HubError: `service_not_found`, `instance_not_found` (404), `tier_too_low` (403).
        """
        domain = self._domain(ctx, service)
        self._instance(domain, service, instance_id)
        return domain, self._view.declared(domain, service, instance_id)

    def _changing(self, tx: Tx, ctx: TenantContext, service: str, instance_id: str) -> tuple[DomainId, Instance]:
        domain = self._domain(ctx, service)
        tx.touch(domain, instance_stream(service, instance_id))
        tx.touch(domain, offerings_stream(service, instance_id))
        instance = self._instance(domain, service, instance_id)
        if not may_change(ctx, domain, instance):
            raise not_owner(service, instance_id)
        return domain, instance

    def _domain(self, ctx: TenantContext, service: str) -> DomainId:
        return self._services.require(ctx, service)

    def _instance(self, domain: DomainId, service: str, instance_id: str) -> Instance:
        found = self._services.instance(domain, service, instance_id)
        if found is None:
            raise instance_not_found(service, instance_id)
        return found
