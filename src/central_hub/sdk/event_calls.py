"""What a client offers about events: publish them, read them, follow a durable subscription."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from central_hub.sdk.events import NOW, Events, HubEvent
from central_hub.sdk.link import HubLink
from central_hub.sdk.subscriptions import HELD, HOLD_S, Consumer, consumer_of

Json = dict[str, Any]  # Any: a JSON document


class EventCalls:
    """The part of `HubClient` that is about events.

    Args:
        link: how the hub is reached.
        source: what events come from that name no source.
    """

    def __init__(self, link: HubLink, source: str) -> None:
        self._events = Events(link, source)
        self._events_link = link

    async def publish(self, type: str, data: object = None, /, **attributes: object) -> Json:  # noqa: A002  # CloudEvents' word
        """Publish one event; durable when this returns, and taken once however often it was sent.

        Args:
            type: what happened, in words with dots between them.
            data: what there is to say about it, JSON.
            attributes: further CloudEvents attributes: `subject`, `id`, `source`, `time`, `hubcategory`, extensions.

        Raises:
            HubError: what the hub refused; `hub_unreachable` after a few tries.
        """
        said: Json = {"type": type, **attributes}
        return await self.publish_events([said if data is None else {**said, "data": data}])

    async def publish_events(self, events: Iterable[Mapping[str, object]]) -> Json:
        """Publish events in order, all of them or none; see `publish`. Returns `{accepted, duplicates, seq}`."""
        return await self._events.publish(events)

    def events(
        self,
        *types: str,
        services: Iterable[str] = (),
        category: str = "",
        after: str = NOW,
    ) -> AsyncIterator[HubEvent]:
        """Yield the tenant's events, for ever and without a gap; `after` is a position, `start` or `now`.

        Args:
            types: only these; one that ends with `*` means all that begin like it.
            services: only those about these services, or published by them.
            category: only of this category.
            after: where to begin.
        """
        return self._events.stream(types=types, services=services, category=category, after=after)

    async def describe_event_type(
        self,
        name: str,
        schema: Mapping[str, object],
        *,
        compatibility: str = "backward",
        description: str = "",
        dry_run: bool = False,
    ) -> Json:
        """Describe one of the tenant's own types of events, or give it a new version; needs `events:admin`.

        Args:
            name: the type.
            schema: JSON Schema (2020-12) of its data.
            compatibility: what it owes the versions before it: "backward", "forward", "full" or "none".
            description: one sentence for its readers.
            dry_run: say what would become of it, and change nothing.

        Returns:
            `{type, version, is_new, dry_run}`.

        Raises:
            HubError: `invalid_event_schema` (422), `incompatible_schema` (409), ….
        """
        return await self._events.describe(
            name, schema, compatibility=compatibility, description=description, dry_run=dry_run
        )

    def subscribe(
        self,
        name: str,
        *,
        types: Iterable[str] = (),
        services: Iterable[str] = (),
        categories: Iterable[str] = (),
        sources: Iterable[str] = (),
        deliver: str | Mapping[str, str] = "new",
        terms: Mapping[str, object] | None = None,
        create: bool = True,
        max_held: int = HELD,
        hold_s: float = HOLD_S,
    ) -> Consumer:
        """Follow a durable subscription: events come until they are acknowledged, whatever becomes of the connection.

        Use it as `async with hub.subscribe(...) as deliveries:` and iterate; several processes share the work.

        Args:
            name: the subscription's.
            types, sources: patterns, in which `*` stands for anything.
            services: about these services, or published by them.
            categories: only of these.
            deliver: where one that is made begins: "new", "all", "last", or `{policy, position or time}`.
            terms: `{ack_wait_s, backoff_s, max_deliveries, max_in_flight}`, as far as they are not to be as usual.
            create: make it, with what is said above, where it is not there; one that is there stays as it is.
            max_held: events that this process holds at once.
            hold_s: how long the hub is asked for more time for an event that is being handled.

        Raises:
            HubError: while iterating: `position_gone` when nobody can go on from its place, and what will not get
                better by waiting.
        """
        return consumer_of(
            self._events_link, name, types=types, services=services, categories=categories, sources=sources,
            deliver=deliver, terms=terms, create=create, max_held=max_held, hold_s=hold_s,
        )  # fmt: skip
