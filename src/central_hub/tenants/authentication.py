"""From credential and claims to a `TenantContext`: the only place where one is made.

Headers are claims. A tenant's key speaks for its tenant; a gateway for the tenants its entry
names; the platform's administrators for any. The hub's own record decides the tier. In open
mode, which exists on loopback only, claims are taken as given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from central_hub.edge import guard
from central_hub.edge.authenticate import CallerRefused
from central_hub.edge.guard import Claims
from central_hub.edge.operations import Headers
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import (
    SCOPE_PLATFORM_ADMIN,
    Act,
    Principal,
    PrincipalKind,
    TenantContext,
)
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId, TenantId, is_name
from central_hub.tenants.model import (
    GRANTED_SCOPES,
    PLATFORM_SCOPES,
    TENANT_SCOPES,
    Key,
    State,
    Tenant,
)
from central_hub.tenants.ports import Tiers
from central_hub.tenants.principals import acts_of, operates, principal_of, principals_of
from central_hub.tenants.secrets import BOOTSTRAP_PREFIX, digest_of, parse_key, same
from central_hub.tenants.tiers import DEFAULT_TIER, unknown_tier
from central_hub.tenants.tokens import TokenVerifier
from central_hub.tenants.view import TenantsView

BOOTSTRAP_LIFETIME_MS: Final = 3_600_000
COUNTED_CALLERS_MAX: Final = 10_000
RANK_OF_NOBODY: Final = 0
PROVEN_MAX: Final = 8_192
"""Credentials whose proof is remembered; one more and all are proven again."""

_READS: Final = frozenset({"GET", "HEAD"})
_OPEN_SCOPES: Final = TENANT_SCOPES | GRANTED_SCOPES
_ANONYMOUS: Final = Principal(
    id="anonymous", kind=PrincipalKind.ANONYMOUS, home=DomainId(""), scopes=frozenset(), assertable=frozenset()
)
_OPEN_PLATFORM: Final = Principal(
    id="open", kind=PrincipalKind.OPEN, home=PLATFORM, scopes=_OPEN_SCOPES | PLATFORM_SCOPES, assertable=None
)


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """The first hour's credential: what is kept of it, and when it ends on the monotonic clock."""

    digest: bytes
    until_monotonic_ms: float


class Authentication:
    """Implements the edge's `Authenticate` and the registry's `Access`.

    Args:
        view: tenants, keys and gateways.
        tiers: what tiers there are.
        clock: wall time for expiry, monotonic time for the bootstrap token.
        pepper: under which secrets are digested.
        open_mode: take claims as given (loopback only; settings ensure it).
    """

    def __init__(
        self,
        view: TenantsView,
        tiers: Tiers,
        clock: Clock,
        pepper: bytes,
        *,
        open_mode: bool = False,
    ) -> None:
        self._view = view
        self._tiers = tiers
        self._clock = clock
        self._pepper = pepper
        self._open = open_mode
        self._bootstrap: Bootstrap | None = None
        self._tokens = TokenVerifier(view)
        self._proven: dict[str, tuple[Key, Principal]] = {}
        self._standing: dict[tuple[str, bytes], tuple[Key, Principal]] = {}
        self.tier_claims_differing = 0
        self.legacy_calls: Counter[str] = Counter()

    def authenticate(self, headers: Headers, claims: Claims, *, origin: str, method: str) -> TenantContext:
        """Prove the caller and build its context; see the port."""
        if self._open:
            guard.check_open(headers.raw, method=method)
        presented = _presented(headers)
        token = headers.get("txn-token")
        if presented is not None and token is not None:
            raise _invalid_credential("two credentials are given")
        if token is not None:
            return self._from_token(token, claims, origin=origin, command=method not in _READS)
        if presented is not None:
            return self._context(self._from_key(presented), claims, claims.tenant_id, origin)
        if self._open:
            return self._context(self._open_principal(claims.tenant_id), claims, claims.tenant_id, origin)
        return self._without_credential(claims, origin)

    def assume(self, ctx: TenantContext, tenant_id: str) -> TenantContext:
        """Rebuild the context for a tenant claimed in a query, body or path; see the port."""
        principal = ctx.principal
        claims = Claims(
            tenant_id=tenant_id,
            user_id=ctx.user_id or None,
            tier=ctx.tier if principal.kind is PrincipalKind.OPEN and ctx.tier else None,
            correlation_id=ctx.correlation_id or None,
            service_name=ctx.caller_service or None,
        )
        return self._placed(principal, claims, tenant_id, ctx.origin)

    def may_assert(self, ctx: TenantContext, tenant_id: str) -> bool:
        """Say whether the principal may speak for that tenant."""
        principal = ctx.principal
        return principal.home == tenant_id or principal.assertable is None or tenant_id in principal.assertable

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it would be built now; the same object when nothing changed.

        Raises:
            HubError: `invalid_credential` (401) when the credential is revoked or expired,
                `tenant_suspended`, `tenant_deleted` (403).
        """
        principal = self._current_principal(ctx.principal)
        record = None if ctx.tenant_id is None else self._known_to(principal, DomainId(ctx.tenant_id))
        if (
            principal.kind in (PrincipalKind.KEY, PrincipalKind.GATEWAY)
            and ctx.tenant_id is not None
            and record is None
        ):
            raise tenant_mismatch()
        tier, epoch, acts = ctx.tier if record is None else record.tier, self._epoch(record), acts_of(principal, record)
        if principal == ctx.principal and tier == ctx.tier and epoch == ctx.epoch and acts == ctx.acts:
            now = ctx
        else:
            now = msgspec.structs.replace(
                ctx,
                principal=principal,
                tier=tier,
                rank=self._rank(tier) if tier else min(ctx.rank, 1) * self._tiers.highest_rank,
                epoch=epoch,
                state="" if record is None else record.state.value,
                acts=acts,
            )
        now.perform(Act.DISCOVER)
        return now

    def begin_bootstrap(self, token: str) -> None:
        """Take the first hour's credential from now on."""
        until = self._clock.monotonic_ms() + BOOTSTRAP_LIFETIME_MS
        self._bootstrap = Bootstrap(digest=digest_of(self._pepper, token), until_monotonic_ms=until)

    def end_bootstrap(self) -> None:
        """Refuse the bootstrap token from now on; the first platform key replaces it."""
        self._bootstrap = None

    def _from_token(self, token: str, claims: Claims, *, origin: str, command: bool) -> TenantContext:
        said = self._tokens.verify(token, now_ms=self._clock.now_ms(), command=command)
        gateway = said.gateway
        principal = Principal(
            id=f"gateway:{gateway.id}",
            kind=PrincipalKind.GATEWAY,
            home=PLATFORM,
            scopes=frozenset(gateway.scopes),
            assertable=None if gateway.tenants is None else frozenset(gateway.tenants),
            key_id=gateway.id,
            expires_at_ms=said.expires_at_ms,
        )
        if claims.tenant_id is not None and claims.tenant_id != said.tenant_id:
            raise tenant_mismatch()
        # What the token says of user and tier is what counts, and a tier is only ever compared.
        claims = msgspec.structs.replace(claims, user_id=said.subject, tier=said.tier or claims.tier)
        return self._context(principal, claims, said.tenant_id, origin)

    def _from_key(self, presented: str) -> Principal:
        """Return who a key proves; what was proven stands until the key changes or its time ends."""
        known = self._proven.get(presented)
        if known is not None:
            key, principal = known
            ends_ms = principal.expires_at_ms
            if self._view.credential(key.id) is key and (not ends_ms or self._clock.now_ms() < ends_ms):
                return principal
            del self._proven[presented]
        return self._prove(presented)

    def _prove(self, presented: str) -> Principal:
        if presented.startswith(BOOTSTRAP_PREFIX):
            return self._from_bootstrap(digest_of(self._pepper, presented))
        parsed = parse_key(presented)
        if parsed is None:
            raise _invalid_credential("it is not a key of this hub")
        key_id, secret = parsed
        digest = digest_of(self._pepper, secret)
        key = self._view.credential(key_id)
        now_ms = self._clock.now_ms()
        # The same work whether or not the key exists.
        known = same(digest, key.digest if key is not None else bytes(len(digest)))
        rotating = key is not None and key.previous_digest != b"" and now_ms < key.previous_until_ms
        if key is None or not (known or (rotating and same(digest, key.previous_digest))):
            raise _invalid_credential("it is not a key of this hub")
        if key.expires_at_ms and now_ms >= key.expires_at_ms:
            raise _invalid_credential("it has expired")
        principal = principal_of(key, digest)
        if len(self._proven) >= PROVEN_MAX:
            self._proven.clear()
        self._proven[presented] = (key, principal)
        return principal

    def _from_bootstrap(self, digest: bytes) -> Principal:
        bootstrap = self._bootstrap
        alive = bootstrap is not None and self._clock.monotonic_ms() < bootstrap.until_monotonic_ms
        if bootstrap is None or not alive or not same(digest, bootstrap.digest):
            raise _invalid_credential("it is not a key of this hub")
        return Principal(
            id="bootstrap",
            kind=PrincipalKind.BOOTSTRAP,
            home=PLATFORM,
            scopes=frozenset({SCOPE_PLATFORM_ADMIN}),
            assertable=None,
        )

    def _open_principal(self, tenant_id: str | None) -> Principal:
        if tenant_id is None:
            return _OPEN_PLATFORM
        return Principal(
            id="open",
            kind=PrincipalKind.OPEN,
            home=DomainId(tenant_id),
            scopes=_OPEN_SCOPES,
            assertable=None,
        )

    def _context(self, principal: Principal, claims: Claims, tenant_id: str | None, origin: str) -> TenantContext:
        try:
            return self._placed(principal, claims, tenant_id, origin)
        except HubError as error:
            if principal.kind is PrincipalKind.OPEN:  # nothing about it is proven, its home neither
                raise
            raise CallerRefused(error, _at_home(principal, claims, origin)) from None

    def _placed(self, principal: Principal, claims: Claims, tenant_id: str | None, origin: str) -> TenantContext:
        if tenant_id is None and principal.home != PLATFORM:
            tenant_id = principal.home
        if tenant_id is None:
            return self._tenantless(principal, claims, origin)
        named = principal.home == tenant_id or principal.assertable is None or tenant_id in principal.assertable
        if not named:
            raise tenant_mismatch()
        record = self._known_to(principal, DomainId(tenant_id))
        if record is None and principal.kind is not PrincipalKind.OPEN:
            # Whoever may speak for any tenant learns that this one is not there; nobody else does.
            raise tenant_unknown() if principal.assertable is None else tenant_mismatch()
        if not is_name(tenant_id) or tenant_id in (SHARED, PLATFORM):
            raise tenant_mismatch()
        tier = record.tier if record is not None else self._claimed_tier(claims)
        if record is not None and claims.tier is not None and claims.tier != tier:
            self.tier_claims_differing += 1
        return TenantContext(
            principal=principal,
            tenant_id=TenantId(tenant_id),
            tier=tier,
            rank=self._rank(tier),
            epoch=self._epoch(record),
            user_id=claims.user_id or "",
            correlation_id=claims.correlation_id or "",
            caller_service=claims.service_name or "",
            origin=origin,
            state="" if record is None else record.state.value,
            acts=acts_of(principal, record),
        )

    def _tenantless(self, principal: Principal, claims: Claims, origin: str) -> TenantContext:
        tier, rank = "", RANK_OF_NOBODY
        if principal.kind is PrincipalKind.OPEN:
            tier = self._claimed_tier(claims)
            rank = self._rank(tier)
        elif principal.home == PLATFORM and principal.scopes:
            rank = self._tiers.highest_rank
        return TenantContext(
            principal=principal,
            tenant_id=None,
            tier=tier,
            rank=rank,
            epoch=self._epoch(None),
            user_id=claims.user_id or "",
            correlation_id=claims.correlation_id or "",
            caller_service=claims.service_name or "",
            origin=origin,
        )

    def _without_credential(self, claims: Claims, origin: str) -> TenantContext:
        legacy = self._legacy_principal(origin)
        if claims.tenant_id is not None:
            # A tenant is claimed and nothing proves it, whether or not it exists.
            raise HubError(
                "credential_required",
                Kind.UNAUTHENTICATED,
                "A tenant is claimed without a credential; headers are claims, never credentials.",
                next_step="Send 'Authorization: Bearer chk_…' with a key of that tenant or of a gateway.",
            )
        return self._tenantless(legacy or _ANONYMOUS, claims, origin)

    def _legacy_principal(self, origin: str) -> Principal | None:
        callers = self._view.legacy_callers()
        if not callers:
            return None
        now_ms = self._clock.now_ms()
        try:
            address = ip_address(origin)
        except ValueError:
            return None
        for caller in callers:
            if now_ms < caller.until_ms and any(address in ip_network(network) for network in caller.networks):
                if len(self.legacy_calls) < COUNTED_CALLERS_MAX:
                    self.legacy_calls[caller.caller] += 1
                return Principal(
                    id=f"legacy:{caller.caller}",
                    kind=PrincipalKind.LEGACY,
                    home=DomainId(""),
                    scopes=frozenset({"registry:read", "health:read"}),
                    expires_at_ms=caller.until_ms,
                )
        return None

    def _current_principal(self, principal: Principal) -> Principal:
        now_ms = self._clock.now_ms()
        if (
            principal.expires_at_ms
            and now_ms >= principal.expires_at_ms
            and principal.kind is not PrincipalKind.GATEWAY
        ):
            raise _invalid_credential("it has expired")
        if principal.kind is PrincipalKind.KEY:
            key = self._view.credential(principal.key_id)
            if key is None:
                raise _invalid_credential("it was revoked")
            return self._standing_principal(key, principal.proof, now_ms)
        if principal.kind is PrincipalKind.GATEWAY and self._view.gateway(principal.key_id) is None:
            raise _invalid_credential("its gateway was removed")
        if principal.kind is PrincipalKind.BOOTSTRAP and self._bootstrap is None:
            raise _invalid_credential("the bootstrap token has ended")
        return principal

    def _standing_principal(self, key: Key, proof: bytes, now_ms: int) -> Principal:
        """Return what one secret of a key proves now: what it opened ends with that secret."""
        known = self._standing.get((key.id, proof))
        if known is not None and known[0] is key and not (0 < known[1].expires_at_ms <= now_ms):
            return known[1]
        now = next((one for one in principals_of(key, now_ms) if one.proof == proof), None)
        if now is None:
            raise _invalid_credential("its secret was replaced")
        if len(self._standing) >= PROVEN_MAX:
            self._standing.clear()
        self._standing[(key.id, proof)] = (key, now)
        return now

    def _known_to(self, principal: Principal, domain: DomainId) -> Tenant | None:
        """Return a tenant's record; a deleted one is as good as missing but for those who administer tenants."""
        record = self._view.tenant(domain)
        deleted = record is not None and record.state is State.DELETED
        return None if deleted and principal.kind is not PrincipalKind.OPEN and not operates(principal) else record

    def _claimed_tier(self, claims: Claims) -> str:
        claimed = claims.tier or DEFAULT_TIER
        if self._tiers.rank_of(claimed) is None:
            raise unknown_tier(claimed, self._tiers)
        return claimed

    def _epoch(self, record: Tenant | None) -> int:
        """Return what moves whenever what a caller may see changes: its tenant, or how tiers rank."""
        return self._tiers.ranks_revision + (record.epoch if record is not None else 0)

    def _rank(self, tier: str) -> int:
        rank = self._tiers.rank_of(tier)
        return RANK_OF_NOBODY if rank is None else rank


def _at_home(principal: Principal, claims: Claims, origin: str) -> TenantContext:
    """Return who was refused: at home, of no rank, so that it opens nothing."""
    return TenantContext(
        principal=principal,
        tenant_id=None if principal.home in ("", PLATFORM) else TenantId(principal.home),
        tier="",
        rank=RANK_OF_NOBODY,
        user_id=claims.user_id or "",
        correlation_id=claims.correlation_id or "",
        caller_service=claims.service_name or "",
        origin=origin,
    )


def tenant_mismatch() -> HubError:
    """Return the refusal of a tenant that the principal may not assert, whether or not it exists."""
    return HubError(
        "tenant_mismatch",
        Kind.DENIED,
        "The credential may not speak for the tenant that the request names.",
        next_step="Leave the tenant out, or use a key of that tenant or of a gateway that may assert it.",
    )


def tenant_unknown() -> HubError:
    """Return what a principal that may speak for any tenant is told of a missing one."""
    return HubError(
        "tenant_not_found",
        Kind.NOT_FOUND,
        "There is no such tenant.",
        next_step="Check the tenant id; a key sees its own tenant only.",
    )


def counters(authentication: Authentication) -> Mapping[str, int]:
    """Return what authentication counted, for metrics: differing tier claims and legacy calls."""
    return {
        "tier_claims_differing": authentication.tier_claims_differing,
        "legacy_calls": sum(authentication.legacy_calls.values()),
    }


def _presented(headers: Headers) -> str | None:
    authorization = headers.get("authorization")
    api_key = headers.get("x-api-key")
    if authorization is None:
        return api_key
    scheme, _, value = authorization.partition(" ")
    if api_key is not None or scheme.lower() != "bearer":
        raise _invalid_credential("give one key, as 'Authorization: Bearer …'")
    return value.strip()


def _invalid_credential(reason: str) -> HubError:
    return HubError(
        "invalid_credential",
        Kind.UNAUTHENTICATED,
        f"The credential is refused: {reason}.",
        next_step="Use a valid key; an operator creates one with 'central-hub key create'.",
    )
