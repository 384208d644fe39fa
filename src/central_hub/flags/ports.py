"""What flags ask of others: tiers and tenants by name, entitlements, and whether a caller still may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.plans.ports import Entitlement


class Features(Protocol):
    """Boolean entitlements, by name."""

    def names(self) -> Sequence[str]:
        """Return every boolean feature there is, in order."""
        ...

    def ask(self, domain: DomainId, tier: str, feature: str) -> Entitlement:
        """Answer for one tenant at its tier; an unknown tier or feature is denied."""
        ...


class KnownNames(Protocol):
    """Which tiers and tenants there are, for rules that name them."""

    def tier_names(self) -> Sequence[str]:
        """Return the tiers."""
        ...

    def is_tenant(self, tenant_id: str) -> bool:
        """Say whether there is such a tenant."""
        ...


class Access(Protocol):
    """Whether a caller may still do what it could when its stream was opened."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it would be built now.

        Raises:
            HubError: `invalid_credential` (401), `tenant_suspended` (403).
        """
        ...
