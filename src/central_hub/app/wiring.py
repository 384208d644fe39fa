"""Which object gets which: adapters, views, use cases, routes and the edge."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata, resources
from typing import Any, Final

from central_hub.adapters.clock import SystemClock, system_random
from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import LOOPBACK_GRANTS, Policy, machine_addresses, parse_grants
from central_hub.adapters.probes import Probes
from central_hub.adapters.stores import Stores, in_memory
from central_hub.app.hub import Hub
from central_hub.app.parts import Core, Discovery, Draw, HubPositions, Observing
from central_hub.edge import openapi, problem_pages
from central_hub.edge.asgi import Edge
from central_hub.edge.lane.answers import Lane
from central_hub.edge.lane.auth import PipelineAuth
from central_hub.edge.lane.commands import commands_of
from central_hub.edge.lane.entries import Epochs
from central_hub.edge.operations import Table
from central_hub.edge.pipeline import Pipeline
from central_hub.edge.protection import Bucket, RateProtection
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
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.probing import Probe
from central_hub.kernel.records import Applied
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.monitoring.collectors import health_collector, hub_collector, refusals_collector
from central_hub.monitoring.metrics import Metrics, RequestMeter
from central_hub.monitoring.process import LoopWatch, ProcessStats
from central_hub.monitoring.routes import Readiness
from central_hub.monitoring.routes import operations as monitoring_operations
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.changes import Changes
from central_hub.registry.dependencies import Dependencies
from central_hub.registry.first_lookups import FirstLookups
from central_hub.registry.lane_entries import RegistryLane
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
from central_hub.settings import Lane as LaneSetting
from central_hub.settings import Settings
from central_hub.tenants.audit import AuditTrail
from central_hub.tenants.authentication import Authentication
from central_hub.tenants.denials import DenialLog
from central_hub.tenants.model import FACTS as TENANTS_FACTS
from central_hub.tenants.model import VIEW_FACTS as TENANTS_VIEW_FACTS
from central_hub.tenants.routes import TenantRoutes
from central_hub.tenants.routes import operations as tenants_operations
from central_hub.tenants.tiers import TierCatalogue, parse_tiers
from central_hub.tenants.usecases import Tenants
from central_hub.tenants.view import TenantsView

DISTRIBUTION: Final = "central-hub"
LANE_PREFIX: Final = "/services/discover/"

_ACCESS_FACTS: Final = frozenset(fact.__name__ for fact in TENANTS_VIEW_FACTS)


def build(
    settings: Settings,
    stores: Stores,
    *,
    clock: Clock | None = None,
    draw: Draw = random.getrandbits,
    source: Callable[[int], bytes] = system_random,
    probe: Probe | None = None,
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
        listeners: addresses the hub itself listens on, which no probe may reach.
    """
    settings.check()
    core = _core(settings, stores, clock or SystemClock(), draw, source, listeners)
    discovery = _discovery(core, probe or Probes(core.egress))
    observing = _observing(core, discovery)
    heartbeats = Heartbeats(discovery.keeper, core.registry, discovery.loads, core.clock, discovery.monitor.changed)
    table = _table(core, discovery, observing, heartbeats)
    pipeline = Pipeline(
        table, core.authentication, core.denials, core.positions, core.protection, observing.meter.observe
    )
    epochs = Epochs()
    lane = _lane(core, discovery, epochs, heartbeats, pipeline)
    observing.metrics.add(
        hub_collector(
            core.runner,
            core.sequencer,
            core.denials.counted,
            watchers=lambda: discovery.watch.watchers,
            lane_hits=lambda: lane.hits,
            lane_signals=lambda: lane.signals,
            lane_commands=lambda: lane.commands,
        )
    )
    # Health first: what is encoded for readers and watchers overlays its verdicts.
    core.runner.listen(discovery.keeper.applied)
    core.runner.listen(discovery.changes.applied)
    core.runner.listen(_access_listener(epochs, discovery.changes))
    discovery.keeper.on_change(discovery.catalogue.signal)
    discovery.monitor.journal.on_unwritten(discovery.watch.verdict_changed)
    edge = Edge(pipeline, hot=settings.lane is not LaneSetting.OFF)
    return Hub(
        core=core, discovery=discovery, observing=observing, table=table, pipeline=pipeline, lane=lane, edge=edge
    )


def _lane(core: Core, discovery: Discovery, epochs: Epochs, heartbeats: Heartbeats, pipeline: Pipeline) -> Lane:
    def reads(ctx: TenantContext) -> Bucket:
        return core.protection.share(ctx, writes=False)

    def writes(ctx: TenantContext) -> Bucket:
        return core.protection.share(ctx, writes=True)

    def commanding(scope: str) -> PipelineAuth:
        return PipelineAuth(core.authentication, writes, open_mode=core.settings.open, scope=scope)

    return Lane(
        {LANE_PREFIX: RegistryLane(core.registry, discovery.catalogue, discovery.dependencies)},
        PipelineAuth(core.authentication, reads, open_mode=core.settings.open),
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
    tiers = _tiers(settings)
    tenants, registry = TenantsView(), RegistryView(tiers.rank_of)
    types = FactTypes((*TENANTS_FACTS, *REGISTRY_FACTS, *HEALTH_FACTS))
    runner = Runner(stores.log, stores.sealer, types, (tenants, registry))
    runner.incarnation = stores.incarnation
    sequencer = Sequencer(stores.log, stores.sealer, runner, clock, source)
    return Core(
        settings=settings,
        stores=stores,
        clock=clock,
        draw=draw,
        tiers=tiers,
        tenants=tenants,
        registry=registry,
        runner=runner,
        positions=HubPositions(runner),
        sequencer=sequencer,
        authentication=Authentication(tenants, tiers, clock, stores.pepper, open_mode=settings.open),
        denials=DenialLog(stores.decision_key, sequencer, clock, source),
        egress=Egress(_policy(settings, listeners), clock),
        protection=RateProtection(
            clock, reads_per_s=settings.reads_per_tenant_s, writes_per_s=settings.writes_per_tenant_s
        ),
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
            core.tiers,
            core.authentication,
            core.runner,
            core.clock,
            lambda: core.draw(8),
        ),
    )


def _observing(core: Core, discovery: Discovery) -> Observing:
    loop_watch, meter, readiness = LoopWatch(), RequestMeter(), Readiness()
    stats = ProcessStats(core.stores.directory, loop_watch)
    readiness.checks["store"] = core.stores.unwell
    metrics = Metrics((meter.collect, stats.collect, health_collector(discovery.keeper, discovery.monitor)))
    refused = core.egress.refused
    metrics.add(
        refusals_collector(
            lambda: {refusal.value: count for refusal, count in refused.items()}, lambda: core.egress.opened
        )
    )
    return Observing(loop_watch=loop_watch, meter=meter, readiness=readiness, stats=stats, metrics=metrics)


def _table(core: Core, discovery: Discovery, observing: Observing, heartbeats: Heartbeats) -> Table:
    """Make the operations table; the words it reserves are told to those who accept names."""
    reserved: set[str] = set()
    registry = Registry(
        core.registry,
        core.sequencer,
        discovery.keeper,
        core.tiers,
        core.authentication,
        reserved=reserved,
        limits=Limits(instances=core.settings.instances_per_tenant_max),
    )
    registry_routes = RegistryRoutes(
        registry=registry,
        reading=discovery.reading,
        dependencies=discovery.dependencies,
        watch=discovery.watch,
        loads=discovery.loads,
        authenticate=core.authentication,
    )
    tenants = Tenants(
        core.tenants,
        core.sequencer,
        core.tiers,
        core.stores.pepper,
        reserved=reserved,
        administered=core.authentication.end_bootstrap,
    )
    audit = AuditTrail(core.stores.log, core.runner)
    tenant_routes = TenantRoutes(
        tenants, core.tenants, core.tiers, audit, core.denials, core.authentication, core.clock
    )
    table = Table(
        (
            *registry_operations(registry_routes),
            *health_operations(heartbeats, HealthReading(discovery.keeper, core.registry, core.tiers, core.clock)),
            *tenants_operations(tenant_routes),
            *monitoring_operations(observing.readiness, observing.stats, observing.metrics, _version()),
            *prometheus_operations(Targets(core.registry, discovery.keeper, core.clock)),
            *problem_pages.operations(),
            *openapi.operations(lambda: openapi.text_of(openapi.document(table, version=_version()))),
        )
    )
    reserved |= table.reserved_words()
    return table


def _version() -> str:
    return metadata.version(DISTRIBUTION)


def describe() -> tuple[Table, dict[str, Any]]:  # Any: a JSON document
    """Return the operations table and the OpenAPI document without opening anything."""
    table = build(Settings(open=True), in_memory()).table
    return table, openapi.document(table, version=_version())


def _access_listener(epochs: Epochs, changes: Changes) -> Callable[[Sequence[Applied]], None]:
    """Forget what the lane knew of callers, and look at streams and blocking reads, when who may do what changed."""

    def applied(batch: Sequence[Applied]) -> None:
        epochs.applied(batch)
        domains = {one.domain for one in batch if one.type in _ACCESS_FACTS}
        if domains:
            epochs.auth += 1
            for domain in domains:
                changes.access_changed(domain)

    return applied


def _tiers(settings: Settings) -> TierCatalogue:
    if settings.tiers is not None:
        try:
            return parse_tiers(settings.tiers.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise HubError(
                "invalid_tiers",
                Kind.INVALID,
                f"The tiers file {settings.tiers} cannot be read: {getattr(error, 'strerror', error)}.",
                next_step="Name a file that is there with --tiers, or leave it out for the built-in tiers.",
            ) from None
    return parse_tiers(resources.files("central_hub.tenants").joinpath("tiers.toml").read_text("utf-8"))


def _policy(settings: Settings, listeners: Iterable[tuple[str, int]]) -> Policy:
    grants = parse_grants(settings.probe_networks)
    if settings.open or settings.probe_loopback:
        grants += LOOPBACK_GRANTS
    return Policy(grants, own_listeners=listeners, own_addresses=machine_addresses())
