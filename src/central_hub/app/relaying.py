"""Relays, wired: which there are, and the follower that hands events to brokers."""

from __future__ import annotations

from dataclasses import dataclass

from central_hub.adapters.brokers.opening import BrokerLinks
from central_hub.app.parts import Core
from central_hub.app.telling import EVENT_TYPES, Telling
from central_hub.edge.operations import Operation
from central_hub.events.usecases import Publishing
from central_hub.kernel.brokers import Brokers
from central_hub.kernel.context import Act, Principal, TenantContext
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.kernel.ports import Sealer
from central_hub.monitoring.metrics import Collector
from central_hub.monitoring.relays import relays_collector
from central_hub.plans.book import PlanBook
from central_hub.relays.following import Following
from central_hub.relays.outcomes import Outcomes
from central_hub.relays.routes import RelayRoutes
from central_hub.relays.routes import operations as relays_operations
from central_hub.relays.taking import Taking
from central_hub.relays.usecases import Relays
from central_hub.secrets.rules import bound_to
from central_hub.secrets.view import SecretsView
from central_hub.tenants.states import acts_in
from central_hub.tenants.usecases import tenant_missing
from central_hub.tenants.view import TenantsView


class PlatformCredentials:
    """Implements `Credentials` on the platform's secrets.

    What a relay proves itself with stays inside the hub, so it is not on record as read each time a link is opened;
    that a relay names it is.
    """

    def __init__(self, secrets: SecretsView, sealer: Sealer) -> None:
        self._secrets = secrets
        self._sealer = sealer

    def has(self, path: str) -> bool:
        """Say whether there is a secret at a path."""
        return self._secrets.secret(PLATFORM, path) is not None

    def value(self, path: str) -> str | None:
        """Return the newest value of a secret; None when there is none."""
        secret = self._secrets.secret(PLATFORM, path)
        if secret is None:
            return None
        newest = secret.newest
        opened = self._sealer.open(PLATFORM, newest.key_id, newest.sealed, bound_to(PLATFORM, path, newest.number))
        return opened.decode()


class BoundTenants:
    """Implements `Bindings`, and the publishing's `Access`, for what relays take in: the operator bound the tenant."""

    def __init__(self, tenants: TenantsView, book: PlanBook) -> None:
        self._tenants = tenants
        self._book = book

    def has(self, domain: DomainId) -> bool:
        """Say whether there is such a tenant."""
        return self._tenants.tenant(domain) is not None

    def context(self, domain: DomainId, principal: Principal) -> TenantContext:
        """Return what events of a tenant are recorded under; see the port."""
        tenant = self._tenants.tenant(domain)
        if tenant is None:
            raise tenant_missing()
        rank, acts = self._book.rank_of(tenant.tier) or 0, acts_in(tenant.state, operator=False)
        ctx = TenantContext(
            principal=principal, tenant_id=TenantId(domain), tier=tenant.tier, rank=rank, state=tenant.state.value,
            acts=acts,
        )  # fmt: skip
        ctx.perform(Act.WRITE)
        return ctx

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it is now, or refuse."""
        return self.context(ctx.domain, ctx.principal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaying:
    """What hands events to brokers."""

    relays: Relays
    following: Following
    routes: RelayRoutes
    core: Core

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of relays."""
        return relays_operations(self.routes)

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return relays_collector(self.core.relays, self.following, self.core.runner, self.core.clock)


def relaying(core: Core, telling: Telling, *, brokers: Brokers | None = None) -> Relaying:
    """Wire relays.

    Args:
        core: what everything stands on.
        telling: how records are told, and what publishing asks.
        brokers: opens links, with the libraries that are installed by default.
    """
    credentials = PlatformCredentials(core.secrets, core.stores.sealer)
    bindings = BoundTenants(core.tenants, core.book)
    relays = Relays(core.relays, core.sequencer, credentials.has, bindings.has)
    taking = Taking(Publishing(core.sequencer, bindings, EVENT_TYPES, telling.validating), bindings)
    following = Following(
        core.relays,
        telling.reading,
        core.stores.log,
        core.runner,
        brokers or BrokerLinks(),
        credentials,
        taking,
        Outcomes(core.relays, core.sequencer, core.clock),
        core.stores.cursors,
        core.ownership,
        core.stores.sealer,
        core.clock,
        core.draw,
    )
    core.runner.listen(following.applied)
    return Relaying(
        relays=relays,
        following=following,
        routes=RelayRoutes(relays, core.relays, following, core.ownership, core.runner, core.clock),
        core=core,
    )
