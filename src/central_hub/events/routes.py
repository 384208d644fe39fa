"""The routes of events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.edge.streams import MEDIA_TYPE as EVENT_STREAM
from central_hub.edge.streams import Sink
from central_hub.events.envelope import Given, read
from central_hub.events.model import BATCH_BYTES_MAX, SCOPE_ADMIN, SCOPE_READ, SCOPE_WRITE, Category
from central_hub.events.reading import START, EventReading, together, wanted_of
from central_hub.events.retention import Purging, Retention
from central_hub.events.schemas import (
    CloudEvent,
    EventPage,
    PageQuery,
    Published,
    PurgeBody,
    PurgedAnswer,
    RetentionAnswer,
    StreamQuery,
)
from central_hub.events.streaming import EventStreams
from central_hub.events.usecases import Publishing
from central_hub.events.view import EventsView
from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN
from central_hub.kernel.ids import PLATFORM, DomainId

TAG: Final = "events"

DAY_MS: Final = 86_400_000
MEGABYTE: Final = 1_000_000

OnClose = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class EventRoutes:
    """Answers about events."""

    publishing: Publishing
    reading: EventReading
    streams: EventStreams
    retention: Retention
    purging: Purging
    view: EventsView

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

    async def purge_events(self, call: Call) -> Reply:
        """Answer POST /events/purge."""
        body: PurgeBody = call.body
        domain = call.ctx.domain
        is_time = "T" in body.before and ":" in body.before
        upto = await self.reading.begin(
            domain, StreamQuery(since=body.before) if is_time else StreamQuery(after=body.before)
        )
        gone = await self.purging.purge(call.ctx, domain, upto)
        return Reply(PurgedAnswer(purged_through=self.reading.position(gone)))

    async def get_event_retention(self, call: Call) -> Reply:
        """Answer GET /events/retention."""
        domain = call.ctx.domain
        kept, purged = self.retention.kept(domain), self.view.purged(domain)
        first = await self.reading.begin(domain, StreamQuery(after=START))
        return Reply(
            RetentionAnswer(
                events_days=kept.events_ms / DAY_MS or None,
                history_days=kept.history_ms / DAY_MS or None,
                events_mb=kept.events_bytes / MEGABYTE or None,
                events_bytes=self.retention.event_bytes(domain),
                begins_after=self.reading.position(first),
                purged_through=self.reading.position(purged) if purged else None,
            )
        )


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
        Operation(
            id="purge_events", method="POST", path="/events/purge", handler=routes.purge_events, scope=SCOPE_ADMIN,
            tag=TAG, body=PurgeBody, answer=PurgedAnswer, needs_tenant=True,
            problems=("invalid_position", "position_gone"),
            summary="Take the tenant's events up to a position or a time away, for good.",
            description="They are told to nobody from then on (a position before it is 410), and those that services "
            "published leave the store with the next snapshots. The trail of what was done stays.",
        ),
        Operation(
            id="get_event_retention", method="GET", path="/events/retention", handler=routes.get_event_retention,
            scope=SCOPE_READ, tag=TAG, answer=RetentionAnswer,
            summary="Show how long the tenant's events are kept, what they take, and where what can be read begins.",
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
