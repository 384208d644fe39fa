"""The form of an API key and what is kept of its secret. Pure.

    chk_<key id, 12>_<secret, 43><checksum, 6>        all base 62

The checksum (CRC-32 of everything before it) lets a typo or a truncated paste be told from a
wrong key without a look-up, and secret scanners tell a key from noise.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from typing import Final

PREFIX: Final = "chk"
KEY_ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 43
CHECKSUM_LENGTH: Final = 6
SECRET_RANDOM_BYTES: Final = 32
KEY_ID_RANDOM_BYTES: Final = 9
BOOTSTRAP_PREFIX: Final = "chb_"
BOOTSTRAP_LENGTH_MIN: Final = 36

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(rf"chk_([0-9A-Za-z]{{{KEY_ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{6}})")


def base62(data: bytes, length: int) -> str:
    """Write bytes as exactly `length` base-62 digits, most significant first; excess is cut off."""
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def mint_key_id(random: bytes) -> str:
    """Make a key id from `KEY_ID_RANDOM_BYTES` random bytes."""
    return base62(random, KEY_ID_LENGTH)


def mint_secret(random: bytes) -> str:
    """Make a secret from `SECRET_RANDOM_BYTES` random bytes."""
    return base62(random, SECRET_LENGTH)


def format_key(key_id: str, secret: str) -> str:
    """Write a key as its holder gets it, once."""
    body = f"{PREFIX}_{key_id}_{secret}"
    return body + _checksum(body)


def mint_bootstrap(random: bytes) -> str:
    """Make a first hour's credential from `SECRET_RANDOM_BYTES` random bytes."""
    return BOOTSTRAP_PREFIX + base62(random, SECRET_LENGTH)


def parse_key(text: str) -> tuple[str, str] | None:
    """Return (key id, secret) of a well-formed key whose checksum holds, or None."""
    match = _FORM.fullmatch(text)
    if match is None or _checksum(text[:-CHECKSUM_LENGTH]) != match.group(3):
        return None
    return match.group(1), match.group(2)


def digest_of(pepper: bytes, secret: str) -> bytes:
    """Return what is kept of a secret: HMAC-SHA-256 under the hub's pepper."""
    return hmac.digest(pepper, secret.encode("utf-8"), hashlib.sha256)


def same(one: bytes, other: bytes) -> bool:
    """Compare in time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode("ascii")).to_bytes(4, "big"), CHECKSUM_LENGTH)
