"""The HTTP shapes of events."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from central_hub.events.model import (
    BATCH_MAX,
    DESCRIPTION_MAX,
    PAGE,
    PAGE_MAX,
    TEXT_MAX,
    TYPE_MAX,
    WAIT_S,
    WAIT_S_MAX,
    Compatibility,
    UnknownTypes,
)

Attribute = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]

_ANY_JSON: Final = msgspec.Meta(description="Any JSON value.")


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A CloudEvent 1.0 in structured form; further extension attributes may stand beside those named here.

    `id` is the publisher's: of events with the same source and id within seven days the first is taken. One without is
    given an id by the hub. `tenantid` and `hubseq` are set by the hub.
    """

    specversion: Annotated[str, msgspec.Meta(min_length=3, max_length=3)]
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=TYPE_MAX)]
    source: Attribute
    id: Attribute | msgspec.UnsetType = msgspec.UNSET
    subject: Attribute | msgspec.UnsetType = msgspec.UNSET
    time: Attribute | msgspec.UnsetType = msgspec.UNSET
    datacontenttype: Attribute | msgspec.UnsetType = msgspec.UNSET
    dataschema: Attribute | msgspec.UnsetType = msgspec.UNSET
    hubcategory: Attribute | msgspec.UnsetType = msgspec.UNSET
    correlationid: Attribute | msgspec.UnsetType = msgspec.UNSET
    causationid: Attribute | msgspec.UnsetType = msgspec.UNSET
    traceparent: Attribute | msgspec.UnsetType = msgspec.UNSET
    tracestate: Attribute | msgspec.UnsetType = msgspec.UNSET
    partitionkey: Attribute | msgspec.UnsetType = msgspec.UNSET
    tenantid: Attribute | msgspec.UnsetType = msgspec.UNSET
    hubseq: Attribute | msgspec.UnsetType = msgspec.UNSET
    data: Annotated[msgspec.Raw, _ANY_JSON] | msgspec.UnsetType = msgspec.UNSET
    data_base64: str | msgspec.UnsetType = msgspec.UNSET


Batch = Annotated[list[CloudEvent], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What became of published events; they are durable.

    `seq` is the position of the last of them in the tenant's domain, or where the domain stood when none was new.
    """

    accepted: int
    duplicates: int
    seq: str


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: of any of these types, about any of these services, of one category; all that are given hold.

    `types` and `services` are separated by commas; a type that ends with `*` means all that begin like it.
    """

    types: str = ""
    services: str = ""
    category: str = ""


class StreamQuery(EventFilter, frozen=True, kw_only=True):
    """The query of a stream of events.

    `after` is a position, `start` (everything that is kept) or `now`; `since` an RFC 3339 time; `last` how many records
    before the end to begin with. Last-Event-ID goes before all of them.
    """

    after: str = ""
    since: str = ""
    last: Annotated[int, msgspec.Meta(ge=0, le=PAGE_MAX)] = 0


class PageQuery(StreamQuery, frozen=True, kw_only=True):
    """The query of a page of events; `wait_s` waits for the first one when there is none yet."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = WAIT_S


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events in order, and the position to go on after; `more` says that there is more to read now."""

    events: list[CloudEvent]
    next: str
    more: bool


class Teller(StrEnum):
    """Who makes events of a type: the hub, services in a shape of the hub's, or the tenant in one of its own."""

    HUB = "hub"
    SERVICES = "services"
    TENANT = "tenant"


class EventTypeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A type of event. `version` is the major one in its name, of a tenant's own type that of its schema; `order` is
    what its subject reads like: events of one subject are in order, as all of a tenant's are."""

    type: str
    name: str
    category: str
    version: int
    told_by: Teller
    order: str
    summary: str


class EventTypeShown(EventTypeAnswer, frozen=True, kw_only=True):
    """A type of event with the JSON Schema of its data, and (none of a tenant's own) an event that could have been."""

    json_schema: dict[str, Any]  # Any: a JSON Schema
    example: dict[str, Any] | None  # Any: an event


class EventTypeList(msgspec.Struct, frozen=True, kw_only=True):
    """Every type of event that is described, in order of name."""

    types: list[EventTypeAnswer]


class EventTypeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A type's data as a JSON Schema (2020-12), which refers to nothing but its own `$defs`.

    `compatibility` is what the new version owes all before it: `backward` (what was published can be read by it),
    `forward` (what is published can be read by those before), `full` or `none`.
    """

    json_schema: dict[str, Any]  # Any: a JSON Schema
    compatibility: Compatibility = Compatibility.BACKWARD
    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)] = ""


class EventTypeQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`dry_run` says what would become of it, and changes nothing."""

    dry_run: bool = False


class VersionQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`version` of a tenant's own type; the newest without."""

    version: Annotated[int, msgspec.Meta(ge=1, le=10**9)] | None = None


class DescribedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A type's version; `is_new` is false where it said the same already."""

    type: str
    version: int
    is_new: bool
    dry_run: bool


class TypeVersionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a tenant's own type."""

    version: int
    json_schema: dict[str, Any]  # Any: a JSON Schema
    compatibility: Compatibility
    description: str
    registered_at: str
    registered_by: str


class TypeVersionList(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of a type that are kept, oldest first."""

    type: str
    versions: list[TypeVersionAnswer]


class PurgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`before`: a position, with which it ends; an RFC 3339 time; or `now` for all that there are."""

    before: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class PurgedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The position up to which a tenant's events are gone."""

    purged_through: str


class RetentionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how much of a tenant's log is kept, null for no end, and where what can be read begins.

    `events_bytes` is what events take as it was last added up, with 320 bytes for each beside its data.
    """

    events_days: float | None
    history_days: float | None
    events_mb: float | None
    events_bytes: int
    begins_after: str
    purged_through: str | None


class EventPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of events of types that the tenant has not described."""

    unknown_types: UnknownTypes
