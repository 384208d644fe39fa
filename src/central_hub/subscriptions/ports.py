"""What subscriptions ask of others: who still may."""

from __future__ import annotations

from typing import Protocol

from central_hub.kernel.context import TenantContext


class Access(Protocol):
    """Whether a caller still is who it was (tenants.authentication)."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it is now, or refuse."""
        ...
