"""The desk: decisions as HTTP asks for them and answers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN, TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.routing.advising import Advice
from central_hub.routing.deciding import Router
from central_hub.routing.model import SIMULATED_MAX, Offering
from central_hub.routing.offering_list import page_of
from central_hub.routing.schemas import (
    Decide,
    DecisionAnswer,
    Explanation,
    LeaseAnswer,
    LeaseRoutes,
    OfferingsAnswer,
    OfferingsPage,
    Outcome,
    OutcomesAnswer,
    Reserve,
    Simulate,
    SimulateAnswer,
    SimulatedStrategy,
)
from central_hub.routing.showing import decision_answer, explanation_of, lease_answer, simulated_answer


class RoutingDesk:
    """Implements `Desk`.

    Args:
        router: decides.
        advice: keeps decisions.
        position: where a domain's log stands.
    """

    def __init__(self, router: Router, advice: Advice, position: Callable[[DomainId], int]) -> None:
        self.router = router
        self.advice = advice
        self._position = position

    def decide(self, ctx: TenantContext, body: Decide) -> DecisionAnswer:
        """Decide."""
        answer = self.advice.decide(ctx, body.asked(), retry_of=body.retry_of or "")
        return decision_answer(answer, self._position(ctx.domain), body.limit)

    def reserve(self, ctx: TenantContext, body: Reserve, *, key: str) -> DecisionAnswer:
        """Decide, and let the chosen instance expect the request."""
        answer = self.advice.decide(
            ctx, body.asked(), reserve=True, ttl_s=body.ttl_s, retry_of=body.retry_of or "",
            key=body.idempotency_key or key,
        )  # fmt: skip
        return decision_answer(answer, self._position(ctx.domain), body.limit)

    def lease(self, ctx: TenantContext, body: LeaseRoutes) -> LeaseAnswer:
        """Return the best instances with their shares."""
        answer = self.advice.decide(ctx, body.asked(), retry_of=body.retry_of or "")
        return lease_answer(answer, self._position(ctx.domain), body.count, body.ttl_s)

    async def simulate(self, ctx: TenantContext, body: Simulate) -> SimulateAnswer:
        """Say what would become of many requests, by each strategy."""
        strategies = list(dict.fromkeys(body.strategies)) or [body.strategy]
        count = max(1, min(body.count, SIMULATED_MAX // len(strategies)))
        asked = body.asked()
        shown: list[SimulatedStrategy] = []
        candidates = 0
        for strategy in strategies:
            one = msgspec.structs.replace(asked, strategy=strategy)
            found = await self.advice.simulate(ctx, one, count, body.every_ms / 1_000)
            candidates = len(found.matched.rows)
            shown.append(simulated_answer(strategy, found, count))
        return SimulateAnswer(count=count, every_ms=body.every_ms, candidates=candidates, strategies=shown)

    def told(self, ctx: TenantContext, outcomes: Sequence[Outcome]) -> OutcomesAnswer:
        """Take in outcomes."""
        recorded, unknown = self.advice.told(ctx, [one.told() for one in outcomes])
        return OutcomesAnswer(recorded=recorded, unknown=unknown)

    def explain(self, ctx: TenantContext, decision_id: str) -> Explanation:
        """Say why a decision was as it was; the platform sees it made once more."""
        answer = self.advice.answer(ctx.domain, decision_id)
        return explanation_of(answer, platform=ctx.principal.holds(SCOPE_PLATFORM_ADMIN))

    def offerings(self, ctx: TenantContext, page: OfferingsPage) -> OfferingsAnswer:
        """Return a page of what the caller may be routed to."""
        return page_of(self.router, ctx, page)

    def seen(self, ctx: TenantContext, service: str, instance_id: str) -> list[Offering]:
        """Return what an instance offers a caller."""
        return self.router.seen(ctx, service, instance_id)
