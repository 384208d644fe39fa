"""The parts of a wired hub, grouped by what they are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from central_hub.adapters.egress import Egress
from central_hub.adapters.stores import Stores
from central_hub.breakers.view import BreakersView
from central_hub.configuration.view import ConfigurationView
from central_hub.edge.protection import RateProtection
from central_hub.events.view import EventsView
from central_hub.flags.view import FlagsView
from central_hub.health.keeper import Keeper
from central_hub.health.monitor import Monitor
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import SHARED
from central_hub.kernel.ownership import Ownership
from central_hub.kernel.patience import CAUGHT_UP_S, come_true
from central_hub.kernel.runner import Runner
from central_hub.kernel.seq import HubSeq
from central_hub.kernel.sequencer import Sequencer
from central_hub.monitoring.metrics import Metrics, RequestMeter
from central_hub.monitoring.process import LoopWatch, ProcessStats
from central_hub.monitoring.routes import Readiness
from central_hub.plans.book import PlanBook
from central_hub.plans.view import PlansView
from central_hub.quotas.budgets import Budgets
from central_hub.quotas.ending import Endings
from central_hub.quotas.keeper import LeaseKeeper
from central_hub.quotas.metered import MeteredView
from central_hub.quotas.metering import Metering
from central_hub.quotas.reading import UsageReading
from central_hub.quotas.usecases import Allocations
from central_hub.quotas.view import QuotasView
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.changes import Changes
from central_hub.registry.dependencies import Dependencies
from central_hub.registry.first_lookups import FirstLookups
from central_hub.registry.reading import Reading
from central_hub.registry.scaling import Scaling
from central_hub.registry.signals import Loads
from central_hub.registry.view import RegistryView
from central_hub.registry.watching import WatchHub
from central_hub.relays.view import RelaysView
from central_hub.rollouts.view import RolloutsView
from central_hub.routing.view import RoutingView
from central_hub.secrets.view import SecretsView
from central_hub.settings import Settings
from central_hub.subscriptions.view import SubscriptionsView
from central_hub.tenants.authentication import Authentication
from central_hub.tenants.denials import DenialLog
from central_hub.tenants.lifecycle import LifeCycle
from central_hub.tenants.trials import Trials
from central_hub.tenants.view import TenantsView
from central_hub.webhooks.view import WebhooksView

Draw = Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What everything stands on: time, stores, views, the sequencer, and who is who."""

    settings: Settings
    stores: Stores
    clock: Clock
    draw: Draw
    source: Callable[[int], bytes]
    plans: PlansView
    book: PlanBook
    tenants: TenantsView
    registry: RegistryView
    quotas: QuotasView
    metered: MeteredView
    flags: FlagsView
    configuration: ConfigurationView
    rollouts: RolloutsView
    secrets: SecretsView
    webhooks: WebhooksView
    routing: RoutingView
    relays: RelaysView
    subscriptions: SubscriptionsView
    events: EventsView
    breakers: BreakersView
    runner: Runner
    positions: HubPositions
    sequencer: Sequencer
    authentication: Authentication
    life: LifeCycle
    trials: Trials
    denials: DenialLog
    egress: Egress
    protection: RateProtection
    ownership: Ownership


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What finds instances, watches them and keeps their health."""

    loads: Loads
    keeper: Keeper
    monitor: Monitor
    catalogue: Catalogue
    first_lookups: FirstLookups
    scaling: Scaling
    dependencies: Dependencies
    watch: WatchHub
    changes: Changes
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """What holds capacity for tenants and gives it back."""

    keeper: LeaseKeeper
    endings: Endings
    allocations: Allocations
    budgets: Budgets
    metering: Metering
    reading: UsageReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Observing:
    """What looks at the hub itself."""

    loop_watch: LoopWatch
    meter: RequestMeter
    readiness: Readiness
    stats: ProcessStats
    metrics: Metrics


class HubPositions:
    """Implements the edge's `Positions` on the runner.

    Args:
        runner: applies the log.
        stale_ms: how long ago the store last said where the log ends.
        shared: whether other hubs write to it.
    """

    def __init__(self, runner: Runner, stale_ms: Callable[[], int], *, shared: bool = False) -> None:
        self._runner = runner
        self._stale_ms = stale_ms
        self._shared = shared

    @property
    def may_be_behind(self) -> bool:
        """Whether other hubs write to the log too."""
        return self._shared

    async def reached(self, ctx: TenantContext, position: str) -> bool | None:
        """Wait until a position is applied, `CAUGHT_UP_S` at most; at once where nobody else writes; see the port."""
        incarnation, own, shared, *_ = position.split(".")
        wanted = {SHARED: int(shared)} if ctx.tenant_id is None else {ctx.domain: int(own), SHARED: int(shared)}
        if incarnation != self._runner.incarnation:
            return None
        return await come_true(
            lambda: all(self._runner.position(domain) >= seq for domain, seq in wanted.items()),
            CAUGHT_UP_S if self._shared else 0.0,
        )

    def position_of(self, ctx: TenantContext) -> HubSeq:
        """Return where the caller's own domain and the shared one stand."""
        own = self._runner.position(ctx.domain) if ctx.tenant_id is not None else 0
        return HubSeq(self._runner.incarnation, own, self._runner.position(SHARED), self._stale_ms())
