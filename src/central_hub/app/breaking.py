"""Shared verdicts of breakers, wired: what processes report, what is said of it, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from central_hub.app.parts import Core
from central_hub.breakers.routes import BreakerRoutes
from central_hub.breakers.routes import operations as breakers_operations
from central_hub.breakers.telling import BreakerStreams
from central_hub.breakers.tiers import FEATURES
from central_hub.breakers.usecases import SharedBreakers
from central_hub.edge.operations import Operation
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.monitoring.breakers import breakers_collector
from central_hub.monitoring.metrics import Collector
from central_hub.plans.book import PlanBook
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import require_visible, viewer_of, visible


class SeenServices:
    """Implements `Services` on the registry's view."""

    def __init__(self, registry: RegistryView, book: PlanBook) -> None:
        self._registry = registry
        self._book = book

    def home_of(self, ctx: TenantContext, name: str) -> DomainId | None:
        """Return the domain of the service that a caller means; None when there is none for it."""
        found = visible(self._registry, viewer_of(ctx), name)
        return None if found is None else found[0]

    def require(self, ctx: TenantContext, name: str) -> DomainId:
        """Return the same, or refuse; see the port."""
        return require_visible(self._registry, viewer_of(ctx), name, self._book)[0]


class PlanWords:
    """Implements `Plans` on the book of plans."""

    def __init__(self, book: PlanBook) -> None:
        self._book = book

    def words(self, domain: DomainId, tier: str) -> Mapping[str, object]:
        """Return a tenant's values of the features that breakers follow."""
        return {name: self._book.ask(domain, tier, name).value for name in FEATURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaking:
    """What judges reports and tells verdicts."""

    shared: SharedBreakers
    streams: BreakerStreams
    routes: BreakerRoutes

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of shared verdicts."""
        return breakers_operations(self.routes)

    def collector(self, core: Core) -> Collector:
        """Return the collector of what is counted here."""
        return breakers_collector(core.breakers, self.shared, self.streams)


def breaking(core: Core) -> Breaking:
    """Wire shared verdicts.

    Args:
        core: what everything stands on.
    """
    services = SeenServices(core.registry, core.book)
    shared = SharedBreakers(
        core.breakers, core.sequencer, services, PlanWords(core.book), core.clock, core.ownership
    )  # fmt: skip
    streams = BreakerStreams(core.breakers, shared, services, core.authentication, core.clock)
    shared.on_named = streams.named
    core.runner.listen(shared.applied)
    core.runner.listen(streams.applied)
    routes = BreakerRoutes(
        shared=shared, view=core.breakers, services=services, clock=core.clock, assume=core.authentication.assume
    )
    return Breaking(shared=shared, streams=streams, routes=routes)
