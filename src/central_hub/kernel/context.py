"""Who is calling and for whom: the principal, proven, and the tenant context built from it once.

A `TenantContext` is the only way to reach a tenant's data: every view query and every use case
takes it (or the domain it carries) first. It is immutable and made in one place, the tenants
feature's authentication.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId, TenantId
from central_hub.kernel.records import Actor

SCOPE_PLATFORM_ADMIN: Final = "platform:admin"
SCOPE_ASSERT: Final = "tenant:assert"


class PrincipalKind(StrEnum):
    """How the principal proved itself."""

    KEY = "key"
    GATEWAY = "gateway"
    BOOTSTRAP = "bootstrap"
    OPEN = "open"
    LEGACY = "legacy"
    ANONYMOUS = "anonymous"


class Principal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A proven caller: what it is, where it belongs and what it may do.

    `assertable` names the tenants it may speak for; None means any (open mode, platform
    gateways). `expires_at_ms` is checked on every request, 0 means never. `proof` tells the secrets
    of one key apart, so that what one of them opened ends with it. `environment` is the only one the credential
    speaks for ("production", "staging"); empty when it is bound to none.
    """

    id: str
    kind: PrincipalKind
    home: DomainId
    scopes: frozenset[str]
    assertable: frozenset[str] | None = frozenset()
    key_id: str = ""
    expires_at_ms: int = 0
    proof: bytes = b""
    environment: str = ""

    def holds(self, scope: str) -> bool:
        """Say whether the principal may do what `scope` names; `platform:admin` implies all."""
        return scope in self.scopes or (SCOPE_PLATFORM_ADMIN in self.scopes and self.home == PLATFORM)


class Act(StrEnum):
    """What a request does to a tenant; the tenant's state says which of them are possible."""

    READ = "read"
    DISCOVER = "discover"
    RENEW = "renew"
    WRITE = "write"
    GOVERN = "govern"
    """What the platform does about the tenant itself."""


ALL_ACTS: Final = frozenset(Act)


class TenantContext(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request's identity: who, for which tenant, at which tier.

    `domain` is the tenant's own domain, or `shared` for a caller without a tenant. `epoch`
    changes whenever what the tenant may see changes (tier, state). `acts` is what the tenant's
    state leaves possible for this caller.
    """

    principal: Principal
    tenant_id: TenantId | None
    tier: str
    rank: int
    epoch: int = 0
    user_id: str = ""
    correlation_id: str = ""
    caller_service: str = ""
    origin: str = ""
    state: str = ""
    acts: frozenset[Act] = ALL_ACTS

    @property
    def domain(self) -> DomainId:
        """The domain this caller's own objects live in."""
        return SHARED if self.tenant_id is None else DomainId(self.tenant_id)

    @property
    def legacy(self) -> bool:
        """Whether this is a caller of before tenants: shared services without requirements only."""
        return self.principal.kind is PrincipalKind.LEGACY

    @property
    def actor(self) -> Actor:
        """Who the log names as the author of what this context writes."""
        return Actor(
            principal=self.principal.id,
            kind=self.principal.kind.value,
            origin=self.origin,
            correlation=self.correlation_id,
        )

    def perform(self, act: Act) -> None:
        """Refuse what the tenant's state does not leave possible.

        Raises:
            HubError: `tenant_suspended`, `tenant_deleted` (403).
        """
        if act in self.acts:
            return
        if self.state == "deleted":
            raise HubError(
                "tenant_deleted",
                Kind.DENIED,
                "The tenant is deleted.",
                next_step="Ask the operator to restore it.",
            )
        raise HubError(
            "tenant_suspended",
            Kind.DENIED,
            "The tenant is suspended.",
            next_step="Ask the operator to resume it.",
        )

    def require(self, scope: str) -> None:
        """Refuse unless the principal holds `scope`.

        Raises:
            HubError: `scope_missing` (403).
        """
        if not self.principal.holds(scope):
            raise HubError(
                "scope_missing",
                Kind.DENIED,
                f"This credential does not hold the scope '{scope}'.",
                next_step=f"Use a key that was created with the scope '{scope}'.",
                fields={"required_scope": scope},
            )
