"""Whose request is being served: a context variable that the middleware sets and the client sends on."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from typing import Final

import msgspec

TENANT: Final = "x-tenant-id"
COMPANY: Final = "x-company-id"
USER: Final = "x-user-id"
TIER: Final = "x-subscription-tier"
CORRELATION: Final = "x-correlation-id"
CALLER: Final = "x-service-name"
DEADLINE: Final = "x-request-deadline-ms"
"""Milliseconds the caller still waits, counted from when it sent the request."""

HEADER_LENGTH_MAX: Final = 64
DEADLINE_MS_MAX: Final = 3_600_000


class RequestContext(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who a request is for, as the caller said it; what it may do is the service's decision.

    `deadline_s` is monotonic seconds, None without a deadline.
    """

    tenant_id: str | None = None
    user_id: str | None = None
    tier: str | None = None
    correlation_id: str = ""
    caller_service: str | None = None
    deadline_s: float | None = None


_current: ContextVar[RequestContext | None] = ContextVar("central_hub_request_context", default=None)


def current_context() -> RequestContext | None:
    """Return the context of the request being served; None outside of one."""
    return _current.get()


@contextlib.contextmanager
def request_context(context: RequestContext) -> Generator[RequestContext]:
    """Make a context the current one for the block, in this task and what it starts."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def context_of(headers: Mapping[str, str], *, now_s: float, new_correlation: str) -> RequestContext | None:
    """Read a context from request headers.

    Args:
        headers: names in lower case.
        now_s: monotonic seconds.
        new_correlation: used when the request carries none.

    Returns:
        None when a header is malformed, or tenant and company disagree.
    """
    values = {name: headers.get(name, "") for name in (TENANT, COMPANY, USER, TIER, CORRELATION, CALLER)}
    if not all(is_token(value) for value in values.values() if value):
        return None
    tenant, company = values[TENANT], values[COMPANY]
    if tenant and company and tenant != company:
        return None
    remaining_ms = headers.get(DEADLINE, "")
    deadline_s = None
    if remaining_ms:
        if not (remaining_ms.isascii() and remaining_ms.isdigit() and len(remaining_ms) <= 9):
            return None
        deadline_s = now_s + min(int(remaining_ms), DEADLINE_MS_MAX) / 1000
    return RequestContext(
        tenant_id=tenant or company or None,
        user_id=values[USER] or None,
        tier=values[TIER] or None,
        correlation_id=values[CORRELATION] or new_correlation,
        caller_service=values[CALLER] or None,
        deadline_s=deadline_s,
    )


def is_token(text: str) -> bool:
    """Say whether a header value has at most 64 letters, digits, `.`, `_`, `-`, `@` and `:`."""
    return len(text) <= HEADER_LENGTH_MAX and text.isascii() and bool(text.translate(_ALLOWED) == "")


_ALLOWED: Final = {ord(each): None for each in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-@:"}
