"""What configuration asks of others: tiers and tenants of the tenants feature, who runs what of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from central_hub.configuration.folding import Compiled
from central_hub.configuration.model import Document, Layer
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId


class Defaults(Protocol):
    """What a tenant is granted before anybody configured anything."""

    def compiled(self, domain: DomainId, tier: str) -> Compiled | None:
        """Return what a tenant at a tier is granted; None for an unknown tier. Equal grants are one object.

        Args:
            domain: the tenant's; the platform's for a tier by itself.
            tier: at which it is.
        """
        ...

    def fresh_until_ms(self, domain: DomainId) -> float:
        """Return the wall time up to which a tenant is granted the same, infinite when only facts change it."""
        ...

    def sections(self) -> Mapping[str, Document]:
        """Return the schemas of what is granted, by section; the same object while they are the same."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return the tiers' names, lowest rank first."""
        ...


class Customers(Protocol):
    """Which tenants there are, and at which tier."""

    def tier_of(self, domain: DomainId) -> str | None:
        """Return a tenant's tier, None when there is no such tenant."""
        ...

    def after(self, cursor: str, limit: int) -> list[tuple[str, str]]:
        """Return up to `limit` (tenant id, tier) in order of id, for the platform."""
        ...


class Running(Protocol):
    """Which services run, for what a change reaches."""

    def instances(self, domain: DomainId) -> Mapping[str, int]:
        """Return how many instances each service of a domain has."""
        ...


class KnownSecrets(Protocol):
    """Which secrets a reference may lead to (secrets.reading.KnownSecrets)."""

    def resolves(self, domain: DomainId, path: str) -> bool:
        """Say whether a reference in a domain's documents leads somewhere."""
        ...

    def suggest(self, domain: DomainId, path: str) -> str:
        """Return the path that may have been meant, empty when none is near."""
        ...


class Access(Protocol):
    """Whether a context that was proven earlier still holds."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it would be built now; the same object when nothing changed.

        Raises:
            HubError: when the credential was revoked or expired, or the tenant suspended.
        """
        ...


class Held(Protocol):
    """Which layers are not to be changed for now; the view of rollouts is one."""

    def holder(self, domain: DomainId, layer: Layer) -> str:
        """Return the rollout that a layer is held for, empty when it is free."""
        ...


class Followers(Protocol):
    """Told which instance follows which value; implemented by rollouts."""

    def opened(self, ctx: TenantContext, service: str, environment: str, instance: str) -> None:
        """Take note that an instance follows a value by a stream."""
        ...

    def closed(self, domain: DomainId, service: str, environment: str, instance: str) -> None:
        """Take note that one stream of it has ended."""
        ...
