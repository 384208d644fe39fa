"""Discovery, wired: the registry, its watchers and the health of what is registered."""

from __future__ import annotations

from central_hub.app.limiting import patience_of, slack_of
from central_hub.app.parts import Core, Discovery
from central_hub.breakers.telling import BreakerStreams
from central_hub.configuration.announcing import Announcements
from central_hub.edge.operations import Operation
from central_hub.health.keeper import Keeper
from central_hub.health.monitor import Monitor
from central_hub.health.reading import HealthReading
from central_hub.health.routes import operations as health_operations
from central_hub.health.usecases import Heartbeats
from central_hub.interop.prometheus import Targets
from central_hub.interop.prometheus import operations as prometheus_operations
from central_hub.kernel.probing import Probe
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.changes import Changes
from central_hub.registry.dependencies import Dependencies
from central_hub.registry.first_lookups import FirstLookups
from central_hub.registry.reading import Reading
from central_hub.registry.routes import RegistryRoutes
from central_hub.registry.routes import operations as registry_operations
from central_hub.registry.scaling import Scaling
from central_hub.registry.signals import Loads
from central_hub.registry.usecases import Limits, Registry
from central_hub.registry.waiting import Waiters
from central_hub.registry.watch_wire import WatchWire
from central_hub.registry.watching import WatchHub


def discovery_of(core: Core, probe: Probe) -> Discovery:
    """Put together what finds instances, watches them and keeps their health."""
    loads, waiters = Loads(), Waiters()
    keeper = Keeper(probe, loads, core.clock, ownership=core.ownership, slack_ms=slack_of(core))
    catalogue = Catalogue(keeper, loads, core.clock, core.stores.incarnation)
    first_lookups = FirstLookups(core.sequencer)
    dependencies = Dependencies(core.registry, first_lookups.seen)
    wire = WatchWire(core.registry, catalogue, keeper, loads)
    watch = WatchHub(core.registry, wire, core.authentication, core.runner, core.clock)
    return Discovery(
        loads=loads,
        keeper=keeper,
        monitor=Monitor(keeper, probe, core.registry, core.sequencer, core.clock, core.ownership),
        catalogue=catalogue,
        first_lookups=first_lookups,
        scaling=Scaling(core.registry, core.sequencer, core.ownership),
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
            patience_s=patience_of(core),
        ),
    )


def rows_of(
    core: Core,
    discovery: Discovery,
    heartbeats: Heartbeats,
    announcements: Announcements,
    breakers: BreakerStreams,
    reserved: set[str],
) -> tuple[Operation, ...]:
    """Return the operations of registry, health and service discovery for Prometheus.

    Args:
        core: what everything stands on.
        discovery: what answers.
        heartbeats: takes them.
        announcements: tells values of configuration on the same stream.
        breakers: tells verdicts of shared breakers there.
        reserved: words that name no service.
    """
    registry = Registry(
        core.registry,
        core.sequencer,
        discovery.keeper,
        core.book,
        core.authentication,
        reserved=reserved,
        limits=Limits(instances=core.settings.instances_per_tenant_max),
    )
    routes = RegistryRoutes(
        registry=registry,
        reading=discovery.reading,
        dependencies=discovery.dependencies,
        watch=discovery.watch,
        config=announcements,
        breakers=breakers,
        loads=discovery.loads,
        authenticate=core.authentication,
    )
    return (
        *registry_operations(routes),
        *health_operations(heartbeats, HealthReading(discovery.keeper, core.registry, core.book, core.clock)),
        *prometheus_operations(Targets(core.registry, discovery.keeper, core.clock)),
    )
