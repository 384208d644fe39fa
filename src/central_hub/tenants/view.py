"""Tenants, keys, gateways and the legacy policy as the log tells them. Pure.

Tenants are keyed by their domain; keys also by their globally unique id, since a credential
names nothing else.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN
from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.tenants.model import (
    VIEW_FACTS,
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
    TenantResumed,
    TenantShredded,
    TenantStateChanged,
    TenantSuspended,
    TenantTrialExtended,
)

CHUNK: Final = 256
_NO_KEYS: Final[Mapping[str, Key]] = {}


class _Dump(msgspec.Struct, kw_only=True):
    tenants: list[Tenant] = []
    keys: list[Key] = []
    gateways: list[Gateway] = []
    legacy: list[LegacyCaller] = []
    shredded: list[str] = []


class _KeptTenant(Tenant, frozen=True, kw_only=True, gc=False):
    """A tenant as a snapshot may have it: those of before there were states say `suspended`."""

    suspended: bool = False
    suspended_reason: str = ""

    def now(self) -> Tenant:
        """Return the tenant in today's form."""
        return Tenant(
            id=self.id,
            name=self.name,
            tier=self.tier,
            created_at_ms=self.created_at_ms,
            state=State.SUSPENDED if self.suspended else self.state,
            reason=self.reason or self.suspended_reason,
            epoch=self.epoch,
            trial_until_ms=self.trial_until_ms,
        )


class _Kept(_Dump, kw_only=True):
    tenants: list[_KeptTenant] = []  # pyright: ignore[reportIncompatibleVariableOverride]  # read, never written


class TenantsView:
    """Who exists, with which keys."""

    def __init__(self) -> None:
        self._tenants: dict[DomainId, Tenant] = {}
        self._order: list[str] = []
        self._keys: dict[str, Key] = {}
        self._by_domain: dict[DomainId, dict[str, Key]] = {}
        self._gateways: dict[str, Gateway] = {}
        self._by_issuer: dict[str, Gateway] = {}
        self._legacy: tuple[LegacyCaller, ...] = ()
        self._shredded: set[str] = set()

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "tenants"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset(VIEW_FACTS)

    @property
    def shredded(self) -> frozenset[str]:
        """The ids of tenants that ended for good; none of them is given again."""
        return frozenset(self._shredded)

    def tenant(self, domain: DomainId) -> Tenant | None:
        """Return the tenant of a domain, None when there is none."""
        return self._tenants.get(domain)

    def tenants_after(self, cursor: str, limit: int) -> list[Tenant]:
        """Return up to `limit` tenants with an id after `cursor`, in order of id (platform scope)."""
        start = bisect_right(self._order, cursor)
        return [self._tenants[DomainId(one)] for one in self._order[start : start + limit]]

    def count_tenants(self) -> int:
        """Return how many tenants there are (platform scope)."""
        return len(self._tenants)

    def count_at_tier(self, tier: str) -> int:
        """Return how many tenants are at a tier (platform scope)."""
        return sum(tenant.tier == tier for tenant in self._tenants.values())

    def key(self, domain: DomainId, key_id: str) -> Key | None:
        """Return a key of a domain, None when it is missing or another domain's."""
        return self._by_domain.get(domain, _NO_KEYS).get(key_id)

    def keys(self, domain: DomainId) -> Sequence[Key]:
        """Return a domain's keys, oldest first."""
        return tuple(self._by_domain.get(domain, _NO_KEYS).values())

    def administrators(self, now_ms: int) -> int:
        """Return how many keys can administer the platform now (platform scope)."""
        return sum(
            SCOPE_PLATFORM_ADMIN in key.scopes and not 0 < key.expires_at_ms <= now_ms for key in self.keys(PLATFORM)
        )

    def credential(self, key_id: str) -> Key | None:
        """Return the key a presented credential names, of whatever domain (authentication only)."""
        return self._keys.get(key_id)

    def gateways(self) -> Sequence[Gateway]:
        """Return the gateways, oldest first (platform scope)."""
        return tuple(self._gateways.values())

    def gateway(self, gateway_id: str) -> Gateway | None:
        """Return a gateway by id (platform scope)."""
        return self._gateways.get(gateway_id)

    def gateway_of_issuer(self, issuer: str) -> Gateway | None:
        """Return the gateway that signs as an issuer (authentication only)."""
        return self._by_issuer.get(issuer)

    def legacy_callers(self) -> tuple[LegacyCaller, ...]:
        """Return the callers of before tenants that are served (platform scope)."""
        return self._legacy

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        domain = applied.domain
        match applied.fact:
            case TenantCreated() as fact:
                created = Tenant(
                    id=fact.tenant_id,
                    name=fact.name,
                    tier=fact.tier,
                    state=fact.state,
                    reason=fact.reason,
                    trial_until_ms=fact.trial_until_ms,
                    created_at_ms=applied.time_ms,
                    epoch=applied.domain_seq,
                )
                self._put_tenant(domain, created)
            case TenantChanged(name=name, tier=tier):
                self._change(domain, applied.domain_seq, name=name, tier=tier)
            case TenantSuspended(reason=reason):
                self._change(domain, applied.domain_seq, state=State.SUSPENDED, reason=reason)
            case TenantResumed():
                self._change(domain, applied.domain_seq, state=State.ACTIVE, reason="")
            case TenantStateChanged(state=state, reason=reason):
                self._change(domain, applied.domain_seq, state=state, reason=reason)
            case TenantTrialExtended(trial_until_ms=until):
                self._tenants[domain] = msgspec.structs.replace(self._tenants[domain], trial_until_ms=until)
            case TenantShredded(tenant_id=tenant_id):
                self._shredded.add(tenant_id)
                self._forget(DomainId(tenant_id))
            case KeyCreated(key=key):
                self._put_key(key)
            case KeyRotated(key_id=key_id, digest=digest, previous_until_ms=until):
                before = self._by_domain[domain][key_id]
                rotated = msgspec.structs.replace(
                    before, digest=digest, previous_digest=before.digest, previous_until_ms=until
                )
                self._put_key(rotated)
            case KeyRevoked(key_id=key_id):
                self._by_domain[domain].pop(key_id, None)
                self._keys.pop(key_id, None)
            case GatewayAdded(gateway=gateway):
                self._put_gateway(gateway)
            case GatewayRemoved(gateway_id=gateway_id):
                self._by_issuer.pop(self._gateways.pop(gateway_id).issuer, None)
            case LegacyPolicySet(callers=callers):
                self._legacy = callers
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        tenant = self._tenants.get(domain)
        if tenant is not None:
            yield _Dump(tenants=[tenant])
        keys = list(self.keys(domain))
        for start in range(0, len(keys), CHUNK):
            yield _Dump(keys=keys[start : start + CHUNK])
        if domain == PLATFORM:
            yield _Dump(
                gateways=list(self._gateways.values()), legacy=list(self._legacy), shredded=sorted(self._shredded)
            )

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Kept)
            for tenant in dumped.tenants:
                self._put_tenant(domain, tenant.now())
            for key in dumped.keys:
                self._put_key(key)
            for gateway in dumped.gateways:
                self._put_gateway(gateway)
            self._shredded.update(dumped.shredded)
            if dumped.legacy:
                self._legacy = tuple(dumped.legacy)

    def _put_tenant(self, domain: DomainId, tenant: Tenant) -> None:
        if domain not in self._tenants:
            insort(self._order, tenant.id)
        self._tenants[domain] = tenant

    def _forget(self, domain: DomainId) -> None:
        if self._tenants.pop(domain, None) is not None:
            del self._order[bisect_right(self._order, str(domain)) - 1]
        for key_id in self._by_domain.pop(domain, _NO_KEYS):
            self._keys.pop(key_id, None)

    def _change(self, domain: DomainId, epoch: int, **changes: Any) -> None:  # Any: the fields' types differ
        self._tenants[domain] = msgspec.structs.replace(self._tenants[domain], epoch=epoch, **changes)

    def _put_key(self, key: Key) -> None:
        self._keys[key.id] = key
        self._by_domain.setdefault(key.domain, {})[key.id] = key

    def _put_gateway(self, gateway: Gateway) -> None:
        self._gateways[gateway.id] = gateway
        self._by_issuer[gateway.issuer] = gateway
