"""What routing asks of others: which services a caller sees, how its plan ranks, and how instances are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.registry.model import Instance
from central_hub.routing.model import Offering
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
)


class Plans(Protocol):
    """What callers are entitled to."""

    def rank_of(self, tier: str) -> int | None:
        """Return a tier's rank, None for an unknown one."""
        ...

    def grants(self, ctx: TenantContext, feature: str) -> bool:
        """Say whether the caller's plan grants a feature; unknown means no."""
        ...

    def features(self) -> Sequence[str]:
        """Return the names of all features that plans know."""
        ...


class Services(Protocol):
    """What the registry knows of services and their instances."""

    def sees(self, ctx: TenantContext, domain: DomainId, service: str) -> bool:
        """Say whether the caller means the service of that domain when it says its name."""
        ...

    def require(self, ctx: TenantContext, service: str) -> DomainId:
        """Return the domain of the service that the caller means.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403).
        """
        ...

    def instance(self, domain: DomainId, service: str, instance_id: str) -> Instance | None:
        """Return an instance."""
        ...

    def takes_work(self, domain: DomainId, instance: Instance) -> bool:
        """Say whether an instance may be sent requests, by this hub's own verdict."""
        ...


class Desk(Protocol):
    """Where decisions are asked for; made when the first model is offered, as it brings numpy along."""

    def decide(self, ctx: TenantContext, body: Decide) -> DecisionAnswer:
        """Decide.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403), `invalid_constraint` (422), `no_candidate` (409).
        """
        ...

    def reserve(self, ctx: TenantContext, body: Reserve, *, key: str) -> DecisionAnswer:
        """Decide and reserve; `key` is the idempotency key of the request's head."""
        ...

    def lease(self, ctx: TenantContext, body: LeaseRoutes) -> LeaseAnswer:
        """Return the best instances with their shares.

        Raises:
            HubError: as `decide`.
        """
        ...

    async def simulate(self, ctx: TenantContext, body: Simulate) -> SimulateAnswer:
        """Say what would become of many requests, by each strategy.

        Raises:
            HubError: as `decide`, and `too_many_candidates` (422).
        """
        ...

    def told(self, ctx: TenantContext, outcomes: Sequence[Outcome]) -> OutcomesAnswer:
        """Take in outcomes."""
        ...

    def explain(self, ctx: TenantContext, decision_id: str) -> Explanation:
        """Say why a decision was as it was.

        Raises:
            HubError: `routing_decision_not_found` (404).
        """
        ...

    def offerings(self, ctx: TenantContext, page: OfferingsPage) -> OfferingsAnswer:
        """Return a page of what the caller may be routed to."""
        ...

    def seen(self, ctx: TenantContext, service: str, instance_id: str) -> list[Offering]:
        """Return what an instance offers a caller, without saying for whom else it is."""
        ...


class Desks(Protocol):
    """Where the desk is, once there is one."""

    @property
    def desk(self) -> Desk | None:
        """The desk; None while nothing was ever offered."""
        ...

    async def loaded(self) -> None:
        """Load what the desk needs, so that making it costs nobody's turn."""
        ...
