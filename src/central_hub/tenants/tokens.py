"""Context tokens: what a gateway signs to say which tenant a request is for.

A token (JWT, in `Txn-Token`) names issuer, audience, subject and tenant, lives at most a minute
and is verified with the one key and algorithm its gateway entry names; whatever the token says
about keys (`jku`, `x5u`, `jwk`) is not looked at. One that was used for a command is not taken
for another command.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import OrderedDict
from typing import Any, Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import is_name
from central_hub.tenants.model import Gateway
from central_hub.tenants.view import TenantsView

LIFETIME_S_MAX: Final = 60
SKEW_S: Final = 30
TOKEN_LENGTH_MAX: Final = 4_096
VERIFIED_MAX: Final = 8_192
SPENT_MAX: Final = 100_000
REQUIRED: Final = ("exp", "iat", "aud", "iss", "sub", "jti")


class ContextToken(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a verified token says."""

    gateway: Gateway
    tenant_id: str
    subject: str
    jti: str
    expires_at_ms: int
    tier: str = ""


class TokenVerifier:
    """Verifies context tokens and remembers the outcome while they live.

    Args:
        view: the gateways there are.
    """

    def __init__(self, view: TenantsView) -> None:
        self._view = view
        self._verified: OrderedDict[bytes, ContextToken] = OrderedDict()
        self._spent: OrderedDict[tuple[str, str], int] = OrderedDict()

    def verify(self, token: str, *, now_ms: int, command: bool) -> ContextToken:
        """Return what a token says.

        Args:
            token: the compact form.
            now_ms: Unix epoch milliseconds.
            command: whether it comes with a command; each token serves one of them.

        Raises:
            HubError: `invalid_credential` (401), `token_replayed` (401).
        """
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        found = self._verified.get(digest)
        if found is None or self._view.gateway(found.gateway.id) is not found.gateway:
            found = self._check(token, now_ms)
            self._verified[digest] = found
            if len(self._verified) > VERIFIED_MAX:
                self._verified.popitem(last=False)
        if found.expires_at_ms + SKEW_S * 1_000 <= now_ms:
            raise _invalid("it has expired")
        if command:
            self._spend(found, now_ms)
        return found

    def _spend(self, token: ContextToken, now_ms: int) -> None:
        while self._spent and next(iter(self._spent.values())) <= now_ms:
            self._spent.popitem(last=False)
        key = (token.gateway.id, token.jti)
        if key in self._spent:
            raise HubError(
                "token_replayed",
                Kind.UNAUTHENTICATED,
                "This context token was already used for a command.",
                next_step="Have the gateway sign a new token for every command.",
            )
        if len(self._spent) >= SPENT_MAX:
            raise HubError(
                "overloaded",
                Kind.UNAVAILABLE,
                "The hub remembers as many used tokens as it can.",
                next_step="Try again in a minute.",
                retry_after_s=LIFETIME_S_MAX,
            )
        self._spent[key] = token.expires_at_ms + SKEW_S * 1_000

    def _check(self, token: str, now_ms: int) -> ContextToken:
        import jwt  # imported here: hubs without such gateways never pay for it

        if len(token) > TOKEN_LENGTH_MAX:
            raise _invalid("it is too long")
        try:
            _check_form(token)
            # Only to find the issuer's entry; nothing of it is believed before the signature is verified.
            unverified: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})  # Any: JSON claims
            gateway = self._view.gateway_of_issuer(str(unverified.get("iss", "")))
            if gateway is None:
                raise _invalid("its issuer is not a gateway of this hub")
            claims: dict[str, Any] = jwt.decode(  # Any: JSON claims
                token,
                gateway.public_key,
                algorithms=[gateway.algorithm],
                audience=gateway.audience,
                issuer=gateway.issuer,
                options={"require": list(REQUIRED), "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise _invalid("it does not verify", internal=type(error).__name__) from None
        return _token(gateway, claims, now_ms)


def _check_form(token: str) -> None:
    """Refuse a token that two readers could take for two things, or that asks for what is not understood here.

    Raises:
        ValueError: a name is given twice in its header or claims, or its header has `crit`.

    Source: RFC 7515 sections 4 and 4.1.11, RFC 7519 section 4.
    """
    header, _ = [
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=_unique_pairs)
        for part in token.split(".")[:2]
    ]
    if "crit" in header:
        raise ValueError("crit")


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON values
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate name")
    return document


def _token(gateway: Gateway, claims: dict[str, Any], now_ms: int) -> ContextToken:  # Any: JSON claims
    expires, issued, before = _time(claims, "exp"), _time(claims, "iat"), _time(claims, "nbf")
    now_s = now_ms / 1_000
    if expires - issued > LIFETIME_S_MAX or expires <= issued:
        raise _invalid(f"it lives longer than {LIFETIME_S_MAX} seconds")
    if issued > now_s + SKEW_S or before > now_s + SKEW_S:
        raise _invalid("it is not valid yet")
    tenant_id, subject, jti = claims.get("tid"), claims.get("sub"), claims.get("jti")
    if not (isinstance(tenant_id, str) and is_name(tenant_id)):
        raise _invalid("it names no tenant (tid)")
    if not (isinstance(subject, str) and isinstance(jti, str) and 0 < len(jti) <= 128 and 0 < len(subject) <= 128):
        raise _invalid("its subject or id is not text")
    tier = claims.get("tier", "")
    return ContextToken(
        gateway=gateway,
        tenant_id=tenant_id,
        subject=subject,
        jti=jti,
        expires_at_ms=int(expires * 1_000),
        tier=tier if isinstance(tier, str) else "",
    )


def _time(claims: dict[str, Any], name: str) -> float:  # Any: JSON claims
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise _invalid("its times are not numbers")
    return float(value)


def _invalid(reason: str, *, internal: str = "") -> HubError:
    return HubError(
        "invalid_credential",
        Kind.UNAUTHENTICATED,
        f"The context token is refused: {reason}.",
        next_step="Have the gateway sign a fresh token as its entry says.",
        internal=internal,
    )
