"""The rows of routing and their handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.ids import SHARED
from central_hub.registry.rules import may_change
from central_hub.routing.asking import decision_missing, no_candidate
from central_hub.routing.model import SCOPE_DECLARE, SCOPE_READ, SCOPE_WRITE
from central_hub.routing.ports import Desk, Desks, Services
from central_hub.routing.schemas import (
    OFFERINGS_BYTES_MAX,
    OUTCOMES_BYTES_MAX,
    Decide,
    DecisionAnswer,
    DeclaredAnswer,
    DeclareOfferings,
    Explanation,
    LeaseAnswer,
    LeaseRoutes,
    OfferingsAnswer,
    OfferingsPage,
    Outcomes,
    OutcomesAnswer,
    Reserve,
    Simulate,
    SimulateAnswer,
    declared_answer,
)
from central_hub.routing.usecases import Offerings

TAG: Final = "routing"
MISSING: Final = ("service_not_found", "tier_too_low")
ASKING: Final = (*MISSING, "invalid_constraint", "no_candidate")
CHANGING: Final = (*MISSING, "instance_not_found", "not_owner", "contended")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRoutes:
    """The handlers and what they hand calls to."""

    offerings: Offerings
    desks: Desks
    services: Services

    async def declare_offerings(self, call: Call) -> Reply:
        """Answer PUT …/offerings."""
        body: DeclareOfferings = call.body
        service, instance_id = call.path["service_name"], call.path["instance_id"]
        await self.desks.loaded()
        declared = await self.offerings.declare(
            call.ctx, service, instance_id, body.offerings, key=call.idempotency_key
        )
        return Reply(declared_answer(service, instance_id, declared))

    async def get_offerings(self, call: Call) -> Reply:
        """Answer GET …/offerings: for whom they are is told to whoever may change them."""
        service, instance_id = call.path["service_name"], call.path["instance_id"]
        domain, declared = self.offerings.declared(call.ctx, service, instance_id)
        instance = self.services.instance(domain, service, instance_id)
        answer = declared_answer(service, instance_id, declared)
        if domain == SHARED and (instance is None or not may_change(call.ctx, domain, instance)):
            desk = self.desks.desk
            seen = [] if desk is None else desk.seen(call.ctx, service, instance_id)
            answer = msgspec.structs.replace(answer, offerings=seen)
        return Reply(answer)

    async def withdraw_offerings(self, call: Call) -> Reply:
        """Answer DELETE …/offerings."""
        await self.offerings.withdraw(call.ctx, call.path["service_name"], call.path["instance_id"])
        return Reply()

    async def list_offerings(self, call: Call) -> Reply:
        """Answer GET /routing/offerings."""
        desk, page = self.desks.desk, call.query
        return Reply(OfferingsAnswer(offerings=[]) if desk is None else desk.offerings(call.ctx, page))

    async def decide(self, call: Call) -> Reply:
        """Answer POST /routing/decide."""
        body: Decide = call.body
        return Reply(self._desk(call, body).decide(call.ctx, body))

    async def reserve(self, call: Call) -> Reply:
        """Answer POST /routing/reserve."""
        body: Reserve = call.body
        return Reply(self._desk(call, body).reserve(call.ctx, body, key=call.idempotency_key or ""))

    async def lease(self, call: Call) -> Reply:
        """Answer POST /routing/lease."""
        body: LeaseRoutes = call.body
        return Reply(self._desk(call, body).lease(call.ctx, body))

    async def simulate(self, call: Call) -> Reply:
        """Answer POST /routing/simulate."""
        body: Simulate = call.body
        return Reply(await self._desk(call, body).simulate(call.ctx, body))

    async def report_outcomes(self, call: Call) -> Reply:
        """Answer POST /routing/outcomes."""
        body: Outcomes = call.body
        desk = self.desks.desk
        if desk is None:
            return Reply(OutcomesAnswer(recorded=0, unknown=len(body.outcomes)))
        return Reply(desk.told(call.ctx, body.outcomes))

    async def explain_route(self, call: Call) -> Reply:
        """Answer GET /routing/decisions/{routing_decision_id}."""
        if self.desks.desk is None:
            raise decision_missing()
        return Reply(self.desks.desk.explain(call.ctx, call.path["routing_decision_id"]))

    def _desk(self, call: Call, body: Decide) -> Desk:
        """Return what decides; while nothing at all is offered there is nobody to decide between."""
        if self.desks.desk is None:
            asked = body.asked()
            for service in asked.services:
                self.services.require(call.ctx, service)
            raise no_candidate((), {}, 0)
        return self.desks.desk


def operations(routes: RoutingRoutes) -> tuple[Operation, ...]:
    """Return the rows of routing."""
    return (*_offerings(routes), *_deciding(routes))


def _offerings(routes: RoutingRoutes) -> tuple[Operation, ...]:
    own = "/services/{service_name}/instances/{instance_id}/offerings"
    return (
        Operation(
            id="declare_offerings", method="PUT", path=own, handler=routes.declare_offerings, scope=SCOPE_DECLARE,
            summary="Declare which models an instance offers, in place of what it offered", tag=TAG,
            body=DeclareOfferings, body_bytes_max=OFFERINGS_BYTES_MAX, answer=DeclaredAnswer,
            problems=(*CHANGING, "invalid_offering", "unknown_tier", "unknown_feature"),
        ),
        Operation(
            id="get_offerings", method="GET", path=own, handler=routes.get_offerings, scope=SCOPE_READ,
            summary="Show which models an instance offers", tag=TAG, answer=DeclaredAnswer,
            problems=(*MISSING, "instance_not_found"),
        ),
        Operation(
            id="withdraw_offerings", method="DELETE", path=own, handler=routes.withdraw_offerings,
            scope=SCOPE_DECLARE, summary="Withdraw what an instance offers", tag=TAG, status=204, problems=CHANGING,
        ),
        Operation(
            id="list_offerings", method="GET", path="/routing/offerings", handler=routes.list_offerings,
            scope=SCOPE_READ, summary="List the models that the caller may be routed to", tag=TAG,
            query=OfferingsPage, answer=OfferingsAnswer,
        ),
    )  # fmt: skip


def _deciding(routes: RoutingRoutes) -> tuple[Operation, ...]:
    return (
        Operation(
            id="decide_route", method="POST", path="/routing/decide", handler=routes.decide, scope=SCOPE_READ,
            summary="Ask which instance would serve a request best", tag=TAG,
            description="Advice: nothing is held. A 409 carries the smallest changes of what is asked that leave "
            "a candidate.",
            body=Decide, answer=DecisionAnswer, problems=ASKING, hot=True,
        ),
        Operation(
            id="reserve_route", method="POST", path="/routing/reserve", handler=routes.reserve, scope=SCOPE_WRITE,
            summary="Decide, and let the instance be expected to serve it", tag=TAG,
            description="The same idempotency key brings the first answer back for ten minutes. The reservation "
            "ends with its outcome, with retry_of, or by itself.",
            body=Reserve, answer=DecisionAnswer, problems=ASKING, hot=True,
        ),
        Operation(
            id="lease_routes", method="POST", path="/routing/lease", handler=routes.lease, scope=SCOPE_READ,
            summary="Ask for the best instances with their shares, to choose among oneself", tag=TAG,
            description="For callers that decide more often than they want to ask, and go on when the hub is away.",
            body=LeaseRoutes, answer=LeaseAnswer, problems=ASKING, hot=True,
        ),
        Operation(
            id="simulate_routes", method="POST", path="/routing/simulate", handler=routes.simulate, scope=SCOPE_READ,
            summary="Say where many requests would go, and how long they would take, by each strategy", tag=TAG,
            description="Decided on a copy of what is foreseen now; nothing is held.",
            body=Simulate, answer=SimulateAnswer, problems=(*ASKING, "too_many_candidates"),
        ),
        Operation(
            id="report_outcomes", method="POST", path="/routing/outcomes", handler=routes.report_outcomes,
            scope=SCOPE_WRITE, summary="Say how requests went", tag=TAG,
            description="The outcome of a decision counts once. Nothing of it is durable.",
            body=Outcomes, body_bytes_max=OUTCOMES_BYTES_MAX, answer=OutcomesAnswer, status=202, hot=True,
        ),
        Operation(
            id="explain_route", method="GET", path="/routing/decisions/{routing_decision_id}",
            handler=routes.explain_route, scope=SCOPE_READ, summary="Say why a decision was as it was", tag=TAG,
            answer=Explanation, problems=("routing_decision_not_found",),
        ),
    )  # fmt: skip
