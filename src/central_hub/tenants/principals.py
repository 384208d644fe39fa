"""What a key proves, and what its principal may do for a tenant in its state. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from central_hub.kernel.context import ALL_ACTS, SCOPE_ASSERT, SCOPE_PLATFORM_ADMIN, Act, Principal, PrincipalKind
from central_hub.kernel.ids import PLATFORM
from central_hub.tenants.model import SCOPE_TENANTS_ADMIN, Key, Tenant
from central_hub.tenants.states import acts_in

PROOF_BYTES: Final = 8
"""How much of a secret's digest tells it from the other secret of its key."""


def principal_of(key: Key, digest: bytes) -> Principal:
    """Return the principal that one secret of a key proves.

    Args:
        key: the key.
        digest: of the secret; the one before a rotation proves the same principal for less long.
    """
    scopes = frozenset(key.scopes)
    any_tenant = key.domain == PLATFORM and SCOPE_PLATFORM_ADMIN in scopes
    assertable: frozenset[str] | None = frozenset()
    if any_tenant:
        assertable = None
    elif SCOPE_ASSERT in scopes:
        assertable = None if key.assertable is None else frozenset(key.assertable)
    return Principal(
        id=f"key:{key.id}",
        kind=PrincipalKind.KEY,
        home=key.domain,
        scopes=scopes,
        assertable=assertable,
        key_id=key.id,
        expires_at_ms=key.expires_at_ms if digest == key.digest else _ends_first(key),
        proof=digest[:PROOF_BYTES],
        environment=key.environment,
    )


def principals_of(key: Key, now_ms: int) -> Iterator[Principal]:
    """Yield what the one or two secrets of a key that are valid now prove."""
    yield principal_of(key, key.digest)
    if key.previous_digest and now_ms < key.previous_until_ms:
        yield principal_of(key, key.previous_digest)


def operates(principal: Principal) -> bool:
    """Say whether a principal administers tenants: a scope that only keys of the platform can hold."""
    return principal.holds(SCOPE_TENANTS_ADMIN)


def acts_of(principal: Principal, record: Tenant | None) -> frozenset[Act]:
    """Return what a principal may do for a tenant in the state it is in."""
    return ALL_ACTS if record is None else acts_in(record.state, operator=operates(principal))


def _ends_first(key: Key) -> int:
    return min(key.previous_until_ms, key.expires_at_ms or key.previous_until_ms)
