"""Layered configuration, wired: values, changes, who is told of them, and the lane's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from central_hub.app.parts import Core
from central_hub.configuration.announcing import Announcements
from central_hub.configuration.defaults import PlanDefaults
from central_hub.configuration.effective import Effective
from central_hub.configuration.impact import Impact
from central_hub.configuration.in_force import InForce
from central_hub.configuration.lane_entries import ConfigurationLane
from central_hub.configuration.ports import Followers
from central_hub.configuration.provisioning import DefaultTemplate
from central_hub.configuration.reading import ConfigurationReading
from central_hub.configuration.routes import ConfigurationRoutes
from central_hub.configuration.routes import operations as configuration_operations
from central_hub.configuration.sections import Sections
from central_hub.configuration.templates import Templates
from central_hub.configuration.usecases import Configuration
from central_hub.edge.operations import Operation
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.monitoring.collectors import configuration_collector
from central_hub.monitoring.metrics import Collector
from central_hub.plans.model import FACTS as PLANS_FACTS
from central_hub.registry.view import RegistryView
from central_hub.rollouts.model import FACTS as ROLLOUT_FACTS
from central_hub.secrets.reading import KnownSecrets
from central_hub.tenants.model import TenantChanged, TenantCreated
from central_hub.tenants.view import TenantsView

CONFIG_PREFIX: Final = "/config/"

_PLANS_FACTS: Final = frozenset(fact.__name__ for fact in PLANS_FACTS)
_ROLLOUT_FACTS: Final = frozenset(fact.__name__ for fact in ROLLOUT_FACTS)


class TenantTiers:
    """Implements `Customers` on the tenants' view."""

    def __init__(self, tenants: TenantsView) -> None:
        self._tenants = tenants

    def tier_of(self, domain: DomainId) -> str | None:
        """Return a tenant's tier, None when there is no such tenant."""
        tenant = self._tenants.tenant(domain)
        return None if tenant is None else tenant.tier

    def after(self, cursor: str, limit: int) -> list[tuple[str, str]]:
        """Return up to `limit` (tenant id, tier) in order of id."""
        return [(tenant.id, tenant.tier) for tenant in self._tenants.tenants_after(cursor, limit)]


class RunningServices:
    """Implements `Running` on the registry's view."""

    def __init__(self, registry: RegistryView) -> None:
        self._registry = registry

    def instances(self, domain: DomainId) -> Mapping[str, int]:
        """Return how many instances each service of a domain has."""
        return {name: len(service.instances) for name, service in self._registry.services(domain).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuring:
    """What answers about configuration and tells of its changes."""

    configuration: Configuration
    beginning: DefaultTemplate
    effective: Effective
    in_force: InForce
    defaults: PlanDefaults
    customers: TenantTiers
    announcements: Announcements
    lane: ConfigurationLane
    routes: ConfigurationRoutes
    applied: Callable[[Sequence[Applied]], None]

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of configuration."""
        return configuration_operations(self.routes)

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return configuration_collector(self.announcements)


def configuring(core: Core, followers: Followers) -> Configuring:
    """Wire configuration.

    Args:
        core: what everything stands on.
        followers: told which instance follows which value.
    """
    defaults, secrets = PlanDefaults(core.plans, core.clock.now_ms), KnownSecrets(core.secrets)
    customers = TenantTiers(core.tenants)
    effective = Effective(core.configuration, defaults, customers)
    in_force = InForce(effective)
    sections = Sections(defaults.sections)
    configuration = Configuration(
        core.configuration, core.sequencer, sections, defaults, customers, core.rollouts, secrets
    )
    further = (*_PLANS_FACTS, *_ROLLOUT_FACTS, TenantChanged.__name__, TenantCreated.__name__)
    announcements = Announcements(
        in_force, core.authentication, core.clock, further, followers, fresh_until_ms=defaults.fresh_until_ms
    )
    routes = ConfigurationRoutes(
        configuration=configuration,
        reading=ConfigurationReading(core.configuration, effective, secrets),
        in_force=in_force,
        impact=Impact(
            configuration, core.configuration, effective, defaults, customers, RunningServices(core.registry)
        ),
        announcements=announcements,
        sections=sections,
        templates=Templates(core.configuration, core.sequencer),
        view=core.configuration,
        authenticate=core.authentication,
    )

    def applied(batch: Sequence[Applied]) -> None:
        for one in batch:
            if one.type in _PLANS_FACTS:
                defaults.forget(one.domain)
        announcements.applied(batch)

    return Configuring(
        configuration=configuration,
        beginning=DefaultTemplate(core.plans, core.configuration, configuration),
        effective=effective,
        in_force=in_force,
        defaults=defaults,
        customers=customers,
        announcements=announcements,
        lane=ConfigurationLane(in_force, defaults, core.clock.now_ms, core.clock.monotonic_ms),
        routes=routes,
        applied=applied,
    )
