"""Commands about tenants, keys, gateways and the legacy policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Final

import msgspec

from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId, check_name
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.tenants.model import (
    COUNT_KEYS,
    GATEWAY_SCOPES,
    GATEWAYS_MAX,
    GATEWAYS_STREAM,
    KEYS_PER_DOMAIN_MAX,
    LEGACY_STREAM,
    TENANT_STREAM,
    TENANTS_MAX,
    Gateway,
    GatewayAdded,
    GatewayRemoved,
    Key,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    LegacyCaller,
    LegacyPolicySet,
    State,
    Tenant,
    TenantChanged,
    TenantCreated,
    TenantTrialExtended,
    key_stream,
)
from central_hub.tenants.ports import Provision, Tiers
from central_hub.tenants.rules import (
    check_assertable,
    check_environment,
    check_expiry,
    check_gateway,
    check_legacy,
    check_scopes,
    grantable,
)
from central_hub.tenants.secrets import (
    KEY_ID_RANDOM_BYTES,
    SECRET_RANDOM_BYTES,
    digest_of,
    format_key,
    mint_key_id,
    mint_secret,
)
from central_hub.tenants.states import check_on_trial
from central_hub.tenants.tiers import unknown_tier
from central_hub.tenants.view import TenantsView

_LIVING: Final = frozenset({State.TRIAL, State.ACTIVE, State.PAST_DUE})

UNBOUND: Final = "*"
"""Stands for any environment where a bound credential wants to renew an unbound key's secret."""

SECRET_SHOWN_ONCE: Final = "shown once; rotate the key to get a new one"  # noqa: S105  # a sentence


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a key."""

    name: str
    scopes: tuple[str, ...]
    expires_at_ms: int | None = None
    assertable_tenants: tuple[str, ...] | None = None
    environment: str = ""


class NewTenant(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a tenant; one that is not provisioned begins with nothing but its record and its first key."""

    id: str
    name: str
    tier: str
    state: State = State.ACTIVE
    reason: str = ""
    trial_until_ms: int | None = None
    first_key: NewKey | None = None
    provisioned: bool = True


class MintedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key and its secret; `secret` is empty when the answer is the replay of an earlier one."""

    key_id: str
    secret: str


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant and, when one was wanted and the tenant is new, its first key."""

    tenant: Tenant
    key: MintedKey | None


class _There(HubError):
    """The tenant has been made before, just as it is wanted."""

    def __init__(self) -> None:
        super().__init__("tenant_exists", Kind.CONFLICT, "The tenant is there.")


class Tenants:
    """Creates and changes tenants, and what lets their callers in.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        tiers: what tiers there are.
        pepper: under which secrets are digested.
        reserved: words that cannot name a tenant.
        administered: called when the platform has an administrator's key of its own.
        provisions: what else a new tenant begins with.
    """

    def __init__(
        self,
        view: TenantsView,
        sequencer: Sequencer,
        tiers: Tiers,
        pepper: bytes,
        *,
        reserved: Set[str],
        administered: Callable[[], None],
        provisions: Sequence[Provision] = (),
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._tiers = tiers
        self._pepper = pepper
        self._reserved = reserved
        self._administered = administered
        self._provisions = provisions

    async def create(self, ctx: TenantContext, wanted: NewTenant, *, key: str | None = None) -> Created:
        """Create a tenant with its namespace, its first configuration and, if wanted, its first key, in one step.

        A tenant that is there already with the same name and tier is returned as it is, without a key.

        Raises:
            HubError: `invalid_name`, `reserved_name`, `unknown_tier`, `invalid_expiry` (422), `tenant_exists` (409), or
                as `create_key`.
        """
        domain = DomainId(check_name(wanted.id, "tenant", reserved=self._reserved))
        self._check_tier(wanted.tier)
        if wanted.id in self._view.shredded:
            raise _exists(wanted.id)
        first = None if wanted.first_key is None else self._checked(ctx, domain, wanted.first_key)
        secrets: list[str] = []

        def decide(tx: Tx) -> str:
            tx.touch(domain, TENANT_STREAM)
            if self._is_there(domain, wanted):
                raise _There  # under an idempotency key the first answer is looked for, then this one is as good
            if wanted.state is State.TRIAL:
                check_expiry(wanted.trial_until_ms, tx.now_ms, what="trial")
            if self._view.count_tenants() >= TENANTS_MAX:
                raise _limit("tenants", TENANTS_MAX)
            fact = TenantCreated(
                tenant_id=wanted.id,
                name=wanted.name,
                tier=wanted.tier,
                state=wanted.state,
                reason=wanted.reason,
                trial_until_ms=wanted.trial_until_ms or 0,
            )
            tx.append(domain, fact, streams=(TENANT_STREAM,))
            for provision in self._provisions if wanted.provisioned else ():
                provision.provision(tx, domain, wanted.tier)
            return "" if first is None else self._mint(ctx, tx, domain, first, secrets)

        try:
            committed = await self._sequencer.submit(
                ctx.actor, (domain,), decide, idempotency=_idempotency(ctx, domain, "create_tenant", key)
            )
        except _There:
            return Created(tenant=self._get(domain), key=None)
        minted = None
        if committed.answer:
            minted = MintedKey(key_id=committed.answer, secret="" if committed.replayed else secrets[0])
        return Created(tenant=self._get(domain), key=minted)

    async def change(
        self,
        ctx: TenantContext,
        tenant_id: str,
        *,
        name: str | None,
        tier: str | None,
        trial_until_ms: int | None = None,
    ) -> Tenant:
        """Change a tenant's name or tier, or when its trial ends; what is the same already writes nothing.

        Raises:
            HubError: `tenant_not_found` (404), `unknown_tier`, `invalid_expiry` (422), `wrong_state` (409).
        """
        domain = DomainId(tenant_id)
        if tier is not None:
            self._check_tier(tier)

        def decide(tx: Tx) -> None:
            tx.touch(domain, TENANT_STREAM)
            before = self._get(domain)
            fact = TenantChanged(name=name or before.name, tier=tier or before.tier, previous_tier=before.tier)
            if (fact.name, fact.tier) != (before.name, before.tier):
                tx.append(domain, fact, streams=(TENANT_STREAM,))
            if trial_until_ms not in (None, before.trial_until_ms):
                check_on_trial(before.state)
                extended = TenantTrialExtended(trial_until_ms=check_expiry(trial_until_ms, tx.now_ms, what="trial"))
                tx.append(domain, extended, streams=(TENANT_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        return self._get(domain)

    def get(self, tenant_id: str) -> Tenant:
        """Return a tenant.

        Raises:
            HubError: `tenant_not_found` (404).
        """
        return self._get(DomainId(tenant_id))

    async def create_key(
        self, ctx: TenantContext, domain: DomainId, wanted: NewKey, *, key: str | None = None
    ) -> MintedKey:
        """Create a key for a tenant, or for the platform itself.

        Raises:
            HubError: `tenant_not_found` (404), `unknown_scope`, `invalid_expiry`,
                `invalid_assertable_tenants` (422), `scope_not_grantable`, `environment_not_grantable` (403),
                `limit_reached` (429).
        """
        checked = self._checked(ctx, domain, wanted)
        secrets: list[str] = []

        def decide(tx: Tx) -> str:
            if domain != PLATFORM:
                tx.touch(domain, TENANT_STREAM)
                self._get(domain)
            return self._mint(ctx, tx, domain, checked, secrets)

        committed = await self._sequencer.submit(
            ctx.actor, (domain,), decide, idempotency=_idempotency(ctx, domain, "create_key", key)
        )
        if domain == PLATFORM and SCOPE_PLATFORM_ADMIN in checked.scopes:
            self._administered()
        return MintedKey(key_id=committed.answer, secret="" if committed.replayed else secrets[0])

    async def rotate_key(
        self, ctx: TenantContext, domain: DomainId, key_id: str, *, grace_s: int, key: str | None = None
    ) -> MintedKey:
        """Give a key a new secret; the one before stays valid for `grace_s` seconds.

        Raises:
            HubError: `key_not_found` (404), `scope_not_grantable`, `environment_not_grantable` (403).
        """
        secrets: list[str] = []

        def decide(tx: Tx) -> None:
            tx.touch(domain, key_stream(key_id))
            found = self.get_key(domain, key_id)
            check_scopes(found.scopes, known=grantable(domain), granter=ctx.principal)
            check_environment(found.environment or UNBOUND, ctx.principal)
            secret = mint_secret(tx.random(SECRET_RANDOM_BYTES))
            secrets[:] = [format_key(key_id, secret)]
            fact = KeyRotated(
                key_id=key_id,
                digest=digest_of(self._pepper, secret),
                previous_until_ms=tx.now_ms + grace_s * 1_000,
            )
            tx.append(domain, fact, streams=(key_stream(key_id),))

        committed = await self._sequencer.submit(
            ctx.actor, (domain,), decide, idempotency=_idempotency(ctx, domain, f"rotate_key/{key_id}", key)
        )
        return MintedKey(key_id=key_id, secret="" if committed.replayed else secrets[0])

    async def revoke_key(self, ctx: TenantContext, domain: DomainId, key_id: str) -> None:
        """Refuse a key from now on; one that is not there is already refused."""

        def decide(tx: Tx) -> None:
            tx.touch(domain, key_stream(key_id))
            if self._view.key(domain, key_id) is not None:
                tx.append(domain, KeyRevoked(key_id=key_id), streams=(key_stream(key_id),), counts={COUNT_KEYS: -1})

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    def get_key(self, domain: DomainId, key_id: str) -> Key:
        """Return a key of a domain.

        Raises:
            HubError: `key_not_found` (404), for another domain's too.
        """
        found = self._view.key(domain, key_id)
        if found is None:
            raise HubError(
                "key_not_found", Kind.NOT_FOUND, "There is no such key.", next_step="List the keys to see their ids."
            )
        return found

    async def add_gateway(self, ctx: TenantContext, gateway: Gateway) -> Gateway:
        """Let a gateway assert tenants with signed context tokens; adding the same again replaces it.

        Raises:
            HubError: `invalid_name`, `invalid_gateway`, `unknown_scope`, `invalid_assertable_tenants` (422),
                `gateway_exists` (409) when another gateway signs as that issuer.
        """
        check_name(gateway.id, "gateway")
        check_gateway(gateway.algorithm, gateway.public_key)
        scopes = check_scopes(gateway.scopes, known=GATEWAY_SCOPES, granter=ctx.principal)

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, GATEWAYS_STREAM)
            same_issuer = self._view.gateway_of_issuer(gateway.issuer)
            if same_issuer is not None and same_issuer.id != gateway.id:
                raise HubError(
                    "gateway_exists",
                    Kind.CONFLICT,
                    "Another gateway signs as that issuer.",
                    next_step="Give each gateway an issuer of its own.",
                )
            before = self._view.gateway(gateway.id)
            if before is None and len(self._view.gateways()) >= GATEWAYS_MAX:
                raise _limit("gateways", GATEWAYS_MAX)
            if before is not None:
                tx.append(PLATFORM, GatewayRemoved(gateway_id=gateway.id), streams=(GATEWAYS_STREAM,))
            added = msgspec.structs.replace(gateway, scopes=scopes, created_at_ms=tx.now_ms)
            tx.append(PLATFORM, GatewayAdded(gateway=added), streams=(GATEWAYS_STREAM,))

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)
        added = self._view.gateway(gateway.id)
        assert added is not None
        return added

    async def remove_gateway(self, ctx: TenantContext, gateway_id: str) -> None:
        """Refuse a gateway's tokens from now on; one that is not there is already refused."""

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, GATEWAYS_STREAM)
            if self._view.gateway(gateway_id) is not None:
                tx.append(PLATFORM, GatewayRemoved(gateway_id=gateway_id), streams=(GATEWAYS_STREAM,))

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)

    async def set_legacy(self, ctx: TenantContext, callers: Sequence[LegacyCaller]) -> tuple[LegacyCaller, ...]:
        """Say which callers of before tenants are served, and until when; none is the default.

        Raises:
            HubError: `invalid_legacy_policy` (422).
        """

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, LEGACY_STREAM)
            checked = check_legacy(callers, tx.now_ms)
            if checked != self._view.legacy_callers():
                tx.append(PLATFORM, LegacyPolicySet(callers=checked), streams=(LEGACY_STREAM,))

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)
        return self._view.legacy_callers()

    def _checked(self, ctx: TenantContext, domain: DomainId, wanted: NewKey) -> NewKey:
        """Return a wanted key with what may be granted of it."""
        scopes = check_scopes(wanted.scopes, known=grantable(domain), granter=ctx.principal)
        return msgspec.structs.replace(
            wanted,
            scopes=scopes,
            assertable_tenants=check_assertable(wanted.assertable_tenants, scopes, domain),
            environment=check_environment(wanted.environment, ctx.principal),
        )

    def _mint(self, ctx: TenantContext, tx: Tx, domain: DomainId, checked: NewKey, secrets: list[str]) -> str:
        """Propose a key; returns its id and leaves its secret in `secrets`, alone."""
        if len(self._view.keys(domain)) + tx.pending(domain, COUNT_KEYS) >= KEYS_PER_DOMAIN_MAX:
            raise _limit("keys", KEYS_PER_DOMAIN_MAX)
        key_id = mint_key_id(tx.random(KEY_ID_RANDOM_BYTES))
        secret = mint_secret(tx.random(SECRET_RANDOM_BYTES))
        secrets[:] = [format_key(key_id, secret)]
        key = Key(
            id=key_id,
            domain=domain,
            name=checked.name,
            scopes=checked.scopes,
            digest=digest_of(self._pepper, secret),
            created_at_ms=tx.now_ms,
            created_by=ctx.principal.id,
            expires_at_ms=check_expiry(checked.expires_at_ms, tx.now_ms),
            assertable=checked.assertable_tenants,
            environment=checked.environment,
        )
        tx.append(domain, KeyCreated(key=key), streams=(key_stream(key_id),), counts={COUNT_KEYS: 1})
        return key_id

    def _is_there(self, domain: DomainId, wanted: NewTenant) -> bool:
        """Say whether the tenant has been made before; another one under its id is a conflict."""
        found = self._view.tenant(domain)
        if found is None:
            return False
        as_wanted = (found.state, found.reason) == (wanted.state, wanted.reason) or found.state in _LIVING
        if (found.name, found.tier) == (wanted.name, wanted.tier) and as_wanted:
            return True
        raise _exists(wanted.id)

    def _check_tier(self, tier: str) -> None:
        if self._tiers.rank_of(tier) is None:
            raise unknown_tier(tier, self._tiers)

    def _get(self, domain: DomainId) -> Tenant:
        found = self._view.tenant(domain)
        if found is None:
            raise tenant_missing()
        return found


def tenant_missing() -> HubError:
    """Return the refusal for a tenant that does not exist."""
    return HubError(
        "tenant_not_found",
        Kind.NOT_FOUND,
        "There is no such tenant.",
        next_step="Check the tenant id; a key sees its own tenant only.",
    )


def _exists(tenant_id: str) -> HubError:
    return HubError(
        "tenant_exists",
        Kind.CONFLICT,
        f"There is a tenant '{tenant_id}' already, or there was one.",
        next_step="Choose another id, or change the one that is there.",
    )


def _limit(what: str, limit: int) -> HubError:
    return HubError(
        "limit_reached",
        Kind.LIMIT,
        f"There are {limit} {what} already, which is the limit.",
        next_step=f"Remove {what} that are not needed.",
        retry_after_s=60,
        fields={"limit": limit},
    )


def _idempotency(ctx: TenantContext, domain: DomainId, operation: str, key: str | None) -> Idempotency | None:
    return None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"{operation}/{key}")
