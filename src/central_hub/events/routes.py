"""The routes of events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.edge.streams import MEDIA_TYPE as EVENT_STREAM
from central_hub.edge.streams import Sink
from central_hub.events.envelope import Given, read
from central_hub.events.model import BATCH_BYTES_MAX, SCOPE_READ, SCOPE_WRITE, Category
from central_hub.events.reading import EventReading, together, wanted_of
from central_hub.events.schemas import (
    CloudEvent,
    EventPage,
    PageQuery,
    Published,
    StreamQuery,
)
from central_hub.events.streaming import EventStreams
from central_hub.events.usecases import Publishing
from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN
from central_hub.kernel.ids import PLATFORM, DomainId

TAG: Final = "events"

OnClose = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class EventRoutes:
    """Answers about events."""

    publishing: Publishing
    reading: EventReading
    streams: EventStreams

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


def _domain(call: Call) -> DomainId:
    """Return whose events an operation is about: the platform's, or the caller's own."""
    return PLATFORM if call.operation.platform else call.ctx.domain


def operations(routes: EventRoutes) -> tuple[Operation, ...]:
    """Return the rows of events."""
    return (
        Operation(
            id="publish_events", method="POST", path="/events", handler=routes.publish_events, scope=SCOPE_WRITE,
            tag=TAG, body=CloudEvent | list[CloudEvent], body_bytes_max=BATCH_BYTES_MAX, read=read, status=201,
            answer=Published, hot=True, problems=(
                "invalid_event", "invalid_event_data", "undescribed_event_type", "event_too_large", "batch_too_large",
            ),
            summary="Publish one CloudEvent or an array of them; they are durable when this answers.",
            description="Structured, as a batch, or with the attributes in `ce-` headers. Of events with the same "
            "source and id within seven days the first is taken. `hubcategory` is "
            f"`{Category.DOMAIN.value}` (without a word) or `{Category.INTEGRATION.value}`.",
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
