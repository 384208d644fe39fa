"""What looks like a credential is taken out of whatever is said about a request or written to a log. Pure.

The hub repeats nobody's secret on purpose; this is for what callers put where it does not belong: a key pasted as a
name, a token in a query string, an exception that quotes its argument.

Source of the forms: the hub's own keys, bootstrap tokens and webhook secrets; the token formats that Vault, AWS,
GitHub, Stripe, Slack and others publish for secret scanners; RFC 6750, RFC 7468, RFC 7519.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

REDACTED: Final = "[redacted]"
KNOWN_LENGTH_MIN: Final = 8
"""Secrets that are known are taken out from this length on; a shorter one would be found in ordinary words."""

_CREDENTIAL: Final = re.compile(
    r"""
      \bch[kb]_[0-9A-Za-z_]{8,}                                    # the hub's own
    | \bwhsec_[0-9A-Za-z+/=_-]{8,}                                 # Standard Webhooks
    | \bhv[sbr]\.[0-9A-Za-z_-]{8,}                                 # Vault, OpenBao
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                                # AWS
    | \bgh[pousr]_[0-9A-Za-z]{20,} | \bgithub_pat_[0-9A-Za-z_]{20,}
    | \b[spr]k_(?:live|test)_[0-9A-Za-z]{8,} | \bsk-[0-9A-Za-z_-]{16,}
    | \bxox[abeprs]-[0-9A-Za-z-]{8,}
    | \beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*     # JWT
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    | (?<=[Bb]earer[ ])[0-9A-Za-z._~+/=-]{8,}
    | (?<=[Bb]asic[ ])[0-9A-Za-z+/=]{8,}
    | (?<=://)[^/\s:@'"]*:[^/\s@'"]+(?=@)                           # user:password@ in an address
    | (?<![0-9A-Za-z])[0-9A-Fa-f]{64}(?![0-9A-Za-z])                # a key of 32 bytes in hex
    """,
    re.VERBOSE | re.DOTALL,
)


def redacted(text: str) -> str:
    """Return a text without what looks like a credential."""
    return _CREDENTIAL.sub(REDACTED, text)


def redacted_json(value: Any) -> Any:  # Any: JSON
    """Return JSON whose texts went through `redacted`; keys too."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        members = cast(Mapping[str, Any], value)
        return {redacted(key): redacted_json(each) for key, each in members.items()}
    if isinstance(value, list | tuple):
        return [redacted_json(each) for each in cast(list[Any], value)]
    return value


class Redaction:
    """`redacted`, and in addition the secrets that are known, whatever they look like.

    Args:
        known: values that must not be written; short ones are left out.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        long_ones = sorted({each for each in known if len(each) >= KNOWN_LENGTH_MIN}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, long_ones))) if long_ones else None

    def of(self, text: str) -> str:
        """Return a text without credentials."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        return redacted(text)
