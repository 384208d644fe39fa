"""What HTTP adds to the model of tenants: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from central_hub.kernel.clock import TIME_MS_MAX, rfc3339
from central_hub.kernel.ids import NAME_PATTERN
from central_hub.tenants.audit import PAGE_MAX
from central_hub.tenants.model import (
    ALGORITHMS,
    ASSERTABLE_MAX,
    DEFAULT_SCOPES,
    GATEWAYS_MAX,
    LEGACY_CALLERS_MAX,
    NAME_LENGTH_MAX,
    NETWORKS_PER_CALLER_MAX,
    PLATFORM_SCOPES,
    PUBLIC_KEY_BYTES_MAX,
    ROTATION_GRACE_S,
    ROTATION_GRACE_S_MAX,
    SCOPES_PER_KEY_MAX,
    Gateway,
    Key,
    LegacyCaller,
    State,
    Tenant,
)
from central_hub.tenants.transfers import TenantDocument

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
TimeMs = Annotated[int, msgspec.Meta(ge=1, le=TIME_MS_MAX)]
Scope = Annotated[Word, msgspec.Meta(extra_json_schema={"enum": sorted(PLATFORM_SCOPES)})]
Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Page(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a collection is wanted."""

    limit: Limit = 100
    cursor: Cursor | None = None


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a trail is wanted: from a cursor, from the beginning, or with `latest` the last `limit` entries."""

    limit: Limit = 100
    cursor: Cursor | None = None
    latest: bool = False


class ChangeTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a tenant; when its trial ends only while it is on trial."""

    name: Title | None = None
    tier: Word | None = None
    trial_ends_at_ms: TimeMs | None = None


class MoveTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a tenant's state changes; kept in its trail."""

    reason: Annotated[str, msgspec.Meta(max_length=256)] = ""


class ShredTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tenant's id once more: what is shredded does not come back."""

    confirm: Word


class TenantAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as it is now; `seq` is the position of its last change."""

    id: str
    name: str
    tier: str
    status: str
    created_at: str
    seq: int
    namespace: str
    reason: str = ""
    suspended_reason: str = ""
    trial_ends_at: str | None = None


class TenantList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of tenants in order of id."""

    tenants: list[TenantAnswer]
    next_cursor: str | None = None


class CreateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to create; without scopes it may read and register. With an environment it speaks for that one only."""

    name: Title
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=SCOPES_PER_KEY_MAX)] = msgspec.field(
        default_factory=lambda: list(DEFAULT_SCOPES)
    )
    expires_at_ms: TimeMs | None = None
    assertable_tenants: Annotated[list[Name], msgspec.Meta(max_length=ASSERTABLE_MAX)] | None = None
    environment: Name | None = None


class CreateTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant to create, on trial or not, with its first key if that is wanted. A trial with an end becomes past due
    by itself; naming the end is enough to begin on trial."""

    id: Name
    name: Title
    tier: Word
    trial: bool = False
    trial_ends_at_ms: TimeMs | None = None
    first_key: CreateKey | None = None


class ImportTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant to make from a document, under its own id or another one, with a first key if that is wanted."""

    document: TenantDocument
    id: Name | None = None
    first_key: CreateKey | None = None


class RotateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the secret before stays valid, seconds."""

    grace_s: Annotated[int, msgspec.Meta(ge=0, le=ROTATION_GRACE_S_MAX)] = ROTATION_GRACE_S


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    key_id: str
    name: str
    scopes: list[str]
    created_at: str
    created_by: str
    expires_at: str | None
    rotating_until: str | None
    assertable_tenants: list[str] | None
    environment: str | None = None


class SecretAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its secret, which is shown once; empty, with a note, when the answer is a replay."""

    key_id: str
    api_key: str
    name: str
    scopes: list[str]
    expires_at: str | None
    note: str = ""


class CreatedTenant(TenantAnswer, frozen=True, kw_only=True):
    """A new tenant with its first key; one that was there already comes without."""

    key: SecretAnswer | None = None


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a domain's keys."""

    keys: list[KeyAnswer]
    next_cursor: str | None = None


class AddGateway(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A gateway that signs context tokens; `tenants` null means any tenant."""

    id: Name
    issuer: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    audience: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    algorithm: Annotated[Word, msgspec.Meta(extra_json_schema={"enum": sorted(ALGORITHMS)})]
    public_key: Annotated[str, msgspec.Meta(min_length=1, max_length=PUBLIC_KEY_BYTES_MAX)]
    tenants: Annotated[list[Name], msgspec.Meta(max_length=ASSERTABLE_MAX)] | None
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=SCOPES_PER_KEY_MAX)] = msgspec.field(
        default_factory=lambda: list(DEFAULT_SCOPES)
    )


class GatewayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway as it is known."""

    id: str
    issuer: str
    audience: str
    algorithm: str
    public_key: str
    tenants: list[str] | None
    scopes: list[str]
    created_at: str


class GatewayList(msgspec.Struct, frozen=True, kw_only=True):
    """Every gateway (there are at most a few hundred)."""

    gateways: Annotated[list[GatewayAnswer], msgspec.Meta(max_length=GATEWAYS_MAX)]
    next_cursor: str | None = None


class LegacyCallerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A caller of before tenants: its name, its networks (CIDR), and when its migration ends."""

    caller: Name
    networks: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=64)]],
        msgspec.Meta(min_length=1, max_length=NETWORKS_PER_CALLER_MAX),
    ]
    until_ms: TimeMs


class LegacyPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which callers of before tenants are served; none by default."""

    callers: Annotated[list[LegacyCallerBody], msgspec.Meta(max_length=LEGACY_CALLERS_MAX)]


class LegacyCallerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A legacy caller with how often it called since this hub started."""

    caller: str
    networks: list[str]
    until_ms: int
    until: str
    calls: int


class LegacyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The legacy policy in force."""

    callers: list[LegacyCallerAnswer]


class WhoAmI(msgspec.Struct, frozen=True, kw_only=True):
    """How the hub sees the caller."""

    principal: str
    kind: str
    tenant_id: str | None
    tier: str
    scopes: list[str]
    user_id: str
    may_assert: list[str] | None


def tenant_answer(tenant: Tenant) -> TenantAnswer:
    """Show a tenant."""
    on_trial = tenant.state is State.TRIAL
    return TenantAnswer(
        id=tenant.id,
        name=tenant.name,
        tier=tenant.tier,
        status=tenant.state.value,
        created_at=rfc3339(tenant.created_at_ms),
        seq=tenant.epoch,
        namespace=tenant.id,
        reason=tenant.reason,
        suspended_reason=tenant.reason if tenant.state is State.SUSPENDED else "",
        trial_ends_at=rfc3339(tenant.trial_until_ms) if on_trial and tenant.trial_until_ms else None,
    )


def key_answer(key: Key, now_ms: int) -> KeyAnswer:
    """Show a key without its secret."""
    return KeyAnswer(
        key_id=key.id,
        name=key.name,
        scopes=list(key.scopes),
        created_at=rfc3339(key.created_at_ms),
        created_by=key.created_by,
        expires_at=_time(key.expires_at_ms),
        rotating_until=_time(key.previous_until_ms) if key.previous_until_ms > now_ms else None,
        assertable_tenants=None if key.assertable is None else list(key.assertable),
        environment=key.environment or None,
    )


def secret_answer(key: Key, secret: str, note: str) -> SecretAnswer:
    """Show a key with its secret."""
    return SecretAnswer(
        key_id=key.id,
        api_key=secret,
        name=key.name,
        scopes=list(key.scopes),
        expires_at=_time(key.expires_at_ms),
        note=note,
    )


def gateway_answer(gateway: Gateway) -> GatewayAnswer:
    """Show a gateway."""
    return GatewayAnswer(
        id=gateway.id,
        issuer=gateway.issuer,
        audience=gateway.audience,
        algorithm=gateway.algorithm,
        public_key=gateway.public_key,
        tenants=None if gateway.tenants is None else list(gateway.tenants),
        scopes=list(gateway.scopes),
        created_at=rfc3339(gateway.created_at_ms),
    )


def legacy_answer(caller: LegacyCaller, calls: int) -> LegacyCallerAnswer:
    """Show a legacy caller with its count."""
    return LegacyCallerAnswer(
        caller=caller.caller,
        networks=list(caller.networks),
        until_ms=caller.until_ms,
        until=rfc3339(caller.until_ms),
        calls=calls,
    )


def _time(at_ms: int) -> str | None:
    return rfc3339(at_ms) if at_ms else None
