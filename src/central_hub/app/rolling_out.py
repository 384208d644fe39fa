"""Rollouts of configuration, wired: who follows what, who tries out what, the gates, and the one place that steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from central_hub.app.configuring import Configuring
from central_hub.app.parts import Core, Discovery
from central_hub.edge.operations import Operation
from central_hub.health.keeper import Keeper
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId
from central_hub.kernel.records import Applied
from central_hub.monitoring.collectors import rollouts_collector
from central_hub.monitoring.metrics import Collector
from central_hub.registry.model import Instance, RemovalReason, ServiceUnregistered, Status
from central_hub.registry.view import RegistryView
from central_hub.rollouts.exposing import Exposing
from central_hub.rollouts.followers import FollowerBook
from central_hub.rollouts.observing import Observing
from central_hub.rollouts.passing import FollowersPassed
from central_hub.rollouts.reading import RolloutsReading
from central_hub.rollouts.routes import RolloutRoutes
from central_hub.rollouts.routes import operations as rollouts_operations
from central_hub.rollouts.stepping import Stepping
from central_hub.rollouts.usecases import Rollouts


class RegisteredInstances:
    """Implements `Instances` on the registry's view and this hub's own verdicts."""

    def __init__(self, registry: RegistryView, keeper: Keeper) -> None:
        self._registry = registry
        self._keeper = keeper

    def owner(self, domain: DomainId, service: str, instance: str) -> str | None:
        """Return who registered an instance in the domain or as shared."""
        found = self._found(domain, service, instance)
        return None if found is None else found[1].owner

    def is_unhealthy(self, domain: DomainId, service: str, instance: str) -> bool:
        """Say whether a registered instance is unhealthy."""
        found = self._found(domain, service, instance)
        if found is None:
            return False
        home, registered = found
        verdict = self._keeper.verdict(home, service, instance)
        return (registered.status if verdict is None else verdict.status) is Status.UNHEALTHY

    def any(self, domain: DomainId) -> bool:
        """Say whether anything is registered that a rollout of this domain could reach."""
        if domain == PLATFORM:
            return any(self._registry.count_instances(each) for each in self._registry.domains())
        return bool(self._registry.count_instances(domain) or self._registry.count_instances(SHARED))

    def _found(self, domain: DomainId, service: str, instance: str) -> tuple[DomainId, Instance] | None:
        for home in (domain, SHARED):
            registered = self._registry.instance(home, service, instance)
            if registered is not None:
                return home, registered
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingOut:
    """What steps rollouts and answers about them."""

    stepping: Stepping
    rollouts: Rollouts
    routes: RolloutRoutes
    book: FollowerBook
    passing: FollowersPassed
    applied: Callable[[Sequence[Applied]], None]

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of rollouts."""
        return rollouts_operations(self.routes)

    def collector(self, core: Core) -> Collector:
        """Return the collector of what is counted here."""
        return rollouts_collector(core.rollouts, self.stepping, self.book)


def follower_book(core: Core, discovery: Discovery) -> FollowerBook:
    """Return the book of who follows which value."""
    return FollowerBook(RegisteredInstances(core.registry, discovery.keeper), core.clock)


def rolling_out(core: Core, discovery: Discovery, config: Configuring, book: FollowerBook) -> RollingOut:
    """Wire rollouts.

    Args:
        core: what everything stands on.
        discovery: whose verdicts the gates ask.
        config: what is rolled out.
        book: who follows what.
    """
    instances = RegisteredInstances(core.registry, discovery.keeper)
    exposing = Exposing(core.rollouts, core.configuration, config.defaults, config.customers, config.in_force)
    observing = Observing(book, exposing, config.in_force, instances, core.clock)
    rollouts = Rollouts(core.rollouts, core.sequencer, config.configuration, core.configuration)
    stepping = Stepping(
        core.rollouts, rollouts, observing, book, instances, config.customers, core.clock, core.ownership,
        others_tell=core.stores.roster is not None,
    )  # fmt: skip
    reading = RolloutsReading(core.rollouts, core.configuration, stepping, book, exposing, config.in_force, core.clock)
    routes = RolloutRoutes(
        rollouts=rollouts, reading=reading, stepping=stepping, book=book, observing=observing, view=core.rollouts,
        configuration=config.routes,
    )  # fmt: skip

    def applied(batch: Sequence[Applied]) -> None:
        for one in batch:
            fact = one.fact
            if isinstance(fact, ServiceUnregistered) and fact.reason is not RemovalReason.LEASE_EXPIRED:
                book.forget(one.domain, fact.service, fact.instance_id)
        if exposing.refresh():
            stepping.changed()

    passing = FollowersPassed(core.stores.signals, book, core.rollouts)
    return RollingOut(
        stepping=stepping, rollouts=rollouts, routes=routes, book=book, passing=passing, applied=applied
    )  # fmt: skip
