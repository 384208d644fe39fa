"""What everything stands on, put together: views, facts, the sequencer, who is who, and where one may connect to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import (
    LOOPBACK_GRANTS,
    LOOPBACK_WEBHOOKS,
    Policy,
    Purpose,
    machine_addresses,
    parse_grants,
)
from central_hub.adapters.stores import Stores
from central_hub.app.parts import Core, Draw, HubPositions
from central_hub.breakers.verdicts import FACTS as BREAKERS_FACTS
from central_hub.breakers.view import BreakersView
from central_hub.configuration.model import FACTS as CONFIGURATION_FACTS
from central_hub.configuration.view import ConfigurationView
from central_hub.edge.protection import RateProtection
from central_hub.events.model import FACTS as EVENTS_FACTS
from central_hub.events.view import EventsView
from central_hub.flags.model import FACTS as FLAGS_FACTS
from central_hub.flags.view import FlagsView
from central_hub.health.model import FACTS as HEALTH_FACTS
from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.plans.book import PlanBook
from central_hub.plans.document import default_catalogue, parse_catalogue
from central_hub.plans.model import FACTS as PLANS_FACTS
from central_hub.plans.model import Catalogue as PlanCatalogue
from central_hub.plans.view import PlansView
from central_hub.quotas.leaving import LeasesLeaving
from central_hub.quotas.metered import MeteredView
from central_hub.quotas.model import FACTS as QUOTAS_FACTS
from central_hub.quotas.view import QuotasView
from central_hub.registry.leaving import Leaving
from central_hub.registry.model import FACTS as REGISTRY_FACTS
from central_hub.registry.view import RegistryView
from central_hub.relays.model import FACTS as RELAYS_FACTS
from central_hub.relays.view import RelaysView
from central_hub.rollouts.model import FACTS as ROLLOUTS_FACTS
from central_hub.rollouts.view import RolloutsView
from central_hub.routing.model import FACTS as ROUTING_FACTS
from central_hub.routing.view import RoutingView
from central_hub.secrets.model import FACTS as SECRETS_FACTS
from central_hub.secrets.view import SecretsView
from central_hub.settings import Settings
from central_hub.subscriptions.model import FACTS as SUBSCRIPTIONS_FACTS
from central_hub.subscriptions.view import SubscriptionsView
from central_hub.tenants.authentication import Authentication
from central_hub.tenants.denials import DenialLog
from central_hub.tenants.lifecycle import LifeCycle
from central_hub.tenants.model import FACTS as TENANTS_FACTS
from central_hub.tenants.trials import Trials
from central_hub.tenants.view import TenantsView
from central_hub.webhooks.model import FACTS as WEBHOOKS_FACTS
from central_hub.webhooks.view import WebhooksView


def core_of(
    settings: Settings,
    stores: Stores,
    clock: Clock,
    draw: Draw,
    source: Callable[[int], bytes],
    listeners: Iterable[tuple[str, int]],
) -> Core:
    """Put together what everything stands on; the arguments are those of `build`."""
    plans = PlansView(_plans(settings))
    book = PlanBook(plans, clock)
    tenants, registry, quotas = TenantsView(), RegistryView(book.rank_of), QuotasView()
    flags, configuration, webhooks = FlagsView(), ConfigurationView(), WebhooksView()
    metered, secrets, rollouts, relays = MeteredView(), SecretsView(), RolloutsView(), RelaysView()
    subscriptions, events = SubscriptionsView(), EventsView()
    routing, breakers = RoutingView(), BreakersView()
    told = (webhooks, subscriptions, events)
    own = (secrets, rollouts, relays, routing, breakers)
    views = (tenants, plans, registry, quotas, metered, flags, configuration, *told, *own)
    runner = Runner(stores.log, stores.sealer, _types(), views)
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
        routing=routing,
        relays=relays,
        subscriptions=subscriptions,
        events=events,
        breakers=breakers,
        runner=runner,
        positions=HubPositions(runner, stores.stale_ms, shared=stores.roster is not None),
        sequencer=sequencer,
        life=LifeCycle(
            tenants, sequencer, stores.sealer, (Leaving(registry, sequencer), LeasesLeaving(quotas, sequencer))
        ),
        trials=Trials(tenants, sequencer, clock, stores.ownership),
        authentication=Authentication(tenants, book, clock, stores.pepper, open_mode=settings.open),
        denials=DenialLog(stores.decision_key, sequencer, clock, source),
        egress=Egress(_policy(settings, listeners), clock),
        protection=protection,
        ownership=stores.ownership,
    )


def _types() -> FactTypes:
    """Return what the log may hold."""
    return FactTypes(
        (
            *TENANTS_FACTS,
            *PLANS_FACTS,
            *REGISTRY_FACTS,
            *HEALTH_FACTS,
            *QUOTAS_FACTS,
            *FLAGS_FACTS,
            *EVENTS_FACTS,
            *CONFIGURATION_FACTS,
            *ROLLOUTS_FACTS,
            *SECRETS_FACTS,
            *WEBHOOKS_FACTS,
            *ROUTING_FACTS,
            *RELAYS_FACTS,
            *SUBSCRIPTIONS_FACTS,
            *BREAKERS_FACTS,
        )
    )


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
