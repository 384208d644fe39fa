"""What shared verdicts ask of others: where a service lives, what a plan says, and whether a caller still may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId


class Services(Protocol):
    """What callers see under a name."""

    def home_of(self, ctx: TenantContext, name: str) -> DomainId | None:
        """Return the domain of the service that a caller means; None when there is none for it."""
        ...

    def require(self, ctx: TenantContext, name: str) -> DomainId:
        """Return the same, or refuse.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403).
        """
        ...


class Plans(Protocol):
    """What plans say about breakers."""

    def words(self, domain: DomainId, tier: str) -> Mapping[str, object]:
        """Return a tenant's values of the features that `tiers.FEATURES` names."""
        ...


class Access(Protocol):
    """Whether a caller may still do what it could when its stream was opened."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it would be built now; the same object when nothing changed.

        Raises:
            HubError: when the credential was revoked or expired, or the tenant suspended.
        """
        ...
