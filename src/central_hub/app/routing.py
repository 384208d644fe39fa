"""Routing, wired: offerings of instances, the desk that decides, and what keeps it up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from central_hub.app.parts import Core, Discovery
from central_hub.edge.operations import Operation
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.monitoring.collectors import routing_collector
from central_hub.monitoring.metrics import Collector
from central_hub.plans.book import PlanBook
from central_hub.plans.model import FACTS as PLANS_FACTS
from central_hub.registry.encoding import status_of
from central_hub.registry.model import (
    Instance,
    ServiceDrainChanged,
    ServiceHealthChanged,
    ServiceRegistered,
    ServicesRegistered,
    ServiceUnregistered,
)
from central_hub.registry.picker import is_eligible
from central_hub.registry.ports import HealthOf
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import require_visible, viewer_of, visible
from central_hub.routing.model import OfferingsDeclared, OfferingsWithdrawn
from central_hub.routing.routes import RoutingRoutes
from central_hub.routing.routes import operations as routing_operations
from central_hub.routing.usecases import Offerings
from central_hub.tenants.model import TenantShredded

if TYPE_CHECKING:
    from central_hub.routing.desk import RoutingDesk

LOOKED_AT_MAX: Final = 256
"""Instances of a service that are looked at again when a verdict is not journaled yet; the others' are soon."""

_SEEN: Final = frozenset(
    fact.__name__ for fact in (ServiceRegistered, ServicesRegistered, ServiceUnregistered, *PLANS_FACTS)
)  # fmt: skip
"""Facts after which callers may see other services than before: a new name shadows a shared one, plans rank anew."""
_CONCERNING: Final = _SEEN | {
    fact.__name__ for fact in (OfferingsWithdrawn, ServiceDrainChanged, ServiceHealthChanged, TenantShredded)
}


class CallersPlans:
    """Implements `Plans` on the book of plans."""

    def __init__(self, book: PlanBook) -> None:
        self._book = book

    def rank_of(self, tier: str) -> int | None:
        """Return a tier's rank."""
        return self._book.rank_of(tier)

    def grants(self, ctx: TenantContext, feature: str) -> bool:
        """Say whether the caller's plan grants a feature."""
        return self._book.ask(ctx.domain, ctx.tier, feature).allowed

    def features(self) -> Sequence[str]:
        """Return the names of all features."""
        return tuple(self._book.catalogue.features)


class RoutedServices:
    """Implements `Services` on the registry and this hub's own verdicts."""

    def __init__(self, registry: RegistryView, book: PlanBook, health: HealthOf) -> None:
        self._registry = registry
        self._book = book
        self._health = health

    def sees(self, ctx: TenantContext, domain: DomainId, service: str) -> bool:
        """Say whether the caller means that service when it says its name."""
        found = visible(self._registry, viewer_of(ctx), service)
        return found is not None and found[0] == domain

    def require(self, ctx: TenantContext, service: str) -> DomainId:
        """Return the domain of the service that the caller means."""
        return require_visible(self._registry, viewer_of(ctx), service, self._book)[0]

    def instance(self, domain: DomainId, service: str, instance_id: str) -> Instance | None:
        """Return an instance."""
        return self._registry.instance(domain, service, instance_id)

    def takes_work(self, domain: DomainId, instance: Instance) -> bool:
        """Say whether an instance may be sent requests."""
        verdict = self._health.verdict(domain, instance.service_name, instance.instance_id)
        return is_eligible(instance, status_of(instance, verdict))


Changed = Callable[[DomainId, str], None]


class DeskKeeper:
    """Makes the desk when the first model is offered, and tells it what became true.

    Args:
        core: what everything stands on.
        services: what the registry knows.
        plans: what callers are entitled to.
    """

    def __init__(self, core: Core, services: RoutedServices, plans: CallersPlans) -> None:
        self._core = core
        self._services = services
        self._plans = plans
        self._desk: RoutingDesk | None = None
        self.changed: Changed = lambda domain, service: None
        """Called when outcomes or offerings may have changed how sure routing is of a service's instances."""

    @property
    def desk(self) -> RoutingDesk | None:
        """The desk; None while nothing was ever offered."""
        return self._desk

    async def loaded(self) -> None:
        """Load what the desk needs, off the event loop: numpy takes a tenth of a second."""
        if self._desk is None:
            await asyncio.to_thread(import_module, "central_hub.routing.desk")

    def counts(self) -> Mapping[str, float]:
        """Return what is counted, by name."""
        desk = self._desk
        if desk is None:
            return dict.fromkeys(("offerings", "open", "decided", "reserved", "refused", "recorded", "unknown"), 0.0)
        advice, offered = desk.advice, desk.router.all_offered()
        return {
            "offerings": sum(one.table.there.bit_count() for one in offered),
            "open": float(sum(one.fleet.in_flight.sum() for one in offered)),
            "decided": advice.decided, "reserved": advice.reserved, "refused": advice.refused,
            "recorded": advice.recorded, "unknown": advice.unknown,
        }  # fmt: skip

    def prime(self) -> None:
        """Take in what the rebuilt view holds."""
        for domain in self._core.routing.domains():
            for service, instance_id in tuple(self._core.routing.all_declared(domain)):
                self._put(domain, service, instance_id)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Take note of what became true; this is what the runner calls."""
        for one in batch:
            match one.fact:
                case OfferingsDeclared(service=service, instance_id=instance_id):
                    self._put(one.domain, service, instance_id)
                case _ if self._desk is None or one.type not in _CONCERNING:
                    pass
                case (
                    OfferingsWithdrawn(service=service, instance_id=instance_id)
                    | ServiceUnregistered(service=service, instance_id=instance_id)
                ):
                    self._desk.router.put(one.domain, service, instance_id, None)
                case ServiceRegistered(instance=instance):
                    self._desk.router.look_at(one.domain, instance.service_name, instance.instance_id)
                case ServicesRegistered(instances=instances):
                    for instance in instances:
                        self._desk.router.look_at(one.domain, instance.service_name, instance.instance_id)
                case (
                    ServiceDrainChanged(service=service, instance_id=instance_id)
                    | ServiceHealthChanged(service=service, instance_id=instance_id)
                ):
                    self._desk.router.look_at(one.domain, service, instance_id)
                case TenantShredded(tenant_id=tenant_id):
                    self._desk.router.forget(DomainId(tenant_id))
                    self._desk.advice.forget(DomainId(tenant_id))
                case _:
                    pass
            if self._desk is not None and one.type in _SEEN:
                self._desk.router.epoch += 1

    def verdict_changed(self, domain: DomainId, service: str) -> None:
        """Look at a service's instances, one of which has another verdict than the journal says."""
        if self._desk is None or self._desk.router.offered(domain) is None:
            return
        known = self._core.registry.service(domain, service)
        if known is not None and len(known.instances) <= LOOKED_AT_MAX:
            for instance_id in tuple(known.instances):
                self._desk.router.look_at(domain, service, instance_id)

    def confidence(self, domain: DomainId, service: str, instance_id: str) -> float | None:
        """Return how sure routing is of an instance; this is what discovery asks."""
        offered = None if self._desk is None else self._desk.router.offered(domain)
        if offered is None:
            return None
        return offered.confidence(service, instance_id, self._core.clock.monotonic_ms() / 1_000)

    def in_flight(self, domain: DomainId, service: str, instance_id: str, count: int, at_ms: float) -> None:
        """Hand on how many requests an instance says it holds."""
        offered = None if self._desk is None else self._desk.router.offered(domain)
        server = None if offered is None else offered.server(service, instance_id)
        if offered is not None and server is not None:
            offered.fleet.reported(server, at_ms / 1_000, count, at_ms / 1_000)

    def _put(self, domain: DomainId, service: str, instance_id: str) -> None:
        if self._desk is None:
            self._desk = self._made()
        self._desk.router.put(domain, service, instance_id, self._core.routing.declared(domain, service, instance_id))
        self.changed(domain, service)

    def _made(self) -> RoutingDesk:
        # Loaded where it is needed: a hub that routes nothing is 11 MB smaller and starts a tenth of a second sooner.
        from central_hub.routing.advising import Advice
        from central_hub.routing.deciding import Router
        from central_hub.routing.desk import RoutingDesk

        core = self._core
        router = Router(self._services, self._plans, core.draw)
        advice = Advice(router, self._services, core.clock, core.source, self.changed)
        return RoutingDesk(router, advice, core.runner.position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What decides which instance serves a request."""

    keeper: DeskKeeper
    routes: RoutingRoutes

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of routing."""
        return routing_operations(self.routes)

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return routing_collector(self.keeper)


def routing(core: Core, discovery: Discovery) -> Routing:
    """Wire routing."""
    plans = CallersPlans(core.book)
    services = RoutedServices(core.registry, core.book, discovery.keeper)
    keeper = DeskKeeper(core, services, plans)
    discovery.keeper.on_change(keeper.verdict_changed)
    discovery.loads.on_in_flight(keeper.in_flight)
    discovery.catalogue.confidence = keeper
    keeper.changed = discovery.catalogue.signal
    offerings = Offerings(core.routing, core.sequencer, services, plans)
    return Routing(keeper=keeper, routes=RoutingRoutes(offerings=offerings, desks=keeper, services=services))
