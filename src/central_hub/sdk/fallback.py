"""What stands in for an answer that cannot be had: the last good one, or a default.

Kept in memory, for those calls only whose caller asked for it, by tenant, user and everything that was sent, so that
nobody is given what was another's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.answer import ServiceResponse
from central_hub.sdk.context import RequestContext

CACHED_ANSWERS_MAX: Final = 1_000
CACHED_ANSWER_BYTES_MAX: Final = 1024 * 1024
"""Size of an answer past which it is not kept."""

CACHED_BYTES_MAX: Final = 64 * 1024 * 1024
"""Size of all answers that are kept; the ones used longest ago make room past it."""

CACHEABLE: Final = frozenset({"GET", "HEAD"})
STANDS_IN_FOR: Final = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT})

Key = tuple[object, ...]


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """What `request` returns when the service cannot be called, does not answer, or answers with a server error.

    Args:
        cached_s: the last good answer to the same request, if it is not older; 0 for none. GET and HEAD only.
        default: otherwise this JSON value, with status 200; when unset the failure stays a failure.
    """

    cached_s: float = 0.0
    default: object = msgspec.UNSET


class _Kept(msgspec.Struct, frozen=True):
    answer: ServiceResponse
    at_s: float


class LastAnswers:
    """The last good answers, the one used longest ago first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, answer: ServiceResponse, now_s: float) -> None:
        """Keep an answer, unless it is not good, too large, or says `no-store`."""
        headers = {name.lower(): value for name, value in answer.headers.items()}
        size = len(answer.body)
        if not 200 <= answer.status < 300 or size > CACHED_ANSWER_BYTES_MAX:
            return
        if "no-store" in headers.get("cache-control", "").lower():
            return
        self._drop(key)
        self._kept[key] = _Kept(answer, now_s)
        self.size += size
        while len(self._kept) > CACHED_ANSWERS_MAX or self.size > CACHED_BYTES_MAX:
            self._drop(next(iter(self._kept)))

    def find(self, key: Key, now_s: float, at_most_s: float) -> tuple[ServiceResponse, float] | None:
        """Return an answer and its age in seconds, if there is one that is not older than `at_most_s`."""
        kept = self._kept.get(key)
        if kept is None or now_s - kept.at_s > at_most_s:
            return None
        self._kept.move_to_end(key)
        return kept.answer, now_s - kept.at_s

    def _drop(self, key: Key) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.size -= len(gone.answer.body)


def key_of(
    context: RequestContext,
    service: str,
    method: str,
    path: str,
    params: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
) -> Key:
    """Return what an answer is kept under: who asks, and everything that was asked."""
    return (
        context.tenant_id,
        context.user_id,
        context.tier,
        service,
        method,
        path,
        tuple(sorted((params or {}).items())),
        tuple(sorted((name.lower(), value) for name, value in (headers or {}).items())),
    )


def check(fallback: Fallback, method: str, body: object) -> None:
    """Refuse to keep what is no plain read.

    Raises:
        HubError: `invalid_fallback`.
    """
    if fallback.cached_s > 0 and (method not in CACHEABLE or body is not None):
        raise HubError(
            "invalid_fallback",
            Kind.INVALID,
            "Only the answers to GET and HEAD without a body can be kept.",
            next_step="Leave cached_s out; a default stands in for any call.",
        )
