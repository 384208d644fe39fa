"""What quotas ask of others: which limits apply, and whether a caller still is who it was.

Wired in `app`; tests bring their own small implementations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId


class Allowance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How much of something a tenant may have.

    Args:
        name: of the limit, such as "max_concurrent_requests".
        limit: None for no limit.
        period: "hour", "day" or "month" for what is counted up; empty for what is held.
        soft: whether use past the limit is only reported.
        source: what granted it.
        upgrade_to: the lowest plan that grants more; None when there is none.
    """

    name: str
    limit: int | None
    period: str = ""
    soft: bool = False
    source: str = ""
    upgrade_to: str | None = None


class Limits(Protocol):
    """The limits that apply to a tenant. What nothing names is denied."""

    def allowance(self, domain: DomainId, tier: str, name: str) -> Allowance | None:
        """Return the allowance of that name; None when nothing grants one."""
        ...

    def allowances(self, domain: DomainId, tier: str) -> tuple[Allowance, ...]:
        """Return every allowance of a tenant, in order of name."""
        ...

    def leases_max(self, domain: DomainId, tier: str) -> int:
        """Return how many leases a tenant may hold, whatever of."""
        ...


class Access(Protocol):
    """Whether a context that was proven earlier still holds."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it would be built now.

        Raises:
            HubError: when the credential was revoked or expired, or the tenant suspended.
        """
        ...


class Named(Protocol):
    """A tenant, as far as billing needs it."""

    @property
    def id(self) -> str:
        """Its id."""
        ...


class Tenants(Protocol):
    """The tenants there are (platform scope)."""

    def tenants_after(self, cursor: str, limit: int) -> Sequence[Named]:
        """Return up to `limit` tenants with an id after `cursor`, in order of id."""
        ...
