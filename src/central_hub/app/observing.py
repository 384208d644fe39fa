"""What is seen of a hub, wired: its metrics, how it is, and what is counted of its callers."""

from __future__ import annotations

from central_hub.app.parts import Core, Discovery, Observing
from central_hub.edge.lane.answers import Lane
from central_hub.monitoring.collectors import health_collector, hub_collector, refusals_collector
from central_hub.monitoring.metrics import Collector, Metrics, RequestMeter
from central_hub.monitoring.process import LoopWatch, ProcessStats
from central_hub.monitoring.routes import Readiness


def observing_of(core: Core, discovery: Discovery) -> Observing:
    """Wire what looks at the process, its requests and its store."""
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


def hub_collector_of(core: Core, discovery: Discovery, lane: Lane) -> Collector:
    """Return the collector of what the hub does all day."""
    return hub_collector(
        core.runner,
        core.sequencer,
        core.denials.counted,
        watchers=lambda: discovery.watch.watchers,
        lane_hits=lambda: lane.hits,
        lane_signals=lambda: lane.signals,
        lane_commands=lambda: lane.commands,
    )
