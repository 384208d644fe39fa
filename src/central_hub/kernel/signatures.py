"""Signatures of messages between the hub and a receiver, as Standard Webhooks has them: made and verified. Pure.

What is signed is `id.timestamp.body`, with HMAC-SHA-256 under a secret of 24 to 64 bytes that is written
`whsec_<base64>`. A message may carry several signatures, one for each live secret.

Source: Standard Webhooks 1.0.0, signature scheme `v1`.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Final

HEADER_ID: Final = "webhook-id"
HEADER_TIMESTAMP: Final = "webhook-timestamp"
HEADER_SIGNATURE: Final = "webhook-signature"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # how a secret begins
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64
TOLERANCE_S: Final = 300
"""How far a message's timestamp may be from the receiver's clock, either way."""
SIGNATURES_MAX: Final = 16
_VERSION: Final = "v1"
_TIMESTAMP_DIGITS_MAX: Final = 12


class SignatureError(Exception):
    """A message is not from whom it says it is, is too old, or was altered."""


def secret_text(raw: bytes) -> str:
    """Write a secret as receivers keep it."""
    return SECRET_PREFIX + b64encode(raw).decode("ascii")


def secret_bytes(text: str) -> bytes:
    """Read what `secret_text` wrote; the prefix may be left out.

    Raises:
        ValueError: it is no such secret.
    """
    raw = b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    if not SECRET_BYTES_MIN <= len(raw) <= SECRET_BYTES_MAX:
        raise ValueError(f"a signing secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")
    return raw


def sign(secrets: Iterable[bytes], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature header of a message: one signature for each secret, in order."""
    return " ".join(f"{_VERSION},{b64encode(_mac(one, message_id, timestamp_s, body)).decode()}" for one in secrets)


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Iterable[bytes], *, now_s: float, tolerance_s: float = TOLERANCE_S
) -> str:
    """Verify a message that was received, and return its id.

    Args:
        headers: by name, in any case.
        body: exactly the bytes that came.
        secrets: any of them may have signed.
        now_s: the receiver's clock, Unix seconds.
        tolerance_s: how far the message's timestamp may be from it.

    Raises:
        SignatureError: it is refused, with the reason.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, stamp, given = (lower[name] for name in (HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE))
    except KeyError as missing:
        raise SignatureError(f"the header {missing.args[0]} is missing") from None
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= _TIMESTAMP_DIGITS_MAX):
        raise SignatureError("the timestamp is none")
    if abs(now_s - int(stamp)) > tolerance_s:
        raise SignatureError("the timestamp is too far from this machine's clock")
    signatures = given.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]
    for secret in secrets:
        expected = f"{_VERSION},{b64encode(_mac(secret, message_id, int(stamp), body)).decode()}".encode()
        for signature in signatures:
            if hmac.compare_digest(signature.encode("utf-8", "replace"), expected):
                return message_id
    raise SignatureError("no signature is by a secret that is known here")


def _mac(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> bytes:
    return hmac.digest(
        secret, b"".join((message_id.encode(), b".", str(timestamp_s).encode(), b".", body)), hashlib.sha256
    )
