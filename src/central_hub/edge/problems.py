"""Problem documents (RFC 9457): the one table from kind to status, and the page behind each type."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.edge.rate_limits import rate_limit_lines_of
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.redaction import redacted, redacted_json

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "/problems/"

STATUS: Final[dict[Kind, int]] = {
    Kind.ELSEWHERE: 307,
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.METHOD: 405,
    Kind.TIMEOUT: 408,
    Kind.CONFLICT: 409,
    Kind.GONE: 410,
    Kind.PRECONDITION: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.MALFORMED: 422,
    Kind.PRECONDITION_MISSING: 428,
    Kind.LIMIT: 429,
    Kind.INTERNAL: 500,
    Kind.UNAVAILABLE: 503,
    Kind.STORAGE_FULL: 507,
}

TITLES: Final[dict[Kind, str]] = {
    Kind.ELSEWHERE: "Another hub does this",
    Kind.INVALID: "The request is not valid",
    Kind.UNAUTHENTICATED: "Who is calling could not be established",
    Kind.DENIED: "The caller may not do this",
    Kind.NOT_FOUND: "There is no such thing",
    Kind.METHOD: "The path does not take this method",
    Kind.TIMEOUT: "The request did not arrive in time",
    Kind.CONFLICT: "The request conflicts with the current state",
    Kind.GONE: "It was there and is gone",
    Kind.PRECONDITION: "A precondition does not hold",
    Kind.PRECONDITION_MISSING: "The request has to say which revision it changes",
    Kind.TOO_LARGE: "The request is too large",
    Kind.UNSUPPORTED: "The media type is not supported",
    Kind.MALFORMED: "The payload is malformed",
    Kind.LIMIT: "A limit is reached",
    Kind.INTERNAL: "The hub made a mistake",
    Kind.UNAVAILABLE: "The hub cannot do this now",
    Kind.STORAGE_FULL: "The hub's storage is full",
}


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem; further members depend on `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    next: str = ""
    decision_id: str = ""


def problem_of(error: HubError, decision_id: str = "") -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
    """Render an error as (status, body, further headers)."""
    status = STATUS[error.kind]
    document = msgspec.to_builtins(
        Problem(
            type=TYPE_PREFIX + error.code,
            title=TITLES[error.kind],
            status=status,
            code=error.code,
            detail=redacted(error.message),
            next=redacted(error.next_step),
            decision_id=decision_id,
        )
    )
    document.update(redacted_json(error.fields))
    headers: list[tuple[str, str]] = []
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(error.retry_after_s)))
    if error.kind is Kind.LIMIT:
        headers.extend(rate_limit_lines_of(error.fields, error.retry_after_s))
    if status == STATUS[Kind.UNAUTHENTICATED]:
        headers.append(("www-authenticate", 'Bearer realm="central-hub"'))
    allow = error.fields.get("allow")
    if status == STATUS[Kind.METHOD] and isinstance(allow, str):
        headers.append(("allow", allow))
    location = error.fields.get("location")
    if status == STATUS[Kind.ELSEWHERE] and isinstance(location, str):
        headers.append(("location", location))
    return status, msgspec.json.encode(document), tuple(headers)


def internal_error() -> HubError:
    """Return what a caller sees when the hub itself failed; the cause goes to the log only."""
    return HubError(
        "internal_error",
        Kind.INTERNAL,
        "The hub failed to answer this request; nothing was changed that was not acknowledged.",
        next_step="Try again; if it stays, send the x-correlation-id of the answer to the operator.",
    )
