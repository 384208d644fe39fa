"""Which object gets which: adapters, views, use cases, routes and the edge."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any, Final

from central_hub.adapters.clock import SystemClock, system_random
from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import (
    LOOPBACK_GRANTS,
    LOOPBACK_WEBHOOKS,
    Policy,
    Purpose,
    machine_addresses,
    parse_grants,
)
from central_hub.adapters.probes import Probes
from central_hub.adapters.stores import Stores, in_memory
from central_hub.app.configuring import CONFIG_PREFIX, Configuring, configuring
from central_hub.app.flagging import Flagging, flagging
from central_hub.app.hooking import Hooking, hooking
from central_hub.app.hub import Hub
from central_hub.app.limiting import collector_of, quotas_of, rows_of
from central_hub.app.observing import hub_collector_of, observing_of
from central_hub.app.parts import Core, Discovery, Draw, HubPositions, Observing, Quotas
from central_hub.app.rolling_out import RollingOut, follower_book, rolling_out
from central_hub.app.safekeeping import Safekeeping, safekeeping
from central_hub.app.staleness import Staleness
from central_hub.configuration.model import FACTS as CONFIGURATION_FACTS
from central_hub.configuration.portable import PortableConfiguration
from central_hub.configuration.view import ConfigurationView
from central_hub.edge import openapi, problem_pages
from central_hub.edge.asgi import Edge
from central_hub.edge.cross_origin import CrossOrigin, origins_of
from central_hub.edge.lane.answers import Lane
from central_hub.edge.lane.auth import PipelineAuth
from central_hub.edge.lane.commands import commands_of
from central_hub.edge.lane.entries import Epochs
from central_hub.edge.operations import Table
from central_hub.edge.pipeline import Pipeline
from central_hub.edge.protection import RateProtection
from central_hub.flags.model import FACTS as FLAGS_FACTS
from central_hub.flags.portable import PortableOverrides
from central_hub.flags.view import FlagsView
from central_hub.health.keeper import Keeper
from central_hub.health.lane_signals import HeartbeatLane
from central_hub.health.model import FACTS as HEALTH_FACTS
from central_hub.health.model import SCOPE_WRITE
from central_hub.health.monitor import Monitor
from central_hub.health.reading import HealthReading
from central_hub.health.routes import operations as health_operations
from central_hub.health.usecases import Heartbeats
from central_hub.interop.prometheus import Targets
from central_hub.interop.prometheus import operations as prometheus_operations
from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.messaging import Sender
from central_hub.kernel.probing import Probe
from central_hub.kernel.records import Applied
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.monitoring.collectors import store_collector
from central_hub.monitoring.fairness import fairness_collector
from central_hub.monitoring.routes import operations as monitoring_operations
from central_hub.plans.book import PlanBook
from central_hub.plans.document import default_catalogue, parse_catalogue
from central_hub.plans.model import FACTS as PLANS_FACTS
from central_hub.plans.model import Catalogue as PlanCatalogue
from central_hub.plans.model import CatalogueApplied
from central_hub.plans.portable import PortableLayers
from central_hub.plans.routes import PlanRoutes
from central_hub.plans.routes import operations as plans_operations
from central_hub.plans.usecases import Plans
from central_hub.plans.view import PlansView
from central_hub.quotas.leaving import LeasesLeaving
from central_hub.quotas.limits import Held
from central_hub.quotas.metered import MeteredView
from central_hub.quotas.model import FACTS as QUOTAS_FACTS
from central_hub.quotas.view import QuotasView
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.changes import Changes
from central_hub.registry.dependencies import Dependencies
from central_hub.registry.first_lookups import FirstLookups
from central_hub.registry.lane_entries import RegistryLane
from central_hub.registry.leaving import Leaving
from central_hub.registry.model import FACTS as REGISTRY_FACTS
from central_hub.registry.reading import Reading
from central_hub.registry.routes import RegistryRoutes
from central_hub.registry.routes import operations as registry_operations
from central_hub.registry.signals import Loads
from central_hub.registry.usecases import Limits, Registry
from central_hub.registry.view import RegistryView
from central_hub.registry.waiting import Waiters
from central_hub.registry.watch_wire import WatchWire
from central_hub.registry.watching import WatchHub
from central_hub.rollouts.model import FACTS as ROLLOUTS_FACTS
from central_hub.rollouts.view import RolloutsView
from central_hub.secrets.model import FACTS as SECRETS_FACTS
from central_hub.secrets.view import SecretsView
from central_hub.settings import Lane as LaneSetting
from central_hub.settings import Settings
from central_hub.tenants.audit import AuditTrail
from central_hub.tenants.authentication import Authentication
from central_hub.tenants.denials import DenialLog
from central_hub.tenants.lifecycle import LifeCycle
from central_hub.tenants.lifecycle_routes import LifeCycleRoutes
from central_hub.tenants.lifecycle_routes import operations as lifecycle_operations
from central_hub.tenants.model import FACTS as TENANTS_FACTS
from central_hub.tenants.model import VIEW_FACTS as TENANTS_VIEW_FACTS
from central_hub.tenants.routes import TenantRoutes
from central_hub.tenants.routes import operations as tenants_operations
from central_hub.tenants.transfers import Transfers
from central_hub.tenants.trials import Trials
from central_hub.tenants.usecases import Tenants
from central_hub.tenants.view import TenantsView
from central_hub.webhooks.model import FACTS as WEBHOOKS_FACTS
from central_hub.webhooks.view import WebhooksView

DISTRIBUTION: Final = "central-hub"
LANE_PREFIX: Final = "/services/discover/"

_ACCESS_FACTS: Final = frozenset(fact.__name__ for fact in (*TENANTS_VIEW_FACTS, CatalogueApplied))


def build(
    settings: Settings,
    stores: Stores,
    *,
    clock: Clock | None = None,
    draw: Draw = random.getrandbits,
    source: Callable[[int], bytes] = system_random,
    probe: Probe | None = None,
    sender: Sender | None = None,
    listeners: Iterable[tuple[str, int]] = (),
) -> Hub:
    """Wire a hub.

    Args:
        settings: what the operator set.
        stores: what is open.
        clock: time, the system's by default.
        draw: random bits for picks.
        source: random bytes for ids and secrets.
        probe: asks instances, over the network by default.
        sender: takes messages to webhooks, over the network by default.
        listeners: addresses the hub itself listens on, which no probe may reach.
    """
    settings.check()
    core = _core(settings, stores, clock or SystemClock(), draw, source, listeners)
    discovery = _discovery(core, probe or Probes(core.egress))
    quotas = quotas_of(core)
    keeping = safekeeping(core)
    followers = follower_book(core, discovery)
    config = configuring(core, followers)
    rollouts = rolling_out(core, discovery, config, followers)
    flags = flagging(core, (*TENANTS_VIEW_FACTS, *PLANS_FACTS))
    hooks = hooking(core, config, flags, sender=sender)
    observing = observing_of(core, discovery)
    heartbeats = Heartbeats(discovery.keeper, core.registry, discovery.loads, core.clock, discovery.monitor.changed)
    table = _table(core, discovery, quotas, flags, config, rollouts, keeping, hooks, observing, heartbeats)
    pipeline = _pipeline(core, table, observing)
    epochs = Epochs()
    lane = _lane(core, discovery, config, epochs, heartbeats, pipeline)
    for collector in (
        flags.collector(),
        config.collector(),
        rollouts.collector(core),
        keeping.collector(),
        hooks.collector(),
        collector_of(quotas),
        store_collector(stores.losses, stores.stale_ms),
        fairness_collector(core.protection, core.sequencer),
        hub_collector_of(core, discovery, lane),
    ):
        observing.metrics.add(collector)
    _listen(core, discovery, flags, rollouts, config, epochs)
    edge = Edge(pipeline, hot=settings.lane is not LaneSetting.OFF)
    return Hub(
        staleness=Staleness(stores.stale_ms, epochs),
        core=core,
        discovery=discovery,
        quotas=quotas,
        flagging=flags,
        configuring=config,
        rolling_out=rollouts,
        safekeeping=keeping,
        hooking=hooks,
        observing=observing,
        table=table,
        pipeline=pipeline,
        lane=lane,
        edge=edge,
    )


def _listen(
    core: Core, discovery: Discovery, flags: Flagging, rollouts: RollingOut, config: Configuring, epochs: Epochs
) -> None:
    """Have everyone told of what was applied, in this order."""
    for listener in (
        core.trials.applied,
        discovery.keeper.applied,  # health first: what is encoded for readers and watchers overlays its verdicts
        discovery.changes.applied,
        flags.streams.applied,
        rollouts.applied,  # before configuration, which tells everyone what is in force by then
        config.applied,
        _access_listener(epochs, discovery.changes, core.registry),
    ):
        core.runner.listen(listener)
    discovery.keeper.on_change(discovery.catalogue.signal)
    discovery.monitor.journal.on_unwritten(discovery.watch.verdict_changed)


def _pipeline(core: Core, table: Table, observing: Observing) -> Pipeline:
    return Pipeline(
        table,
        core.authentication,
        core.denials,
        core.positions,
        core.protection,
        observing.meter.observe,
        CrossOrigin(origins_of(core.settings.cross_origins)),
    )


def _lane(
    core: Core, discovery: Discovery, config: Configuring, epochs: Epochs, heartbeats: Heartbeats, pipeline: Pipeline
) -> Lane:
    def commanding(scope: str) -> PipelineAuth:
        return PipelineAuth(core.authentication, core.protection.share, open_mode=core.settings.open, scope=scope)

    return Lane(
        {
            LANE_PREFIX: RegistryLane(core.registry, discovery.catalogue, discovery.dependencies),
            CONFIG_PREFIX: config.lane,
        },
        PipelineAuth(core.authentication, core.protection.share, open_mode=core.settings.open),
        core.positions,
        epochs,
        now_ms=core.clock.now_ms,
        monotonic_ms=core.clock.monotonic_ms,
        draw=core.draw,
        signals=HeartbeatLane(heartbeats),
        signal_auth=commanding(SCOPE_WRITE),
        commands=commands_of(pipeline.table, pipeline, commanding),
    )


def _core(
    settings: Settings,
    stores: Stores,
    clock: Clock,
    draw: Draw,
    source: Callable[[int], bytes],
    listeners: Iterable[tuple[str, int]],
) -> Core:
    plans = PlansView(_plans(settings))
    book = PlanBook(plans, clock)
    tenants, registry, quotas = TenantsView(), RegistryView(book.rank_of), QuotasView()
    flags, configuration, webhooks = FlagsView(), ConfigurationView(), WebhooksView()
    types = FactTypes(
        (
            *TENANTS_FACTS,
            *PLANS_FACTS,
            *REGISTRY_FACTS,
            *HEALTH_FACTS,
            *QUOTAS_FACTS,
            *FLAGS_FACTS,
            *CONFIGURATION_FACTS,
            *ROLLOUTS_FACTS,
            *SECRETS_FACTS,
            *WEBHOOKS_FACTS,
        )
    )
    metered, secrets, rollouts = MeteredView(), SecretsView(), RolloutsView()
    views = (tenants, plans, registry, quotas, metered, flags, configuration, webhooks, secrets, rollouts)
    runner = Runner(stores.log, stores.sealer, types, views)
    runner.incarnation = stores.incarnation
    protection = RateProtection(
        clock,
        reads_per_s=settings.reads_per_tenant_s,
        writes_per_s=settings.writes_per_tenant_s,
        granted=book.hub_limits,
    )
    sequencer = Sequencer(stores.log, stores.sealer, runner, clock, source, protection)
    return Core(
        settings=settings,
        stores=stores,
        clock=clock,
        draw=draw,
        source=source,
        plans=plans,
        book=book,
        tenants=tenants,
        registry=registry,
        quotas=quotas,
        metered=metered,
        flags=flags,
        configuration=configuration,
        rollouts=rollouts,
        secrets=secrets,
        webhooks=webhooks,
        runner=runner,
        positions=HubPositions(runner, stores.stale_ms),
        sequencer=sequencer,
        life=LifeCycle(
            tenants, sequencer, stores.sealer, (Leaving(registry, sequencer), LeasesLeaving(quotas, sequencer))
        ),
        trials=Trials(tenants, sequencer, clock),
        authentication=Authentication(tenants, book, clock, stores.pepper, open_mode=settings.open),
        denials=DenialLog(stores.decision_key, sequencer, clock, source),
        egress=Egress(_policy(settings, listeners), clock),
        protection=protection,
    )


def _discovery(core: Core, probe: Probe) -> Discovery:
    loads, waiters = Loads(), Waiters()
    keeper = Keeper(probe, loads, core.clock)
    catalogue = Catalogue(keeper, loads, core.clock, core.stores.incarnation)
    first_lookups = FirstLookups(core.sequencer)
    dependencies = Dependencies(core.registry, first_lookups.seen)
    wire = WatchWire(core.registry, catalogue, keeper, loads)
    watch = WatchHub(core.registry, wire, core.authentication, core.runner, core.clock)
    return Discovery(
        loads=loads,
        keeper=keeper,
        monitor=Monitor(keeper, probe, core.registry, core.sequencer, core.clock),
        catalogue=catalogue,
        first_lookups=first_lookups,
        dependencies=dependencies,
        watch=watch,
        changes=Changes(core.registry, waiters, watch, catalogue, loads),
        reading=Reading(
            core.registry,
            catalogue,
            waiters,
            dependencies,
            core.book,
            core.authentication,
            core.runner,
            core.clock,
            lambda: core.draw(8),
        ),
    )


def _table(
    core: Core,
    discovery: Discovery,
    quotas: Quotas,
    flags: Flagging,
    config: Configuring,
    rollouts: RollingOut,
    keeping: Safekeeping,
    hooks: Hooking,
    observing: Observing,
    heartbeats: Heartbeats,
) -> Table:
    """Make the operations table; the words it reserves are told to those who accept names."""
    reserved: set[str] = set()
    tenants = Tenants(
        core.tenants,
        core.sequencer,
        core.book,
        core.stores.pepper,
        reserved=reserved,
        administered=core.authentication.end_bootstrap,
        provisions=(config.beginning,),
    )
    audit = AuditTrail(core.stores.log, core.runner)
    plans = Plans(core.plans, core.tenants, core.sequencer)
    sections = (
        PortableLayers(core.plans, plans, core.clock),
        PortableConfiguration(core.configuration, config.configuration),
        PortableOverrides(core.flags, flags.flags),
        keeping.portable,
    )
    transfers = Transfers(core.tenants, tenants, core.sequencer, core.clock, sections)
    tenant_routes = TenantRoutes(tenants, core.tenants, audit, core.denials, core.authentication, transfers, core.clock)
    plan_routes = PlanRoutes(
        plans=plans,
        view=core.plans,
        book=core.book,
        tenants=tenants,
        decisions=core.denials,
        usage=Held(core.quotas, quotas.budgets, core.book),
        clock=core.clock,
    )
    table = Table(
        (
            *registry_operations(_registry_routes(core, discovery, config, reserved)),
            *health_operations(heartbeats, HealthReading(discovery.keeper, core.registry, core.book, core.clock)),
            *tenants_operations(tenant_routes),
            *lifecycle_operations(LifeCycleRoutes(core.life)),
            *plans_operations(plan_routes),
            *rows_of(quotas, core),
            *monitoring_operations(observing.readiness, observing.stats, observing.metrics, _version()),
            *prometheus_operations(Targets(core.registry, discovery.keeper, core.clock)),
            *flags.operations(),
            *config.operations(),
            *rollouts.operations(),
            *keeping.operations(),
            *hooks.operations(),
            *problem_pages.operations(),
            *openapi.operations(lambda: openapi.text_of(openapi.document(table, version=_version()))),
        )
    )
    reserved |= table.reserved_words()
    return table


def _registry_routes(core: Core, discovery: Discovery, config: Configuring, reserved: set[str]) -> RegistryRoutes:
    registry = Registry(
        core.registry,
        core.sequencer,
        discovery.keeper,
        core.book,
        core.authentication,
        reserved=reserved,
        limits=Limits(instances=core.settings.instances_per_tenant_max),
    )
    return RegistryRoutes(
        registry=registry,
        reading=discovery.reading,
        dependencies=discovery.dependencies,
        watch=discovery.watch,
        config=config.announcements,
        loads=discovery.loads,
        authenticate=core.authentication,
    )


def _version() -> str:
    return metadata.version(DISTRIBUTION)


def describe() -> tuple[Table, dict[str, Any]]:  # Any: a JSON document
    """Return the operations table and the OpenAPI document without opening anything."""
    table = build(Settings(open=True), in_memory()).table
    return table, openapi.document(table, version=_version())


def _access_listener(epochs: Epochs, changes: Changes, registry: RegistryView) -> Callable[[Sequence[Applied]], None]:
    """Forget what the lane knew of callers, and look at streams and blocking reads, when who may do what changed."""

    def applied(batch: Sequence[Applied]) -> None:
        epochs.applied(batch)
        domains = {one.domain for one in batch if one.type in _ACCESS_FACTS}
        if domains:
            epochs.auth += 1
            if any(isinstance(one.fact, CatalogueApplied) for one in batch):
                registry.ranks_changed()
            for domain in domains:
                changes.access_changed(domain)

    return applied


def _plans(settings: Settings) -> PlanCatalogue:
    """Return the catalogue that holds until one is applied."""
    if settings.tiers is None:
        return default_catalogue()
    try:
        return parse_catalogue(settings.tiers.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = f"The file of plans {settings.tiers} cannot be read: {getattr(error, 'strerror', error)}."
    except HubError as error:
        reason = error.message
    raise HubError(
        "invalid_tiers",
        Kind.INVALID,
        reason,
        next_step="Correct the file that --tiers names, or leave it out for the built-in plans.",
    )


def _policy(settings: Settings, listeners: Iterable[tuple[str, int]]) -> Policy:
    grants = parse_grants(settings.probe_networks)
    if settings.open or settings.probe_loopback:
        grants += LOOPBACK_GRANTS
    grants += parse_grants(settings.webhook_networks, purpose=Purpose.WEBHOOK)
    if settings.open:
        grants += parse_grants(LOOPBACK_WEBHOOKS, purpose=Purpose.WEBHOOK)
    return Policy(grants, own_listeners=listeners, own_addresses=machine_addresses())
