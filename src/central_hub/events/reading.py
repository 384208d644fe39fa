"""Reading a domain's log as events: where to begin, what to show, pages.

A position is of one domain and one history. Everything up to it has been read; records that are no event, or not one
that was asked for, move it on as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from central_hub.events.envelope import encoded
from central_hub.events.model import (
    PAGE_MAX,
    READ_PAGE,
    SCANNED_MAX,
    SERVICES_PER_FILTER_MAX,
    TYPE_MAX,
    TYPES_PER_FILTER_MAX,
    Category,
    EventPublished,
    Position,
)
from central_hub.events.ports import Applying, DomainLog
from central_hub.events.schemas import EventFilter, StreamQuery
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.events import EventTypes, cloud_event, source_of
from central_hub.kernel.ids import DomainId, is_name
from central_hub.kernel.patience import come_true
from central_hub.kernel.records import Applied

START: Final = "start"
NOW: Final = "now"
ANY_LIKE: Final = "*"
SNAPSHOT: Final = {"services": "/services/", "watch": "/watch", "events": "/events?after=start"}
"""Where the present state is read by who cannot go on from a position."""

_POSITION: Final = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{1,18})\Z")
_TYPE: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{TYPE_MAX}}}\*?\Z")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a reader wants; what is empty wants all. Equal for readers who want the same."""

    types: frozenset[str] = frozenset()
    beginnings: tuple[str, ...] = ()
    services: frozenset[str] = frozenset()
    category: str = ""

    @property
    def everything(self) -> bool:
        """Whether nothing is filtered."""
        return not (self.types or self.beginnings or self.services or self.category)


class Told(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event ready to be sent, and what filters ask about it: what it is about, and which service published it."""

    seq: int
    type: str
    title: str
    service: str
    category: str
    body: bytes
    publisher: str = ""
    source: str = ""
    subject: str = ""

    def is_for(self, wanted: Wanted) -> bool:
        """Say whether a reader wants it."""
        if wanted.category and self.category != wanted.category:
            return False
        if wanted.services and not (self.service in wanted.services or self.publisher in wanted.services):
            return False
        if not (wanted.types or wanted.beginnings):
            return True
        named = self.type in wanted.types or self.title in wanted.types
        return named or self.type.startswith(wanted.beginnings)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, up to where was looked, and whether there is more to look at."""

    events: tuple[Told, ...]
    seq: int
    more: bool


class EventReading:
    """Reads a domain's log as events.

    Args:
        log: where records are.
        applying: opens them, and knows what was applied.
        types: what facts are told as.
        purged: up to where a domain's events are told to nobody any more.
        patience_s: how long a reader waits for what another hub wrote.
    """

    def __init__(
        self,
        log: DomainLog,
        applying: Applying,
        types: EventTypes,
        purged: Callable[[DomainId], int] = lambda _: 0,
        *,
        patience_s: float = 0.0,
    ) -> None:
        self._log = log
        self._purged = purged
        self._applying = applying
        self._types = types
        self._patience_s = patience_s

    @property
    def incarnation(self) -> str:
        """Which history positions belong to."""
        return self._applying.incarnation

    def head(self, domain: DomainId) -> int:
        """Return the position of the last record of a domain."""
        return self._applying.position(domain)

    def position(self, seq: int) -> str:
        """Write a position as clients carry it."""
        return Position(self._applying.incarnation, seq).format()

    def told(self, applied: Applied) -> Told | None:
        """Return a record as it is told; None for one that is told to nobody."""
        incarnation = self._applying.incarnation
        fact = applied.fact
        if isinstance(fact, EventPublished):
            publisher = fact.source.rpartition("/")[2]
            reported = self._types.reported.get(fact.type)
            return Told(
                seq=applied.domain_seq,
                type=fact.type,
                title="" if reported is None else reported.title,
                service=publisher if reported is None else fact.subject.rpartition("/")[2],
                category=fact.category.value if reported is None else reported.category,
                body=encoded(applied, fact, incarnation),
                publisher=publisher,
                source=fact.source,
                subject=fact.subject,
            )
        kind = self._types.of(applied.type)
        if kind is None:
            return None
        return Told(
            seq=applied.domain_seq,
            type=kind.name,
            title=kind.title,
            service=kind.service(fact),
            category=kind.category,
            body=cloud_event(kind, applied, incarnation),
            source=source_of(applied.domain),
            subject=kind.subject(fact),
        )

    async def begin(self, domain: DomainId, query: StreamQuery, last_id: str = "") -> int:
        """Return the position that a reader begins after.

        Raises:
            HubError: `invalid_position`, `invalid_query` (400), `position_gone` (410).
        """
        given = [bool(query.after), bool(query.since), bool(query.last)]
        if sum(given) > 1:
            raise _bad_query("Give one of 'after', 'since' and 'last'.")
        head = self.head(domain)
        after = last_id or query.after
        if after == START or query.since or query.last:
            first = await self._first(domain)
            if query.since:
                return await self._before_time(domain, first, _time_ms(query.since))
            return max(first, head - query.last) if query.last else first
        if after in ("", NOW):
            return head
        return await self._resumed(domain, after)

    async def page(self, domain: DomainId, after: int, wanted: Wanted, limit: int) -> Page:
        """Return up to `limit` events after a position, oldest first; looks at `SCANNED_MAX` records at most.

        Raises:
            HubError: `position_gone` (410).
        """
        if after < self._purged(domain):
            raise position_gone("what came after it was purged")
        found: list[Told] = []
        seq = after
        while seq - after < SCANNED_MAX:
            records = await self._log.read_domain(domain, seq, min(READ_PAGE, PAGE_MAX))
            if not records:
                break
            if records[0].domain_seq != seq + 1:
                raise position_gone("records after it have left the log")
            for record in records:
                applied = self._applying.opened(record)
                told = None if applied is None else self.told(applied)
                seq = record.domain_seq
                if told is not None and told.is_for(wanted):
                    found.append(told)
                    if len(found) == limit:
                        return Page(events=tuple(found), seq=seq, more=seq < self.head(domain))
        return Page(events=tuple(found), seq=seq, more=seq < self.head(domain))

    async def _resumed(self, domain: DomainId, text: str) -> int:
        match = _POSITION.match(text)
        if match is None:
            raise HubError(
                "invalid_position", Kind.INVALID, "That position was not issued by a hub.",
                next_step="Use one that came with an event, 'start' or 'now'.",
            )  # fmt: skip
        seq = int(match[2])
        known = match[1] == self._applying.incarnation
        if not known or not await come_true(lambda: seq <= self.head(domain), self._patience_s):
            raise position_gone("it belongs to another history")
        if seq < await self._first(domain):
            raise position_gone("records after it have left the log")
        return seq

    async def _first(self, domain: DomainId) -> int:
        """Return the position behind which nothing has left."""
        return max(await self._log.horizon(domain), self._purged(domain))

    async def _before_time(self, domain: DomainId, first: int, time_ms: int) -> int:
        """Return the last position before which everything was written before a time; clocks that were set aside."""
        low, high = first, self.head(domain)
        while low < high:
            middle = (low + high) // 2
            records = await self._log.read_domain(domain, middle, 1)
            if not records or records[0].time_ms >= time_ms:
                high = middle
            else:
                low = middle + 1
        return low


def wanted_of(query: EventFilter) -> Wanted:
    """Read a filter.

    Raises:
        HubError: `invalid_query` (400).
    """
    types = [word for word in query.types.split(",") if word]
    services = [word for word in query.services.split(",") if word]
    if len(types) > TYPES_PER_FILTER_MAX or not all(_TYPE.match(word) for word in types):
        raise _bad_query(f"'types' names up to {TYPES_PER_FILTER_MAX} types, separated by commas.")
    if len(services) > SERVICES_PER_FILTER_MAX or not all(is_name(word) for word in services):
        raise _bad_query(f"'services' names up to {SERVICES_PER_FILTER_MAX} services, separated by commas.")
    if query.category and not is_name(query.category):
        raise _bad_query(f"'category' is a word, such as 'service', 'config' or '{Category.INTEGRATION.value}'.")
    return Wanted(
        types=frozenset(word for word in types if not word.endswith(ANY_LIKE)),
        beginnings=tuple(sorted({word[:-1] for word in types if word.endswith(ANY_LIKE)})),
        services=frozenset(services),
        category=query.category,
    )


def position_gone(reason: str) -> HubError:
    """Return the refusal of a position from which nobody can go on."""
    return HubError(
        "position_gone",
        Kind.GONE,
        f"Nobody can go on from that position: {reason}.",
        next_step="Read the present state (GET /services/, GET /config/{tenant_id}) and go on with after=now, "
        "or read what is kept with after=start.",
        fields={"snapshot": SNAPSHOT},
    )


def _time_ms(text: str) -> int:
    try:
        when = datetime.fromisoformat(text.upper())
        if when.tzinfo is None:
            raise ValueError
        return int(when.timestamp() * 1_000)
    except (ValueError, OverflowError):
        raise _bad_query("'since' is an RFC 3339 time with its zone.") from None


def _bad_query(message: str) -> HubError:
    return HubError("invalid_query", Kind.INVALID, message, next_step="Correct the query string.")


def together(pages: Sequence[Told]) -> bytes:
    """Join events to the members of a JSON array."""
    return b",".join([told.body for told in pages])
