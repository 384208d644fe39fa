"""Decisions about endpoints and about what an attempt's outcome leads to. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.events import TYPE_PREFIX
from central_hub.kernel.messaging import Outcome, Result, Target
from central_hub.subscriptions.model import Filter
from central_hub.subscriptions.rules import STAR, check_filter
from central_hub.webhooks.model import (
    BACKOFF_MIN_S,
    BACKOFF_S,
    EVENTS_PER_ENDPOINT_MAX,
    FAILING_FOR_MS,
    FAILURES_MAX,
    RETRY_AFTER_S_MAX,
    URL_LENGTH_MAX,
    DisabledBecause,
)

HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80
STATUS_GONE: Final = 410
LATER: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say "not now"; any other says that trying this event again is of no use."""

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?P<query>\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?\Z"
)


class Failing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How an endpoint has been failing: attempts in a row, since when, and attempts at the event that is next."""

    failures: int = 0
    since_ms: int = 0
    attempts: int = 0


class Next(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What follows an attempt: at most one of these, and how the endpoint stands then.

    `wait_s` is the longest wait before the next attempt at the same event, `least_s` the shortest.
    """

    failing: Failing
    delivered: bool = False
    parked: bool = False
    disable: DisabledBecause | None = None
    wait_s: float = 0.0
    least_s: float = 0.0


def target_of(url: str, *, plain: bool) -> Target:
    """Read an endpoint's URL.

    Args:
        url: absolute, without user and fragment.
        plain: whether `http` is allowed.

    Raises:
        HubError: `invalid_webhook_url` (422).
    """
    found = _URL.match(url) if len(url) <= URL_LENGTH_MAX else None
    if found is None:
        raise _bad_url("it is an absolute URL of at most 2,048 ASCII characters, without user or fragment")
    tls = found["scheme"] == "https"
    if not tls and not plain:
        raise _bad_url("it begins with https")
    port = int(found["port"] or (HTTPS_PORT if tls else HTTP_PORT))
    if not 0 < port < 65_536:
        raise _bad_url("its port is 1 to 65535")
    path = (found["path"] or "/") + (found["query"] or "")
    return Target(host=found["host"].strip("[]").lower(), port=port, tls=tls, path=path)


def check_events(wanted: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the patterns of types that an endpoint wants, each once, in order.

    What begins like the hub's own types is one of them, or has a `*` in it; anything else may be published some day.

    Raises:
        HubError: `unknown_event_type`, `invalid_filter` (422).
    """
    if len(wanted) > EVENTS_PER_ENDPOINT_MAX:
        raise HubError(
            "unknown_event_type", Kind.MALFORMED, f"An endpoint names at most {EVENTS_PER_ENDPOINT_MAX} types.",
            next_step="Use '*' for several at once.",
        )  # fmt: skip
    for name in wanted:
        if name.startswith(TYPE_PREFIX) and STAR not in name and name not in known:
            close = difflib.get_close_matches(name[:128], known, n=1)
            raise HubError(
                "unknown_event_type",
                Kind.MALFORMED,
                f"There is no type of event '{name[:128]}'." + (f" Is '{close[0]}' meant?" if close else ""),
                next_step=f"Use one that GET /events/types lists, or a pattern such as '{TYPE_PREFIX}tenant.*'.",
            )
    return check_filter(Filter(types=tuple(wanted))).types


def after(outcome: Outcome, before: Failing, now_ms: int, *, dead_letters: int, dead_letters_max: int) -> Next:
    """Decide what follows an attempt at an event.

    Args:
        outcome: what came of it.
        before: how the endpoint had been failing.
        now_ms: wall time.
        dead_letters: how many the endpoint has.
        dead_letters_max: how many it may have.
    """
    if outcome.result is Result.DELIVERED:
        return Next(failing=Failing(), delivered=True)
    failing = Failing(
        failures=before.failures + 1, since_ms=before.since_ms or now_ms, attempts=before.attempts + 1
    )  # fmt: skip
    if outcome.status == STATUS_GONE:
        return Next(failing=failing, disable=DisabledBecause.GONE)
    if failing.failures >= FAILURES_MAX and now_ms - failing.since_ms >= FAILING_FOR_MS:
        return Next(failing=failing, disable=DisabledBecause.FAILING)
    if is_final(outcome) or failing.attempts > len(BACKOFF_S):
        if dead_letters >= dead_letters_max:
            return Next(failing=failing, disable=DisabledBecause.DEAD_LETTERS)
        return Next(failing=msgspec.structs.replace(failing, attempts=0), parked=True)
    asked_s = min(outcome.retry_after_s, RETRY_AFTER_S_MAX)
    longest_s = BACKOFF_S[failing.attempts - 1]
    return Next(failing=failing, wait_s=max(longest_s, asked_s), least_s=max(BACKOFF_MIN_S, asked_s))


def is_final(outcome: Outcome) -> bool:
    """Say whether the outcome will be the same whenever the same event is sent."""
    if outcome.result in (Result.TOO_LARGE, Result.EXPIRED):
        return True
    return outcome.result is Result.REFUSED and 400 <= outcome.status < 500 and outcome.status not in LATER


def drawn_wait_s(following: Next, fraction: float) -> float:
    """Return how long to wait: anything between the shortest and the longest wait (full jitter).

    Args:
        fraction: drawn, 0 to 1.
    """
    return max(following.least_s, following.wait_s * fraction)


def webhook_missing() -> HubError:
    """Return the refusal for an endpoint that is not there, or is another tenant's."""
    return HubError(
        "webhook_not_found",
        Kind.NOT_FOUND,
        "There is no such webhook.",
        next_step="List the tenant's webhooks to see their ids.",
    )


def _bad_url(reason: str) -> HubError:
    return HubError(
        "invalid_webhook_url",
        Kind.MALFORMED,
        f"The webhook's URL is refused: {reason}.",
        next_step="Name an https endpoint that the hub may reach.",
    )
