"""Events: what is told to the outside of what became true, as CloudEvents 1.0.2 in structured JSON.

A feature says which of its facts are events, under which type and with which data; whoever delivers events knows
nothing of features. An event's id is the id of its record, so it is the same however often it is told.

Source: CloudEvents 1.0.2, JSON event format; extension names as in its registry (lower case, at most 20 characters).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId
from central_hub.kernel.records import Applied

TYPE_PREFIX: Final = "io.centralhub."
SPEC_VERSION: Final = "1.0"
MEDIA_TYPE: Final = "application/cloudevents+json; charset=utf-8"

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """One type of event.

    Args:
        name: `io.centralhub.<category>.<fact>.v<major>`.
        fact: the fact that it tells; one fact is one type of event at most.
        summary: one sentence for its reader.
        order: what its subject reads like, with words in braces for what differs; events of one subject are in order.
        subject: what the event is about, within its tenant; consumers that spread the work keep one subject together.
        data: its data, given the fact: some of its fields, or a struct made of it; JSON values, never a secret.
        example: a fact that could have been.
        shape: the struct, where it is one.
        service: the service that it is about, given the fact; empty where it is about none.
        cause: the id of the event that led to it, given the fact; empty where none did.
    """

    name: str
    fact: type[Fact]
    summary: str
    order: str
    subject: Callable[[Any], str]  # Any: an instance of `fact`
    data: Callable[[Any], Mapping[str, object] | msgspec.Struct]  # Any: as above
    example: Fact
    shape: type[msgspec.Struct] | None = None
    service: Callable[[Any], str] = lambda _: ""  # Any: as above
    cause: Callable[[Any], str] = lambda _: ""  # Any: as above

    @property
    def title(self) -> str:
        """Its name in a word, which is that of the fact."""
        return self.fact.__name__

    @property
    def category(self) -> str:
        """What it is about: the word after the prefix."""
        return category_of(self.name)

    @property
    def version(self) -> int:
        """Its major version, as its name says."""
        return version_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedType:
    """One type of event that services report and the hub describes: whoever publishes it keeps to its shape.

    Args:
        name: as that of an `EventType`.
        title: its name in a word.
        summary: one sentence for its reader.
        order: what its subject reads like.
        shape: its data.
        subject: what the event is about, given the data; the hub sets it, and its last part is the service.
        example: data that could have been reported.
    """

    name: str
    title: str
    summary: str
    order: str
    shape: type[msgspec.Struct]
    subject: Callable[[Any], str]  # Any: an instance of `shape`
    example: msgspec.Struct

    @property
    def category(self) -> str:
        """What it is about: the word after the prefix."""
        return category_of(self.name)

    @property
    def version(self) -> int:
        """Its major version, as its name says."""
        return version_of(self.name)


class EventTypes:
    """Every type of event there is, by name and by fact.

    Args:
        types: what the hub tells.
        reported: what services report.
    """

    def __init__(self, types: Iterable[EventType], reported: Iterable[ReportedType] = ()) -> None:
        self.types = tuple(types)
        self.reported = {one.name: one for one in reported}
        self._by_fact = {one.fact.__name__: one for one in self.types}
        self.names = frozenset(one.name for one in self.types)
        if not len(self.types) == len(self._by_fact) == len(self.names):
            raise ValueError("one fact is one type of event, and a type has one name")
        if not self.names.isdisjoint(self.reported):
            raise ValueError("a type is told by the hub or reported by services, not both")
        self._by_name = {word: one for one in self.described() for word in (one.name, one.title)}

    def of(self, fact_name: str) -> EventType | None:
        """Return the type of event that a fact of this name is; None for a fact that is told to nobody."""
        return self._by_fact.get(fact_name)

    def find(self, name: str) -> EventType | ReportedType | None:
        """Return the type of this name, or with this title."""
        return self._by_name.get(name)

    def described(self) -> list[EventType | ReportedType]:
        """Return every type, told and reported, in order of name."""
        return sorted((*self.types, *self.reported.values()), key=lambda one: one.name)


def category_of(name: str) -> str:
    """Return the category that a type's name says."""
    return name.removeprefix(TYPE_PREFIX).partition(".")[0]


def version_of(name: str) -> int:
    """Return the major version that a type's name says."""
    return int(name.rpartition(".v")[2])


class FieldsOf:
    """Shows some fields of a fact as JSON values, and nothing else of it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def __call__(self, fact: Any) -> dict[str, object]:  # Any: the fact's own type
        return {name: msgspec.to_builtins(getattr(fact, name)) for name in self.names}


def fields_of(*names: str) -> FieldsOf:
    """Return what shows these fields of a fact."""
    return FieldsOf(names)


def source_of(domain: DomainId) -> str:
    """Return the source of what the hub itself tells of a domain."""
    return f"/{domain}" if domain in (SHARED, PLATFORM) else f"/tenants/{domain}"


def cloud_event(kind: EventType, applied: Applied, incarnation: str) -> bytes:
    """Encode an event of a tenant.

    Args:
        kind: its type.
        applied: the record that it tells.
        incarnation: which history the record's position belongs to.
    """
    own = applied.domain not in (SHARED, PLATFORM)
    event: dict[str, object] = {
        "specversion": SPEC_VERSION,
        "id": applied.id,
        "source": source_of(applied.domain),
        "type": kind.name,
        "subject": kind.subject(applied.fact),
        "time": rfc3339(applied.time_ms),
        "datacontenttype": "application/json",
    }
    if own:
        event["tenantid"] = applied.domain
    event["hubseq"] = f"{incarnation}.{applied.domain_seq}"
    if applied.actor.correlation:
        event["correlationid"] = applied.actor.correlation
    cause = kind.cause(applied.fact)
    if cause:
        event["causationid"] = cause
    event["data"] = kind.data(applied.fact)
    return _encode(event)
