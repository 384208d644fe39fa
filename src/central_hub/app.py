"""The only place where the hub is wired: adapters, views, use cases, routes and the edge.

`build` makes a hub of stores that are open, `serve` opens them and runs one. Nothing happens at
import.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from ipaddress import ip_address
from typing import Any, Final

import structlog

from central_hub.adapters.clock import SystemClock, system_random
from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import Grant, Policy
from central_hub.adapters.probes import Probes
from central_hub.adapters.stores import Stores, in_memory, open_directory
from central_hub.edge import openapi, problem_pages
from central_hub.edge.asgi import Edge
from central_hub.edge.lane.answers import Lane
from central_hub.edge.lane.auth import PipelineAuth
from central_hub.edge.lane.entries import Epochs
from central_hub.edge.operations import Table
from central_hub.edge.pipeline import Pipeline
from central_hub.edge.protection import RateProtection
from central_hub.edge.server import HubServer, LaneMode, bind, configure
from central_hub.health.keeper import Keeper
from central_hub.health.model import FACTS as HEALTH_FACTS
from central_hub.health.monitor import Monitor
from central_hub.health.reading import HealthReading
from central_hub.health.routes import operations as health_operations
from central_hub.health.usecases import Heartbeats
from central_hub.interop.prometheus import Targets
from central_hub.interop.prometheus import operations as prometheus_operations
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import PLATFORM, SHARED, UUID_RANDOM_BYTES, uuid7
from central_hub.kernel.probing import Probe
from central_hub.kernel.records import Applied
from central_hub.kernel.runner import Runner
from central_hub.kernel.seq import HubSeq
from central_hub.kernel.sequencer import Sequencer
from central_hub.monitoring.collectors import health_collector, hub_collector, refusals_collector
from central_hub.monitoring.metrics import Metrics, RequestMeter
from central_hub.monitoring.process import LoopWatch, ProcessStats
from central_hub.monitoring.routes import Readiness
from central_hub.monitoring.routes import operations as monitoring_operations
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.changes import Changes
from central_hub.registry.dependencies import Dependencies
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
from central_hub.tenants.secrets import SECRET_RANDOM_BYTES, mint_bootstrap
from central_hub.tenants.tiers import TierCatalogue, parse_tiers
from central_hub.tenants.usecases import Tenants
from central_hub.tenants.view import TenantsView

SNAPSHOT_LOOK_S: Final = 5.0
DAY_MS: Final = 86_400_000
RESULTS_KEPT_MS: Final = DAY_MS
DISTRIBUTION: Final = "central-hub"
LANE_PREFIX: Final = "/services/discover/"
LOOPBACK_NETWORKS: Final = ("127.0.0.0/8", "::1/128")

_ACCESS_FACTS: Final = frozenset(fact.__name__ for fact in TENANTS_VIEW_FACTS)
_log = structlog.get_logger("central_hub.app")

Draw = Callable[[int], int]


@dataclass(slots=True)
class Hub:
    """A wired hub: `start` it, serve its `edge`, `stop` it."""

    settings: Settings
    stores: Stores
    clock: Clock
    edge: Edge
    table: Table
    pipeline: Pipeline
    lane: Lane
    runner: Runner
    sequencer: Sequencer
    registry: RegistryView
    tenants: TenantsView
    authentication: Authentication
    denials: DenialLog
    monitor: Monitor
    watch: WatchHub
    readiness: Readiness
    loop_watch: LoopWatch
    egress: Egress
    bootstrap_token: str = ""
    _snapshot_pos: int = 0
    _tasks: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        """Rebuild the views, start what runs in the background, and be ready."""
        await self.stores.sealer.ensure(PLATFORM)
        await self.runner.start(self.stores.snapshots)
        self._snapshot_pos = self.runner.pos
        await self.monitor.prime()
        self.open_for_an_hour()
        group = await self._tasks.enter_async_context(asyncio.TaskGroup())
        background = [
            group.create_task(work)
            for work in (
                self.denials.run(),
                self.monitor.run(),
                self.watch.run(),
                self.loop_watch.run(),
                self._keep_snapshots(),
            )
        ]
        committing = group.create_task(self.sequencer.run())
        self._tasks.push_async_callback(self._end, background, committing)
        self.readiness.started = True

    async def stop(self) -> None:
        """Make durable what was decided, snapshot, and let go of the stores."""
        self.stopping()
        await self._tasks.aclose()
        await self.stores.log.close()

    def stopping(self) -> None:
        """Say that the hub is going away: not ready any more, streams end."""
        self.readiness.draining = True
        self.watch.close_all()

    async def _end(self, background: Sequence[asyncio.Task[None]], committing: asyncio.Task[None]) -> None:
        try:
            await self.denials.flush(before_ms=self.clock.now_ms())
        except HubError as error:
            _log.warning("app.denials_not_journaled", code=error.code)
        self.sequencer.close()
        await asyncio.wait((committing,))
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await self._snapshot()

    async def _keep_snapshots(self) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_LOOK_S)
            if self.runner.pos - self._snapshot_pos >= self.settings.snapshot_every:
                await self._snapshot()

    async def _snapshot(self) -> None:
        """Write a snapshot and drop what retention lets go behind it; a failure costs start time only."""
        if self.runner.pos == self._snapshot_pos:
            return
        try:
            self._snapshot_pos = await self.runner.snapshot(self.stores.snapshots)
            now_ms = self.clock.now_ms()
            await self.stores.log.retain(
                behind_pos=self._snapshot_pos,
                before_ms=now_ms - self.settings.retention_days * DAY_MS,
                results_before_ms=now_ms - RESULTS_KEPT_MS,
            )
        except (HubError, OSError) as error:
            _log.warning("app.snapshot_failed", reason=type(error).__name__)

    def open_for_an_hour(self) -> None:
        """Give the operator a first credential where the platform has no key of its own yet."""
        if self.settings.open or self.tenants.keys(PLATFORM):
            return
        given = self.settings.bootstrap_token
        token = given.get_secret_value() if given is not None else mint_bootstrap(system_random(SECRET_RANDOM_BYTES))
        self.authentication.begin_bootstrap(token)
        self.bootstrap_token = token


class HubPositions:
    """Implements the edge's `Positions` on the runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def position_of(self, ctx: TenantContext) -> HubSeq:
        """Return where the caller's own domain and the shared one stand."""
        own = self._runner.position(ctx.domain) if ctx.tenant_id is not None else 0
        return HubSeq(self._runner.incarnation, own, self._runner.position(SHARED))


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
    clock = clock or SystemClock()
    version = metadata.version(DISTRIBUTION)
    tiers = _tiers(settings)
    tenants_view, registry_view = TenantsView(), RegistryView(tiers.rank_of)
    types = FactTypes((*TENANTS_FACTS, *REGISTRY_FACTS, *HEALTH_FACTS))
    runner = Runner(stores.log, stores.sealer, types, (tenants_view, registry_view))
    runner.incarnation = stores.incarnation
    sequencer = Sequencer(stores.log, stores.sealer, runner, clock, source)

    authentication = Authentication(tenants_view, tiers, clock, stores.pepper, open_mode=settings.open)
    denials = DenialLog(stores.decision_key, sequencer, clock, source)
    egress = Egress(_policy(settings, listeners), clock)
    probe = probe or Probes(egress)
    protection = RateProtection(
        clock, reads_per_s=settings.reads_per_tenant_s, writes_per_s=settings.writes_per_tenant_s
    )

    loads = Loads()
    keeper = Keeper(registry_view, probe, loads, clock)
    monitor = Monitor(keeper, probe, registry_view, sequencer, clock)
    catalogue = Catalogue(keeper, loads, clock, stores.incarnation)
    waiters, dependencies = Waiters(), Dependencies(registry_view)
    wire = WatchWire(registry_view, catalogue, keeper, loads)
    watch = WatchHub(registry_view, wire, authentication, runner, clock)
    changes = Changes(registry_view, waiters, watch, catalogue, loads)
    positions = HubPositions(runner)
    reading = Reading(
        registry_view, catalogue, waiters, dependencies, tiers, authentication, runner, clock, lambda: draw(8)
    )

    loop_watch, meter, readiness = LoopWatch(), RequestMeter(), Readiness()
    stats = ProcessStats(stores.directory, loop_watch)
    readiness.checks["store"] = stores.unwell
    metrics = Metrics((meter.collect, stats.collect, health_collector(keeper, monitor)))
    metrics.add(refusals_collector(lambda: {r.value: n for r, n in egress.refused.items()}, lambda: egress.opened))

    reserved: set[str] = set()
    registry = Registry(
        registry_view, sequencer, keeper, tiers, authentication,
        reserved=reserved, limits=Limits(instances=settings.instances_per_tenant_max),
    )  # fmt: skip
    tenants = Tenants(
        tenants_view, sequencer, tiers, stores.pepper, reserved=reserved, first_key=authentication.end_bootstrap
    )
    audit = AuditTrail(stores.log, runner)
    table = Table(
        (
            *registry_operations(
                RegistryRoutes(
                    registry=registry,
                    reading=reading,
                    dependencies=dependencies,
                    watch=watch,
                    loads=loads,
                    authenticate=authentication,
                )
            ),
            *health_operations(
                Heartbeats(keeper, registry_view, loads, clock, monitor.changed),
                HealthReading(keeper, registry_view, tiers, clock),
            ),
            *tenants_operations(TenantRoutes(tenants, tenants_view, tiers, audit, denials, authentication, clock)),
            *monitoring_operations(readiness, stats, metrics, version),
            *prometheus_operations(Targets(registry_view, keeper, clock)),
            *problem_pages.operations(),
        )
    )
    reserved |= table.reserved_words()

    pipeline = Pipeline(table, authentication, denials, positions, protection, meter.observe)
    epochs = Epochs()
    lane = Lane(
        {LANE_PREFIX: RegistryLane(registry_view, catalogue, dependencies)},
        PipelineAuth(authentication, lambda ctx: protection.share(ctx, writes=False)),
        positions,
        epochs,
        now_ms=clock.now_ms,
        monotonic_ms=clock.monotonic_ms,
        draw=draw,
    )
    metrics.add(hub_collector(runner, sequencer, denials.counted, lambda: watch.watchers, lambda: lane.hits))
    runner.listen(changes.applied)
    runner.listen(keeper.applied)
    runner.listen(_access_listener(epochs, watch))
    keeper.on_change(catalogue.signal)
    edge = Edge(
        pipeline, cache(lambda: openapi.document(table, version=version)), hot=settings.lane is not LaneSetting.OFF
    )
    return Hub(
        settings, stores, clock, edge, table, pipeline, lane, runner, sequencer, registry_view, tenants_view, authentication,
        denials, monitor, watch, readiness, loop_watch, egress,
    )  # fmt: skip


def describe() -> tuple[Table, dict[str, Any]]:  # Any: a JSON document
    """Return the operations table and the OpenAPI document without opening anything."""
    table = build(Settings(open=True), in_memory()).table
    return table, openapi.document(table, version=metadata.version(DISTRIBUTION))


async def serve(settings: Settings, *, announce: Callable[[Hub, str], None]) -> None:
    """Run a hub until SIGTERM or SIGINT.

    Args:
        settings: what the operator set.
        announce: told the hub and its base URL once it is ready.

    Raises:
        HubError: whatever keeps it from starting.
    """
    settings.check()
    sockets = bind(settings.host, settings.port)
    addresses = [sock.getsockname()[:2] for sock in sockets]
    stores = await open_directory(settings.data, incarnation=new_incarnation())
    hub = build(settings, stores, listeners=addresses)
    await hub.start()
    try:
        mode = LaneMode(settings.lane.value)
        config = configure(hub.edge, mode=mode, lane=hub.lane if mode is LaneMode.PROTOCOL else None)
        server = HubServer(config, on_stopping=hub.stopping)
        announce(hub, _base_url(*addresses[0]))
        await server.serve(sockets)
    finally:
        await hub.stop()


def new_incarnation() -> str:
    """Mint the id of a new log's history."""
    return uuid7(SystemClock().now_ms(), system_random(UUID_RANDOM_BYTES)).replace("-", "")[:16]


def _access_listener(epochs: Epochs, watch: WatchHub) -> Callable[[Sequence[Applied]], None]:
    """Forget what the lane knew of callers, and look at open streams, when who may do what changed."""

    def applied(batch: Sequence[Applied]) -> None:
        epochs.state += 1
        domains = {one.domain for one in batch if one.type in _ACCESS_FACTS}
        if domains:
            epochs.auth += 1
            for domain in domains:
                watch.access_changed(domain)

    return applied


def _tiers(settings: Settings) -> TierCatalogue:
    if settings.tiers is not None:
        return parse_tiers(settings.tiers.read_text("utf-8"))
    return parse_tiers(resources.files("central_hub.tenants").joinpath("tiers.toml").read_text("utf-8"))


def _policy(settings: Settings, listeners: Iterable[tuple[str, int]]) -> Policy:
    networks = [network.strip() for network in settings.probe_networks.split(",") if network.strip()]
    if settings.open or settings.probe_loopback:
        networks.extend(LOOPBACK_NETWORKS)
    return Policy([Grant(network=network) for network in networks], own_listeners=listeners)


def _base_url(host: str, port: int) -> str:
    address = ip_address(host)
    if address.is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def configure_logging(settings: Settings) -> None:
    """Write the hub's own log to stderr in the form and from the level that settings say."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    console = settings.log_format.value == "console"
    last: Any = (  # Any: structlog's processors have no common type
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    processors: list[Any] = [  # Any: as above
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        last,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(levels[settings.log_level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
