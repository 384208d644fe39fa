"""The one error type that crosses a boundary, and the kinds an edge maps to status codes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What sort of refusal it is; the edge holds the one table from kind to HTTP status."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    ELSEWHERE = "elsewhere"
    """Another hub does it; `location` among the fields says where to ask the same."""
    METHOD = "method"
    TIMEOUT = "timeout"
    CONFLICT = "conflict"
    GONE = "gone"
    PRECONDITION = "precondition"
    PRECONDITION_MISSING = "precondition_missing"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    MALFORMED = "malformed"
    LIMIT = "limit"
    UNAVAILABLE = "unavailable"
    STORAGE_FULL = "storage_full"
    INTERNAL = "internal"


_NO_FIELDS: Final[Mapping[str, object]] = {}


class HubError(Exception):
    """A refusal with a stable code, a sentence for people and the next step to take.

    Args:
        code: stable, snake_case; clients switch on it.
        kind: what sort of refusal it is.
        message: one sentence, safe to show to the caller.
        next_step: what the caller can do about it.
        internal: detail for the hub's own log only, never shown.
        fields: further members of the problem document (JSON values).
        retry_after_s: whole seconds after which trying again makes sense.
    """

    def __init__(
        self,
        code: str,
        kind: Kind,
        message: str,
        *,
        next_step: str = "",
        internal: str = "",
        fields: Mapping[str, object] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {message} {next_step}".rstrip())
        self.code = code
        self.kind = kind
        self.message = message
        self.next_step = next_step
        self.internal = internal
        self.fields: Mapping[str, object] = fields or _NO_FIELDS
        self.retry_after_s = retry_after_s
