"""Which object gets which: adapters, views, use cases, routes and the edge."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any, Final

from central_hub.adapters.clock import SystemClock, system_random
from central_hub.adapters.probes import Probes
from central_hub.adapters.stores import Stores, in_memory
from central_hub.app import discovering, governing
from central_hub.app.configuring import CONFIG_PREFIX, Configuring
from central_hub.app.discovering import discovery_of
from central_hub.app.features import Features
from central_hub.app.ground import core_of
from central_hub.app.hub import Hub
from central_hub.app.observing import hub_collector_of, observing_of
from central_hub.app.parts import Core, Discovery, Draw, Observing
from central_hub.app.staleness import Staleness
from central_hub.configuration.portable import PortableConfiguration
from central_hub.edge import openapi, problem_pages
from central_hub.edge.asgi import Edge
from central_hub.edge.cross_origin import CrossOrigin, origins_of
from central_hub.edge.lane.answers import Lane
from central_hub.edge.lane.auth import PipelineAuth
from central_hub.edge.lane.commands import commands_of
from central_hub.edge.lane.entries import Epochs
from central_hub.edge.operations import Table
from central_hub.edge.pipeline import Pipeline
from central_hub.events.portable import PortableEventTypes
from central_hub.flags.portable import PortableOverrides
from central_hub.health.lane_signals import HeartbeatLane
from central_hub.health.model import SCOPE_WRITE
from central_hub.health.usecases import Heartbeats
from central_hub.kernel.clock import Clock
from central_hub.kernel.messaging import Sender
from central_hub.kernel.probing import Probe
from central_hub.kernel.records import Applied
from central_hub.monitoring.collectors import store_collector
from central_hub.monitoring.fairness import fairness_collector
from central_hub.monitoring.routes import operations as monitoring_operations
from central_hub.plans.model import CatalogueApplied
from central_hub.registry.changes import Changes
from central_hub.registry.lane_entries import RegistryLane
from central_hub.registry.view import RegistryView
from central_hub.settings import Lane as LaneSetting
from central_hub.settings import Settings
from central_hub.tenants.model import VIEW_FACTS as TENANTS_VIEW_FACTS

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
    core = core_of(settings, stores, clock or SystemClock(), draw, source, listeners)
    discovery = discovery_of(core, probe or Probes(core.egress))
    features = Features.of(core, discovery, sender)
    observing = observing_of(core, discovery)
    heartbeats = _heartbeats(core, discovery, features)
    table = _table(core, discovery, features, observing, heartbeats)
    pipeline = Pipeline(
        table,
        core.authentication,
        core.denials,
        core.positions,
        core.protection,
        observing.meter.observe,
        CrossOrigin(origins_of(settings.cross_origins)),
    )
    epochs = Epochs()
    lane = _lane(core, discovery, features.configuring, epochs, heartbeats, pipeline)
    for collector in (
        *features.collectors(core),
        store_collector(stores.losses, stores.stale_ms),
        fairness_collector(core.protection, core.sequencer),
        hub_collector_of(core, discovery, lane),
    ):
        observing.metrics.add(collector)
    core.runner.listen(core.trials.applied)
    # Health first: what is encoded for readers and watchers overlays its verdicts.
    core.runner.listen(discovery.keeper.applied)
    core.runner.listen(discovery.changes.applied)
    core.runner.listen(discovery.scaling.applied)
    features.listen(core)
    core.runner.listen(_access_listener(epochs, discovery.changes, features, core.registry))
    discovery.keeper.on_change(discovery.catalogue.signal)
    discovery.monitor.journal.on_unwritten(discovery.watch.verdict_changed)
    return Hub(
        staleness=Staleness(stores.stale_ms, epochs),
        core=core,
        discovery=discovery,
        features=features,
        observing=observing,
        table=table,
        pipeline=pipeline,
        lane=lane,
        edge=Edge(pipeline, hot=settings.lane is not LaneSetting.OFF),
    )


def _heartbeats(core: Core, discovery: Discovery, features: Features) -> Heartbeats:
    return Heartbeats(
        discovery.keeper,
        core.registry,
        discovery.loads,
        core.clock,
        discovery.monitor.changed,
        features.sharing.passing,
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


def _table(core: Core, discovery: Discovery, features: Features, observing: Observing, heartbeats: Heartbeats) -> Table:
    """Make the operations table; the words it reserves are told to those who accept names."""
    reserved: set[str] = set()
    config, flags, keeping = features.configuring, features.flagging, features.safekeeping
    sections = (
        PortableConfiguration(core.configuration, config.configuration),
        PortableOverrides(core.flags, flags.flags),
        keeping.portable,
        PortableEventTypes(features.telling.own_types),
    )
    table = Table(
        (
            *discovering.rows_of(
                core, discovery, heartbeats, config.announcements, features.breaking.streams, reserved
            ),
            *governing.rows_of(core, features.quotas, (config.beginning,), sections, reserved),
            *features.operations(core, _version()),
            *monitoring_operations(observing.readiness, observing.stats, observing.metrics, _version()),
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


def _access_listener(
    epochs: Epochs, changes: Changes, features: Features, registry: RegistryView
) -> Callable[[Sequence[Applied]], None]:
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
                features.telling.streams.access_changed(domain)
                features.subscribing.following.access_changed(domain)

    return applied
