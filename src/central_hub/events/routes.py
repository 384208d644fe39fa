"""The routes of events."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.edge.streams import MEDIA_TYPE as EVENT_STREAM
from central_hub.edge.streams import Sink
from central_hub.events.contract import example_of, schema_of
from central_hub.events.envelope import Given, read
from central_hub.events.model import BATCH_BYTES_MAX, SCOPE_READ, SCOPE_WRITE, Category
from central_hub.events.reading import EventReading, together, wanted_of
from central_hub.events.schemas import (
    CloudEvent,
    EventPage,
    EventTypeAnswer,
    EventTypeList,
    EventTypeShown,
    PageQuery,
    Published,
    StreamQuery,
    Teller,
)
from central_hub.events.streaming import EventStreams
from central_hub.events.usecases import Publishing
from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.events import EventType, EventTypes, ReportedType
from central_hub.kernel.ids import PLATFORM, DomainId

TAG: Final = "events"
SCHEMA_MEDIA_TYPE: Final = "application/schema+json"

OnClose = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class EventRoutes:
    """Answers about events."""

    publishing: Publishing
    reading: EventReading
    streams: EventStreams
    types: EventTypes

    async def publish_events(self, call: Call) -> Reply:
        """Answer POST /events."""
        given: list[Given] = call.body
        outcome = await self.publishing.publish(call.ctx, given, key=call.idempotency_key)
        seq = self.reading.position(outcome.seq)
        return Reply(Published(accepted=outcome.accepted, duplicates=outcome.duplicates, seq=seq))

    async def list_events(self, call: Call) -> Reply:
        """Answer GET /events with a page; waits for the first event where that is asked for."""
        query: PageQuery = call.query
        domain, wanted = _domain(call), wanted_of(query)
        after = await self.reading.begin(domain, query)
        page = await self.reading.page(domain, after, wanted, query.limit)
        if not page.events and query.wait_s:
            await self.streams.wait(domain, page.seq, query.wait_s)
            self.streams.check(call.ctx)
            page = await self.reading.page(domain, page.seq, wanted, query.limit)
        following = self.reading.position(page.seq).encode("ascii")
        tail = b'],"next":"%b","more":%b}' % (following, b"true" if page.more else b"false")
        return Reply(b'{"events":[' + together(page.events) + tail)

    async def stream_events(self, call: Call) -> Reply:
        """Answer GET /events/stream."""
        query: StreamQuery = call.query
        domain, wanted = _domain(call), wanted_of(query)
        self.streams.admit(domain)
        after = await self.reading.begin(domain, query, call.headers.get("last-event-id") or "")

        def on_open(sink: Sink) -> OnClose:
            return self.streams.open(call.ctx, domain, sink, wanted, after)

        return Reply(media_type=EVENT_STREAM, stream=on_open)

    async def list_event_types(self, call: Call) -> Reply:
        """Answer GET /events/types."""
        return Reply(EventTypeList(types=[EventTypeAnswer(**_described(one)) for one in self.types.described()]))

    async def get_event_type(self, call: Call) -> Reply:
        """Answer GET /events/types/{event_type}."""
        kind = self._kind(call)
        return Reply(EventTypeShown(**_described(kind), json_schema=schema_of(kind), example=example_of(kind)))

    async def get_event_schema(self, call: Call) -> Reply:
        """Answer GET /events/types/{event_type}/schema."""
        return Reply(msgspec.json.encode(schema_of(self._kind(call))), media_type=SCHEMA_MEDIA_TYPE)

    def _kind(self, call: Call) -> EventType | ReportedType:
        name = call.path["event_type"]
        found = self.types.find(name)
        if found is None:
            raise no_such_type(name, self.types)
        return found


def no_such_type(name: str, types: EventTypes) -> HubError:
    """Return the refusal of a type that is not there, naming the nearest that is."""
    words = [word for one in types.described() for word in (one.name, one.title)]
    near = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    return HubError(
        "event_type_not_found", Kind.NOT_FOUND,
        "There is no such type of event." + (f" Did you mean '{near[0]}'?" if near else ""),
        next_step="GET /events/types lists those there are.",
    )  # fmt: skip


def _described(kind: EventType | ReportedType) -> dict[str, Any]:  # Any: members of an answer
    return {
        "type": kind.name,
        "name": kind.title,
        "category": kind.category,
        "version": kind.version,
        "told_by": Teller.HUB if isinstance(kind, EventType) else Teller.SERVICES,
        "order": kind.order,
        "summary": kind.summary,
    }


def _domain(call: Call) -> DomainId:
    """Return whose events an operation is about: the platform's, or the caller's own."""
    return PLATFORM if call.operation.platform else call.ctx.domain


def operations(routes: EventRoutes) -> tuple[Operation, ...]:
    """Return the rows of events."""
    return (
        Operation(
            id="publish_events", method="POST", path="/events", handler=routes.publish_events, scope=SCOPE_WRITE,
            tag=TAG, body=CloudEvent | list[CloudEvent], body_bytes_max=BATCH_BYTES_MAX, read=read, status=201,
            answer=Published, hot=True, problems=("invalid_event", "event_too_large", "batch_too_large"),
            summary="Publish one CloudEvent or an array of them; they are durable when this answers.",
            description="Structured, as a batch, or with the attributes in `ce-` headers. Of events with the same "
            "source and id within seven days the first is taken. `hubcategory` is "
            f"`{Category.DOMAIN.value}` (without a word) or `{Category.INTEGRATION.value}`.",
        ),
        Operation(
            id="list_event_types", method="GET", path="/events/types", handler=routes.list_event_types, tag=TAG,
            scope=SCOPE_READ, answer=EventTypeList,
            summary="List the types of events that the hub tells, and those that services report in its shape.",
        ),
        Operation(
            id="get_event_type", method="GET", path="/events/types/{event_type}", handler=routes.get_event_type,
            tag=TAG, scope=SCOPE_READ, answer=EventTypeShown, problems=("event_type_not_found",),
            summary="Show a type of event: the JSON Schema of its data, and an example.",
        ),
        Operation(
            id="get_event_schema", method="GET", path="/events/types/{event_type}/schema",
            handler=routes.get_event_schema, tag=TAG, scope=SCOPE_READ, media_type=SCHEMA_MEDIA_TYPE,
            problems=("event_type_not_found",), summary="Return the JSON Schema of a type's data, as a document.",
        ),
        *_reading(routes, "/events", "events", "the tenant's", scope=SCOPE_READ),
        *_reading(
            routes, "/platform/events", "platform_events", "the platform's", scope=SCOPE_PLATFORM_ADMIN, platform=True
        ),
    )  # fmt: skip


def _reading(
    routes: EventRoutes, path: str, name: str, whose: str, *, scope: str, platform: bool = False
) -> tuple[Operation, ...]:
    row: dict[str, Any] = {"tag": TAG, "scope": scope, "platform": platform}  # Any: Operation's own types
    return (
        Operation(
            id=f"list_{name}", method="GET", path=path, handler=routes.list_events, query=PageQuery, answer=EventPage,
            problems=("invalid_position", "position_gone", "too_many_waiters"),
            summary=f"Read {whose} events from a position on: what the hub tells, and what was published.", **row,
        ),
        Operation(
            id=f"stream_{name}", method="GET", path=f"{path}/stream", handler=routes.stream_events, query=StreamQuery,
            media_type=EVENT_STREAM, problems=("invalid_position", "position_gone", "too_many_watchers"),
            summary=f"Stream {whose} events; resumes exactly after Last-Event-ID.",
            description="Each message's data is one CloudEvent, its id the position to go on after. Without a position "
            "it begins with what becomes true from now on.", **row,
        ),
    )  # fmt: skip
