"""Webhooks, wired: endpoints, what they are told, and the follower that tells them."""

from __future__ import annotations

from dataclasses import dataclass

from central_hub.adapters.webhook_sender import WebhookSender
from central_hub.app.configuring import Configuring
from central_hub.app.flagging import Flagging
from central_hub.app.parts import Core
from central_hub.app.telling import EVENT_TYPES as TOLD_TYPES
from central_hub.configuration.effective import Effective
from central_hub.configuration.model import FACTS as CONFIGURATION_FACTS
from central_hub.configuration.ports import Defaults
from central_hub.edge.operations import Operation
from central_hub.events.reading import EventReading
from central_hub.flags.evaluation import Asker, FlagSets
from central_hub.flags.model import DEFAULT_ENVIRONMENT
from central_hub.flags.model import FACTS as FLAGS_FACTS
from central_hub.kernel.errors import HubError
from central_hub.kernel.events import EventTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.messaging import Sender
from central_hub.monitoring.collectors import webhooks_collector
from central_hub.monitoring.metrics import Collector
from central_hub.plans.model import FACTS as PLANS_FACTS
from central_hub.quotas.events import EVENTS as QUOTAS_EVENTS
from central_hub.quotas.model import TenantResourcesAllocated, TenantResourcesFreed
from central_hub.subscriptions.starting import Starting
from central_hub.tenants.events import EVENTS as TENANTS_EVENTS
from central_hub.tenants.model import State, TenantChanged, TenantCreated, TenantShredded
from central_hub.tenants.view import TenantsView
from central_hub.webhooks.delivering import Deliveries
from central_hub.webhooks.events import EVENTS as WEBHOOKS_EVENTS
from central_hub.webhooks.model import Topic, ValueKey
from central_hub.webhooks.noticing import Noticing
from central_hub.webhooks.outcomes import Outcomes
from central_hub.webhooks.routes import WebhookRoutes
from central_hub.webhooks.routes import operations as webhooks_operations
from central_hub.webhooks.sending import Sending
from central_hub.webhooks.usecases import Webhooks

NOT_DELIVERED = (TenantCreated, TenantShredded, TenantResourcesAllocated, TenantResourcesFreed)
"""What no endpoint is told: it is not there yet, or not any more, or there would be too much of it."""

EVENT_TYPES = EventTypes(
    one for one in (*TENANTS_EVENTS, *QUOTAS_EVENTS, *WEBHOOKS_EVENTS) if one.fact not in NOT_DELIVERED
)
"""What an endpoint is told that names no types."""

_CONCERNING = frozenset(
    fact.__name__ for fact in (*CONFIGURATION_FACTS, *FLAGS_FACTS, *PLANS_FACTS, TenantChanged)
)  # fmt: skip
"""Facts after which a tenant's configuration or flags may be something else."""


class TenantValues:
    """Implements `Values` on configuration and flags."""

    def __init__(self, effective: Effective, defaults: Defaults, sets: FlagSets, tenants: TenantsView) -> None:
        self._effective = effective
        self._defaults = defaults
        self._sets = sets
        self._tenants = tenants

    def fingerprint(self, domain: DomainId, key: ValueKey) -> str | None:
        """Return the same text as long as the value is the same."""
        tenant = self._tenants.tenant(domain)
        if tenant is None:
            return None
        try:
            if key.topic == Topic.CONFIG.value:
                return self._effective.of(domain, key.service, key.environment).etag
            return self._sets.fingerprint(Asker(domain, tenant.tier, key.environment or DEFAULT_ENVIRONMENT))
        except HubError:  # the tenant's tier is gone: there is no value until it has one
            return None

    def fresh_until_ms(self, domain: DomainId) -> float:
        """Return the wall time up to which only facts change a tenant's values: the end of a grant changes them too."""
        return self._defaults.fresh_until_ms(domain)


class ToldTenants:
    """Implements `Customers` on the tenants' view."""

    def __init__(self, tenants: TenantsView) -> None:
        self._tenants = tenants

    def is_told(self, domain: DomainId) -> bool:
        """Say whether a tenant exists and is not deleted."""
        tenant = self._tenants.tenant(domain)
        return tenant is not None and tenant.state is not State.DELETED


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooking:
    """What tells tenants' endpoints."""

    webhooks: Webhooks
    deliveries: Deliveries
    noticing: Noticing
    routes: WebhookRoutes

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of webhooks."""
        return webhooks_operations(self.routes)

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return webhooks_collector(self.deliveries, self.noticing)


def hooking(
    core: Core, config: Configuring, flags: Flagging, reading: EventReading, *, sender: Sender | None = None
) -> Hooking:
    """Wire webhooks.

    Args:
        core: what everything stands on.
        config: what applies to tenants.
        flags: what flags say to tenants.
        reading: the log as events.
        sender: the transport, over the network by default.
    """
    sender = sender or WebhookSender(core.egress)
    values = TenantValues(config.effective, config.defaults, flags.sets, core.tenants)
    customers, sealer = ToldTenants(core.tenants), core.stores.sealer
    sending = Sending(sender, sealer, core.clock)
    webhooks = Webhooks(
        core.webhooks,
        core.sequencer,
        sealer,
        frozenset(one.name for one in TOLD_TYPES.described()),
        values,
        sender,
        customers,
        Starting(reading),
        plain=core.settings.webhook_http or core.settings.open,
    )
    deliveries = Deliveries(
        core.webhooks,
        reading.told,
        EVENT_TYPES.names,
        core.stores.log,
        core.runner,
        sending,
        Outcomes(core.webhooks, core.sequencer, core.clock),
        core.stores.cursors,
        customers,
        core.clock,
        core.draw,
        ownership=core.ownership,
    )
    noticing = Noticing(core.webhooks, webhooks, values, core.sequencer, core.clock, _CONCERNING, core.ownership)
    core.runner.listen(deliveries.applied)
    core.runner.listen(noticing.applied)
    return Hooking(
        webhooks=webhooks,
        deliveries=deliveries,
        noticing=noticing,
        routes=WebhookRoutes(webhooks, core.webhooks, deliveries, sending, core.clock, core.source),
    )
