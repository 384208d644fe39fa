"""Decisions about tenants, keys and gateways. Pure: state, time and limits are arguments."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_network

from central_hub.kernel.context import SCOPE_ASSERT, SCOPE_PLATFORM_ADMIN, Principal
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId, is_name
from central_hub.tenants.model import (
    ALGORITHMS,
    ASSERTABLE_MAX,
    GRANTED_SCOPES,
    LEGACY_CALLERS_MAX,
    NETWORKS_PER_CALLER_MAX,
    PLATFORM_SCOPES,
    PUBLIC_KEY_BYTES_MAX,
    SCOPES_PER_KEY_MAX,
    TENANT_SCOPES,
    LegacyCaller,
)


def grantable(domain: DomainId) -> frozenset[str]:
    """Return the scopes that a key of a domain can hold at all."""
    return PLATFORM_SCOPES if domain == PLATFORM else TENANT_SCOPES | GRANTED_SCOPES


def check_scopes(scopes: Sequence[str], *, known: Collection[str], granter: Principal) -> tuple[str, ...]:
    """Return the scopes a key or gateway may get, sorted and without repeats; nobody grants what it does not hold.

    Raises:
        HubError: `unknown_scope` (422), `scope_not_grantable` (403).
    """
    if not scopes or len(scopes) > SCOPES_PER_KEY_MAX:
        raise HubError(
            "unknown_scope",
            Kind.MALFORMED,
            f"A key has 1 to {SCOPES_PER_KEY_MAX} scopes.",
            next_step="Name the scopes the key needs.",
        )
    for scope in scopes:
        if scope not in known:
            raise HubError(
                "unknown_scope",
                Kind.MALFORMED,
                f"A key here cannot hold the scope '{scope[:64]}'.",
                next_step=f"Use scopes of {', '.join(sorted(known))}.",
            )
        if not granter.holds(scope):
            raise HubError(
                "scope_not_grantable",
                Kind.DENIED,
                f"This credential does not hold '{scope}' and so cannot grant it.",
                next_step="Ask the operator to create the key.",
            )
    return tuple(sorted(set(scopes)))


def check_environment(environment: str, granter: Principal) -> str:
    """Return the environment a key is bound to; a bound granter makes keys of its own environment only.

    Raises:
        HubError: `environment_not_grantable` (403).
    """
    if not granter.environment:
        return environment
    if environment and environment != granter.environment:
        raise HubError(
            "environment_not_grantable",
            Kind.DENIED,
            f"This credential speaks for the environment '{granter.environment}' only.",
            next_step="Ask the operator to create the key.",
        )
    return granter.environment


def check_assertable(
    tenants: Sequence[str] | None, scopes: Collection[str], domain: DomainId
) -> tuple[str, ...] | None:
    """Return the tenants a key may assert; None for any.

    Raises:
        HubError: `invalid_assertable_tenants` (422).
    """
    if tenants is None:
        return None if SCOPE_ASSERT in scopes or SCOPE_PLATFORM_ADMIN in scopes else ()
    fits = domain == PLATFORM and SCOPE_ASSERT in scopes
    if (tenants and not fits) or len(tenants) > ASSERTABLE_MAX or not all(is_name(one) for one in tenants):
        raise HubError(
            "invalid_assertable_tenants",
            Kind.MALFORMED,
            f"Only a platform key with '{SCOPE_ASSERT}' names up to {ASSERTABLE_MAX} tenants it may assert.",
            next_step="Leave assertable_tenants out, or give the key that scope.",
        )
    return tuple(sorted(set(tenants)))


def check_expiry(expires_at_ms: int | None, now_ms: int, *, what: str = "key") -> int:
    """Return when a key or a trial ends, 0 for never.

    Raises:
        HubError: `invalid_expiry` (422) for a time that has passed.
    """
    if expires_at_ms is None:
        return 0
    if expires_at_ms <= now_ms:
        raise HubError(
            "invalid_expiry",
            Kind.MALFORMED,
            f"The {what} would end before it begins.",
            next_step="Give a later time, or leave it out.",
        )
    return expires_at_ms


def check_gateway(algorithm: str, public_key: str) -> None:
    """Check what a gateway's tokens are verified with.

    Raises:
        HubError: `invalid_gateway` (422).
    """
    pem = public_key.strip()
    if algorithm not in ALGORITHMS:
        reason = f"its algorithm is none of {', '.join(sorted(ALGORITHMS))}"
    elif len(pem) > PUBLIC_KEY_BYTES_MAX or not pem.startswith("-----BEGIN PUBLIC KEY-----"):
        reason = "its key is not a public key in PEM form"
    else:
        return
    raise HubError(
        "invalid_gateway",
        Kind.MALFORMED,
        f"The gateway is refused: {reason}.",
        next_step="Send the gateway's public key as 'openssl pkey -pubout' prints it.",
    )


def check_legacy(callers: Sequence[LegacyCaller], now_ms: int) -> tuple[LegacyCaller, ...]:
    """Check a legacy policy: every caller is named, has networks and an end date.

    Raises:
        HubError: `invalid_legacy_policy` (422).
    """
    reason = ""
    if len(callers) > LEGACY_CALLERS_MAX:
        reason = f"it names more than {LEGACY_CALLERS_MAX} callers"
    elif len({caller.caller for caller in callers}) != len(callers):
        reason = "it names a caller twice"
    for caller in callers:
        if not is_name(caller.caller):
            reason = "a caller's name is not a name"
        elif not 0 < len(caller.networks) <= NETWORKS_PER_CALLER_MAX or not all(map(_is_network, caller.networks)):
            reason = f"a caller needs 1 to {NETWORKS_PER_CALLER_MAX} networks in CIDR form"
        elif caller.until_ms <= now_ms:
            reason = "a caller's end date has passed"
    if reason:
        raise HubError(
            "invalid_legacy_policy",
            Kind.MALFORMED,
            f"The policy is refused: {reason}.",
            next_step="Name each caller once, with its networks and the date its migration ends.",
        )
    return tuple(callers)


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
