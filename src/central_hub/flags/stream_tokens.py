"""What stands for a credential in the address of an event stream, where no header can be sent.

A token says who was answered, for which tenant and environment, and until when; the hub signs it and keeps
nothing. It is the same for an hour, so that an unchanged answer stays the same to the byte, and it opens a
stream that says "ask again" and nothing else. What the credential may is asked anew when the stream opens.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec

from central_hub.flags.evaluation import Asker
from central_hub.flags.model import SCOPE_READ
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import DomainId, TenantId

HOUR_MS: Final = 3_600_000
HOURS_KEPT: Final = 2
MAC_BYTES: Final = 16
TOKEN_LENGTH_MAX: Final = 512
_PURPOSE: Final = b"flag event streams"


class _Claims(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    key_id: str
    proof: bytes
    home: str
    tenant_id: str
    tier: str
    environment: str
    until_hour: int


class StreamTokens:
    """Mints and reads tokens.

    Args:
        secret: the hub's own; a key for this purpose alone is derived from it.
        open_mode: whether callers without a credential of their own get one too.
    """

    def __init__(self, secret: bytes, *, open_mode: bool) -> None:
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)
        self._open = open_mode

    def mint(self, ctx: TenantContext, asker: Asker, now_ms: int) -> str | None:
        """Return the token of this hour for a caller; None for one that cannot be asked after again (gateways)."""
        principal = ctx.principal
        if not self._known(principal.kind):
            return None
        claims = _Claims(
            kind=principal.kind.value,
            key_id=principal.key_id,
            proof=principal.proof,
            home=principal.home,
            tenant_id=asker.domain,
            tier=asker.tier,
            environment=asker.environment,
            until_hour=now_ms // HOUR_MS + HOURS_KEPT,
        )
        payload = msgspec.msgpack.encode(claims)
        return urlsafe_b64encode(payload + self._mac(payload)).rstrip(b"=").decode("ascii")

    def read(self, token: str, now_ms: int) -> tuple[TenantContext, str] | None:
        """Return who is asking, as it was then, and for which environment; None unless the token stands.

        The context is to be renewed (`Access.current`) before anything is done with it.
        """
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (ValueError, binascii.Error):
            return None
        payload, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            return None
        claims = msgspec.msgpack.decode(payload, type=_Claims)
        kind = PrincipalKind(claims.kind)
        if now_ms // HOUR_MS >= claims.until_hour or not self._known(kind):
            return None
        principal = Principal(
            id="open" if kind is PrincipalKind.OPEN else f"key:{claims.key_id}",
            kind=kind,
            home=DomainId(claims.home),
            scopes=frozenset({SCOPE_READ}),
            assertable=None if kind is PrincipalKind.OPEN else frozenset(),
            key_id=claims.key_id,
            proof=claims.proof,
        )
        ctx = TenantContext(principal=principal, tenant_id=TenantId(claims.tenant_id), tier=claims.tier, rank=0)
        return ctx, claims.environment

    def _known(self, kind: PrincipalKind) -> bool:
        return kind is PrincipalKind.KEY or (self._open and kind is PrincipalKind.OPEN)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, hashlib.sha256)[:MAC_BYTES]
