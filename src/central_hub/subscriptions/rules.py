"""Decisions about what a subscription wants and when an event comes again. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Protocol

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import is_name
from central_hub.subscriptions.model import (
    ACK_WAIT_S_MAX,
    ACK_WAIT_S_MIN,
    BACKOFF_S_MAX,
    BACKOFF_STEPS_MAX,
    IN_FLIGHT_MAX,
    MAX_DELIVERIES_MAX,
    PATTERN_LENGTH_MAX,
    PATTERNS_MAX,
    STARS_MAX,
    Filter,
    Terms,
)

STAR: Final = "*"
DELIVERY_LENGTH_MAX: Final = 128
PATTERNS_KEPT: Final = 4_096
"""Filters whose patterns are kept compiled."""

_PATTERN: Final = re.compile(rf"[A-Za-z0-9._*-]{{1,{PATTERN_LENGTH_MAX}}}\Z")
_SOURCE: Final = re.compile(rf"[!-~]{{1,{PATTERN_LENGTH_MAX}}}\Z")
_DELIVERY: Final = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{1,18})\.([0-9]{1,9})\Z")


class Described(Protocol):
    """What a filter asks about an event (events.reading.Told)."""

    @property
    def type(self) -> str:
        """What happened."""
        ...

    @property
    def title(self) -> str:
        """The type's name in a word, for what the hub itself tells."""
        ...

    @property
    def service(self) -> str:
        """The service that it is about, or that published it."""
        ...

    @property
    def publisher(self) -> str:
        """The service that published it, where that is another one than it is about."""
        ...

    @property
    def source(self) -> str:
        """Where it comes from."""
        ...

    @property
    def category(self) -> str:
        """What kind of event it is."""
        ...


def check_filter(wanted: Filter) -> Filter:
    """Return a filter with each word once, in order.

    Raises:
        HubError: `invalid_filter` (422).
    """
    for name, words in (("types", wanted.types), ("sources", wanted.sources)):
        pattern = _PATTERN if name == "types" else _SOURCE
        if len(words) > PATTERNS_MAX or not all(pattern.match(one) and one.count(STAR) <= STARS_MAX for one in words):
            raise _bad_filter(
                f"'{name}' has up to {PATTERNS_MAX} patterns of up to {PATTERN_LENGTH_MAX} characters, in each of "
                f"which '*' may stand {STARS_MAX} times for anything"
            )
    for name, words in (("categories", wanted.categories), ("services", wanted.services)):
        if len(words) > PATTERNS_MAX or not all(is_name(one) for one in words):
            raise _bad_filter(f"'{name}' has up to {PATTERNS_MAX} names")
    return Filter(
        types=_once(wanted.types),
        categories=_once(wanted.categories),
        services=_once(wanted.services),
        sources=_once(wanted.sources),
    )


def check_terms(terms: Terms) -> Terms:
    """Return terms that can be kept.

    Raises:
        HubError: `invalid_terms` (422).
    """
    if not ACK_WAIT_S_MIN <= terms.ack_wait_s <= ACK_WAIT_S_MAX:
        raise _bad_terms(f"'ack_wait_s' is {ACK_WAIT_S_MIN} to {ACK_WAIT_S_MAX:.0f} seconds")
    if not 1 <= len(terms.backoff_s) <= BACKOFF_STEPS_MAX or not all(
        0 <= one <= BACKOFF_S_MAX for one in terms.backoff_s
    ):
        raise _bad_terms(f"'backoff_s' has 1 to {BACKOFF_STEPS_MAX} steps of 0 to {BACKOFF_S_MAX:.0f} seconds")
    if not 1 <= terms.max_deliveries <= MAX_DELIVERIES_MAX:
        raise _bad_terms(f"'max_deliveries' is 1 to {MAX_DELIVERIES_MAX}")
    if not 1 <= terms.max_in_flight <= IN_FLIGHT_MAX:
        raise _bad_terms(f"'max_in_flight' is 1 to {IN_FLIGHT_MAX}")
    return terms


class Matcher:
    """Says whether events are wanted; made once for a filter.

    Args:
        wanted: what the filter says.
        own: the subject of events about whoever asks, which it is not told: of its own dead letters it would make more.
    """

    __slots__ = ("_categories", "_own", "_services", "_source", "_types", "everything")

    def __init__(self, wanted: Filter, *, own: str = "") -> None:
        self._types = any_of(wanted.types)
        self._source = any_of(wanted.sources)
        self._categories = frozenset(wanted.categories)
        self._services = frozenset(wanted.services)
        self._own = own
        self.everything = wanted == Filter()

    def wants(self, event: Described, subject: str = "") -> bool:
        """Say whether an event is wanted."""
        if self._own and subject == self._own:
            return False
        if self.everything:
            return True
        if self._categories and event.category not in self._categories:
            return False
        if self._services and not (event.service in self._services or event.publisher in self._services):
            return False
        if self._source is not None and not self._source(event.source):
            return False
        return self._types is None or bool(self._types(event.type) or (event.title and self._types(event.title)))


def wait_s(terms: Terms, attempts: int) -> float:
    """Return the seconds before an event that was delivered so often, 1 or more, comes again."""
    return terms.backoff_s[min(attempts, len(terms.backoff_s)) - 1]


def is_given_up(terms: Terms, attempts: int) -> bool:
    """Say whether an event that was delivered so often is delivered no more."""
    return attempts >= terms.max_deliveries


def delivery_id(incarnation: str, seq: int, attempt: int) -> str:
    """Write the id of one delivery as consumers carry it."""
    return f"{incarnation}.{seq}.{attempt}"


def read_delivery(text: str, incarnation: str) -> tuple[int, int] | None:
    """Return a delivery's position and attempt; None for what was not issued in this history."""
    found = _DELIVERY.match(text) if len(text) <= DELIVERY_LENGTH_MAX else None
    return None if found is None or found[1] != incarnation else (int(found[2]), int(found[3]))


def subscription_missing() -> HubError:
    """Return the refusal for a subscription that is not there, or is another tenant's."""
    return HubError(
        "subscription_not_found",
        Kind.NOT_FOUND,
        "There is no such subscription.",
        next_step="List the subscriptions (GET /subscriptions) or create one (POST /subscriptions).",
    )


@lru_cache(maxsize=PATTERNS_KEPT)
def any_of(patterns: tuple[str, ...]) -> Callable[[str], object] | None:
    """Return what says whether a word is like any of some patterns; None for no patterns, which all words are like."""
    if not patterns:
        return None
    # A pattern holds few stars and a word is short, so that no pattern takes long to say no.
    parts = (".*".join(re.escape(part) for part in one.split(STAR)) for one in patterns)
    return re.compile("|".join(f"(?:{part})" for part in parts), re.DOTALL).fullmatch


def _once(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(words)))


def _bad_filter(rule: str) -> HubError:
    return HubError(
        "invalid_filter", Kind.MALFORMED, f"The filter is refused: {rule}.", next_step="Leave out what is not needed."
    )


def _bad_terms(rule: str) -> HubError:
    return HubError(
        "invalid_terms", Kind.MALFORMED, f"The delivery's terms are refused: {rule}.",
        next_step="Leave them out for what is usual.",
    )  # fmt: skip
