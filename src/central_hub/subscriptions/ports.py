"""What subscriptions ask of others: whether a tenant is there, and who still may."""

from __future__ import annotations

from typing import Protocol

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId


class Customers(Protocol):
    """Which domains there are to be told anything."""

    def is_told(self, domain: DomainId) -> bool:
        """Say whether a tenant exists and is not deleted; the platform always is."""
        ...


class Access(Protocol):
    """Whether a caller still is who it was (tenants.authentication)."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it is now, or refuse."""
        ...
