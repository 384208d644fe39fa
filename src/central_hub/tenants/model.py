"""What is remembered of tenants: the facts, the state they fold into, stream names and limits. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId

TENANTS_MAX: Final = 1_000_000
KEYS_PER_DOMAIN_MAX: Final = 1_000
GATEWAYS_MAX: Final = 256
LEGACY_CALLERS_MAX: Final = 256
NETWORKS_PER_CALLER_MAX: Final = 16
NAME_LENGTH_MAX: Final = 128
SCOPES_PER_KEY_MAX: Final = 32
ASSERTABLE_MAX: Final = 1_000
ROTATION_GRACE_S_MAX: Final = 7 * 86_400
ROTATION_GRACE_S: Final = 86_400
PUBLIC_KEY_BYTES_MAX: Final = 4_096
ALGORITHMS: Final = frozenset({"EdDSA", "ES256", "RS256", "PS256"})
"""What a gateway may sign with; nothing symmetric."""

TENANT_STREAM: Final = "tenant"
SHREDDED_STREAM: Final = "shredded"
COUNT_KEYS: Final = "count/keys"
LEGACY_STREAM: Final = "legacy"
GATEWAYS_STREAM: Final = "gateways"

SCOPE_TENANTS_ADMIN: Final = "tenants:admin"

TENANT_SCOPES: Final = frozenset(
    {
        "registry:read",
        "registry:write",
        "registry:admin",
        "health:read",
        "breakers:read",
        "breakers:write",
        "config:read",
        "config:write",
        "keys:admin",
        "audit:read",
        "flags:read",
        "flags:write",
        "quota:read",
        "quota:write",
        "quota:admin",
        "events:read",
        "events:write",
        "events:admin",
        "secret:list",
        "secret:read",
        "secret:write",
        "webhooks:read",
        "webhooks:admin",
        "subscriptions:read",
        "subscriptions:admin",
        "subscriptions:consume",
        "routing:write",
    }
)
"""What a key of a tenant may hold."""

GRANTED_SCOPES: Final = frozenset({"registry:shared", "metrics:read"})
"""What only the platform may grant, to its own keys or to a tenant's."""

PLATFORM_SCOPES: Final = (
    TENANT_SCOPES
    | GRANTED_SCOPES
    | {
        "platform:admin",
        "tenants:admin",
        "plans:admin",
        "gateways:admin",
        "tenant:assert",
        "flags:admin",
        "config:admin",
        "secret:admin",
        "relays:read",
        "relays:admin",
    }
)
"""What a key of the platform may hold."""

GATEWAY_SCOPES: Final = TENANT_SCOPES | GRANTED_SCOPES
"""What a gateway may do for a tenant: whatever a tenant's key may, nothing of the platform's."""

DEFAULT_SCOPES: Final = (
    "registry:read",
    "registry:write",
    "health:read",
    "breakers:read",
    "breakers:write",
    "config:read",
    "flags:read",
    "quota:read",
    "quota:write",
    "events:read",
    "events:write",
    "subscriptions:read",
    "subscriptions:admin",
    "subscriptions:consume",
    "routing:write",
)


class State(StrEnum):
    """Where a tenant stands in its life; `shredded` is no state but the end of the record."""

    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class Tenant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A customer: its tier, its state and why it is in it.

    `epoch` is the position of the last change of what it may see; streams carry it. `trial_until_ms` is the wall time
    at which a trial ends by itself, 0 for one without an end.
    """

    id: str
    name: str
    tier: str
    created_at_ms: int
    state: State = State.ACTIVE
    reason: str = ""
    epoch: int = 0
    trial_until_ms: int = 0


class Key(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An API key: what it may do, and the digests of its one or two live secrets, never a secret."""

    id: str
    domain: DomainId
    name: str
    scopes: tuple[str, ...]
    digest: bytes
    created_at_ms: int
    created_by: str
    expires_at_ms: int = 0
    previous_digest: bytes = b""
    previous_until_ms: int = 0
    assertable: tuple[str, ...] | None = ()
    environment: str = ""


class Gateway(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who may assert tenants with signed context tokens: an issuer, its public key, and which tenants.

    `tenants` is None for any tenant.
    """

    id: str
    issuer: str
    audience: str
    algorithm: str
    public_key: str
    tenants: tuple[str, ...] | None
    scopes: tuple[str, ...]
    created_at_ms: int


class LegacyCaller(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """A caller of before tenants, known by its network, until a date."""

    caller: str
    networks: tuple[str, ...]
    until_ms: int


class TenantCreated(Fact, frozen=True, kw_only=True):
    """A tenant exists from now on."""

    tenant_id: str
    name: str
    tier: str
    state: State = State.ACTIVE
    reason: str = ""
    trial_until_ms: int = 0


class TenantChanged(Fact, frozen=True, kw_only=True):
    """A tenant has another name or tier."""

    name: str
    tier: str
    previous_tier: str


class TenantSuspended(Fact, frozen=True, kw_only=True):
    """A tenant's callers are refused from now on."""

    reason: str = ""


class TenantStateChanged(Fact, frozen=True, kw_only=True):
    """A tenant is in another state; suspending and resuming have facts of their own."""

    state: State
    previous_state: State
    reason: str = ""


class TenantTrialExtended(Fact, frozen=True, kw_only=True):
    """A tenant's trial ends at another time."""

    trial_until_ms: int


class TenantShredded(Fact, frozen=True, kw_only=True):
    """A deleted tenant ended for good; told by the platform, since nothing of the tenant's can be read any more."""

    tenant_id: str


class TenantResumed(Fact, frozen=True, kw_only=True):
    """A tenant's callers are served again."""


class KeyCreated(Fact, frozen=True, kw_only=True):
    """A key is valid from now on."""

    key: Key


class KeyRotated(Fact, frozen=True, kw_only=True):
    """A key has a new secret; the one before stays valid for a while."""

    key_id: str
    digest: bytes
    previous_until_ms: int


class KeyRevoked(Fact, frozen=True, kw_only=True):
    """A key is refused from now on."""

    key_id: str


class GatewayAdded(Fact, frozen=True, kw_only=True):
    """A gateway may assert tenants from now on."""

    gateway: Gateway


class GatewayRemoved(Fact, frozen=True, kw_only=True):
    """A gateway's tokens are refused from now on."""

    gateway_id: str


class LegacyPolicySet(Fact, frozen=True, kw_only=True):
    """Which callers of before tenants are served, and until when."""

    callers: tuple[LegacyCaller, ...]


class AccessDenied(Fact, frozen=True, kw_only=True):
    """Requests of one caller were refused for one reason within one minute (audit)."""

    code: str
    operation: str
    caller: str
    network: str
    minute_ms: int
    count: int


VIEW_FACTS: Final[tuple[type[Fact], ...]] = (
    TenantCreated,
    TenantChanged,
    TenantSuspended,
    TenantResumed,
    TenantStateChanged,
    TenantTrialExtended,
    TenantShredded,
    KeyCreated,
    KeyRotated,
    KeyRevoked,
    GatewayAdded,
    GatewayRemoved,
    LegacyPolicySet,
)
FACTS: Final[tuple[type[Fact], ...]] = (*VIEW_FACTS, AccessDenied)


def key_stream(key_id: str) -> str:
    """Name the aggregate of one key."""
    return f"key/{key_id}"
