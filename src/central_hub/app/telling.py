"""Events, wired: what there is to tell, publishing, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from central_hub.app.keeping import WORK_SNAPSHOTS, retention_of
from central_hub.app.limiting import patience_of
from central_hub.app.parts import Core
from central_hub.breakers.events import EVENTS as BREAKERS_EVENTS
from central_hub.configuration.events import EVENTS as CONFIGURATION_EVENTS
from central_hub.edge.openapi import text_of
from central_hub.edge.operations import Operation
from central_hub.events import contract
from central_hub.events.describing import OwnTypes
from central_hub.events.reading import EventReading
from central_hub.events.reported import REPORTED
from central_hub.events.retention import Purging, Retention
from central_hub.events.routes import EventRoutes
from central_hub.events.routes import operations as events_operations
from central_hub.events.streaming import EventStreams
from central_hub.events.type_routes import EventTypeRoutes
from central_hub.events.type_routes import operations as types_operations
from central_hub.events.usecases import Publishing
from central_hub.events.validating import Validating
from central_hub.events.view import EventsView
from central_hub.flags.events import EVENTS as FLAGS_EVENTS
from central_hub.health.events import EVENTS as HEALTH_EVENTS
from central_hub.kernel.events import EventTypes
from central_hub.monitoring.collectors import events_collector
from central_hub.monitoring.metrics import Collector
from central_hub.plans.events import EVENTS as PLANS_EVENTS
from central_hub.quotas.events import EVENTS as QUOTAS_EVENTS
from central_hub.registry.events import EVENTS as REGISTRY_EVENTS
from central_hub.rollouts.events import EVENTS as ROLLOUTS_EVENTS
from central_hub.subscriptions.events import EVENTS as SUBSCRIPTIONS_EVENTS
from central_hub.tenants.events import EVENTS as TENANTS_EVENTS
from central_hub.webhooks.events import EVENTS as WEBHOOKS_EVENTS

EVENT_TYPES = EventTypes(
    (
        *TENANTS_EVENTS,
        *REGISTRY_EVENTS,
        *HEALTH_EVENTS,
        *QUOTAS_EVENTS,
        *CONFIGURATION_EVENTS,
        *FLAGS_EVENTS,
        *WEBHOOKS_EVENTS,
        *PLANS_EVENTS,
        *ROLLOUTS_EVENTS,
        *SUBSCRIPTIONS_EVENTS,
        *BREAKERS_EVENTS,
    ),
    REPORTED,
)
"""Every type of event that the hub tells, and those that services report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What publishes events, and tells them."""

    publishing: Publishing
    reading: EventReading
    streams: EventStreams
    own_types: OwnTypes
    retention: Retention
    purging: Purging
    view: EventsView
    validating: Validating

    def operations(self, version: str) -> tuple[Operation, ...]:
        """Return the rows of events, and of their contract."""
        routes = EventRoutes(
            publishing=self.publishing, reading=self.reading, streams=self.streams, retention=self.retention,
            purging=self.purging, view=self.view,
        )  # fmt: skip
        types = EventTypeRoutes(types=EVENT_TYPES, own=self.own_types)
        text = partial(asyncapi_text, version)
        return (*events_operations(routes), *types_operations(types), *contract.operations(text))

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return events_collector(self.publishing, self.streams, self.retention)


def asyncapi_text(version: str) -> str:
    """Write the AsyncAPI document as it is served at `/asyncapi.json` and checked in below `contracts/`."""
    return text_of(contract.document(EVENT_TYPES, version=version))


def telling(core: Core) -> Telling:
    """Wire events."""
    reading = EventReading(core.stores.log, core.runner, EVENT_TYPES, core.events.purged, patience_s=patience_of(core))
    streams = EventStreams(reading, core.authentication, core.clock)
    core.runner.listen(streams.applied)
    validating = Validating(core.events)
    return Telling(
        publishing=Publishing(core.sequencer, core.authentication, EVENT_TYPES, validating),
        reading=reading,
        streams=streams,
        validating=validating,
        own_types=OwnTypes(core.events, core.sequencer, core.authentication),
        retention=Retention(
            core.stores.log,
            core.runner,
            core.events,
            retention_of(core),
            lambda: core.ownership.owns(WORK_SNAPSHOTS, ""),
            core.clock,
        ),
        purging=Purging(core.events, core.sequencer, core.authentication),
        view=core.events,
    )
