"""Identifiers: what a domain, tenant, service or instance may be called, and how ids are made."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final, NewType

from central_hub.kernel.errors import HubError, Kind

DomainId = NewType("DomainId", str)
TenantId = NewType("TenantId", str)
ServiceName = NewType("ServiceName", str)
InstanceId = NewType("InstanceId", str)

SHARED: Final = DomainId("shared")
PLATFORM: Final = DomainId("platform")

NAME_LENGTH_MAX: Final = 63
INSTANCE_ID_LENGTH_MAX: Final = 128
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
INSTANCE_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
LABEL_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._/:+-]{0,62}$"

_NAME: Final = re.compile(NAME_PATTERN[:-1] + r"\Z")
_INSTANCE_ID: Final = re.compile(INSTANCE_ID_PATTERN[:-1] + r"\Z")

# Words that mean something else where a tenant or service name may stand. The segments that
# share a position with a path parameter are added from the operations table when the hub is built.
RESERVED_WORDS: Final = frozenset({"shared", "platform", "global"})
RESERVED_PREFIX: Final = "hub"

UUID_RANDOM_BYTES: Final = 10
_VARIANT: Final = "89ab"


def check_name(text: str, what: str, *, reserved: Set[str] = RESERVED_WORDS) -> str:
    """Return `text` if it may name a service or a tenant.

    Args:
        text: candidate, 1 to 63 characters of `[a-z0-9_-]`, starting with a letter or digit.
        what: the noun for the message, "service" or "tenant".
        reserved: words that are taken by paths or domains.

    Raises:
        HubError: `invalid_name` (422) or `reserved_name` (422).
    """
    if not _NAME.match(text):
        raise HubError(
            "invalid_name",
            Kind.MALFORMED,
            f"A {what} name has 1 to {NAME_LENGTH_MAX} characters of a-z, 0-9, '_' and '-', "
            "and starts with a letter or digit.",
            next_step=f"Choose another {what} name.",
        )
    if text in reserved or text.startswith(RESERVED_PREFIX):
        raise HubError(
            "reserved_name",
            Kind.MALFORMED,
            f"'{text}' is a reserved word and cannot name a {what}.",
            next_step=f"Choose another {what} name; words of the API's paths and names starting with "
            f"'{RESERVED_PREFIX}' are reserved.",
        )
    return text


def is_name(text: str) -> bool:
    """Say whether `text` is shaped like a service or tenant name (reserved words included)."""
    return _NAME.match(text) is not None


def check_instance_id(text: str) -> InstanceId:
    """Return `text` if it may identify an instance: 1 to 128 of `[A-Za-z0-9._:-]`.

    Raises:
        HubError: `invalid_instance_id` (422).
    """
    if not _INSTANCE_ID.match(text):
        raise HubError(
            "invalid_instance_id",
            Kind.MALFORMED,
            f"An instance id has 1 to {INSTANCE_ID_LENGTH_MAX} characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'.",
            next_step="Choose another instance_id, or leave it out and the hub mints one.",
        )
    return InstanceId(text)


def uuid7(now_ms: int, random: bytes) -> str:
    """Format a UUIDv7: time-ordered, so newer ids sort after older ones.

    Args:
        now_ms: Unix epoch milliseconds, 48 bits are used.
        random: 10 bytes of randomness, of which 74 bits are used.

    Source: RFC 9562, section 5.7.
    """
    stamp = f"{now_ms & 0xFFFF_FFFF_FFFF:012x}"
    noise = random.hex()
    return f"{stamp[:8]}-{stamp[8:]}-7{noise[:3]}-{_VARIANT[random[9] & 3]}{noise[3:6]}-{noise[6:18]}"
