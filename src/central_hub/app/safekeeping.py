"""Secrets and the rotation of keys, wired."""

from __future__ import annotations

from dataclasses import dataclass

from central_hub.app.parts import Core
from central_hub.edge.operations import Operation
from central_hub.kernel.ids import DomainId
from central_hub.monitoring.metrics import Collector
from central_hub.monitoring.secrets import secrets_collector
from central_hub.secrets.portable import PortableSecrets
from central_hub.secrets.reading import KnownSecrets
from central_hub.secrets.rotation import Rotation
from central_hub.secrets.routes import SecretRoutes
from central_hub.secrets.routes import operations as secrets_operations
from central_hub.secrets.usecases import Secrets
from central_hub.tenants.view import TenantsView


class KnownTenants:
    """Implements `Customers` on the tenants' view."""

    def __init__(self, tenants: TenantsView) -> None:
        self._tenants = tenants

    def is_tenant(self, domain: DomainId) -> bool:
        """Say whether there is such a tenant."""
        return self._tenants.tenant(domain) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Safekeeping:
    """What keeps secrets and rotates keys."""

    secrets: Secrets
    known: KnownSecrets
    rotation: Rotation
    routes: SecretRoutes
    portable: PortableSecrets

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of secrets and of encryption."""
        return secrets_operations(self.routes)

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return secrets_collector(self.secrets, self.routes.view, self.routes.keys, self.rotation)


def safekeeping(core: Core) -> Safekeeping:
    """Wire secrets.

    Args:
        core: what everything stands on.
    """
    known, customers = KnownSecrets(core.secrets), KnownTenants(core.tenants)
    secrets = Secrets(
        core.secrets, known, core.sequencer, core.stores.sealer, core.authentication, customers, core.clock
    )
    rotation = Rotation(
        core.stores.sealer,
        core.secrets,
        core.sequencer,
        core.clock,
        customers,
        ownership=core.ownership,
        shared=core.stores.roster is not None,
    )  # fmt: skip
    return Safekeeping(
        secrets=secrets,
        known=known,
        rotation=rotation,
        routes=SecretRoutes(secrets=secrets, view=core.secrets, keys=core.stores.sealer, rotation=rotation),
        portable=PortableSecrets(core.secrets),
    )
