"""Events for services: publish them, each once however often it was sent, and read them without a gap.

A stream goes on exactly after the last event that was taken, whatever became of the connection or the hub meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import UUID_RANDOM_BYTES, uuid7
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import read, segment
from central_hub.sdk.sse import SseParser

START: Final = "start"
NOW: Final = "now"
SPEC_VERSION: Final = "1.0"
UNKNOWN_SOURCE: Final = "/services/unknown"

Json = dict[str, Any]  # Any: a JSON document


class HubEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event: its CloudEvents attributes, and the position to go on after.

    `attributes` holds every attribute as it came, those that have a field of their own included.
    """

    id: str
    type: str
    source: str
    position: str
    subject: str = ""
    time: str = ""
    tenant_id: str = ""
    correlation_id: str = ""
    data: Any = None  # Any: JSON
    attributes: Mapping[str, Any] = {}  # Any: as above


class Events:
    """Publishes and reads events over one link.

    Args:
        link: how the hub is reached.
        source: what events come from that name no source.
    """

    def __init__(self, link: HubLink, source: str) -> None:
        self._link = link
        self._source = source

    async def publish(self, events: Iterable[Mapping[str, object]]) -> Json:
        """Publish events in order; sent again when the hub was away, and taken once.

        Args:
            events: CloudEvents' attributes and `data`; what is missing of id, source and specversion is added.

        Returns:
            `{accepted, duplicates, seq}`.

        Raises:
            HubError: what the hub refused; `hub_unreachable` after a few tries.
        """
        made = [self._completed(one) for one in events]
        request = self._link.protocol.publish(made)
        answer: Json = read(await self._link.send_until(request))
        return answer

    async def stream(
        self, *, types: Iterable[str] = (), services: Iterable[str] = (), category: str = "", after: str = NOW
    ) -> AsyncIterator[HubEvent]:
        """Yield events after a position, for ever.

        Args:
            types: only these; one that ends with `*` means all that begin like it.
            services: only those about these services, or published by them.
            category: only of this category.
            after: the position of an event that was taken, `start` or `now`.

        Raises:
            HubError: `position_gone` when nobody can go on from there, and what will not get better by waiting.
        """
        query = {"types": ",".join(types), "services": ",".join(services), "category": category}
        backoff, last = Backoff(), ""
        while True:
            request = self._link.protocol.stream_events(query, after, last)
            try:
                async with self._link.stream(request) as (_, chunks):
                    parser = SseParser()
                    async for chunk in chunks:
                        backoff.reset()
                        for one in parser.feed(chunk):
                            if one.name == "gone":
                                raise _gone()
                            last = one.id or last
                            if one.name == "event":
                                yield event_of(one.data, one.id)
            except HubError as error:
                if error.kind not in (Kind.UNAVAILABLE, Kind.LIMIT, Kind.INTERNAL):
                    raise
                least_s = error.retry_after_s or 0
            else:
                least_s = 0
            await asyncio.sleep(backoff.next_s(random.random(), at_least_s=least_s))  # noqa: S311  # jitter

    async def describe(
        self, name: str, schema: Mapping[str, object], *, compatibility: str, description: str, dry_run: bool
    ) -> Json:
        """Describe a type by a JSON Schema, or give it a new version; see `HubClient.describe_event_type`."""
        path = f"/events/types/{segment(name)}" + ("?dry_run=true" if dry_run else "")
        body = {"json_schema": schema, "compatibility": compatibility, "description": description}
        answer: Json = read(await self._link.send_until(self._link.protocol.command("PUT", path, body)))
        return answer

    def _completed(self, one: Mapping[str, object]) -> Json:
        whole: Json = {"specversion": SPEC_VERSION, "source": self._source, **one}
        whole.setdefault("id", uuid7(time.time_ns() // 1_000_000, random.randbytes(UUID_RANDOM_BYTES)))  # noqa: S311  # an id
        return whole


def event_of(data: bytes, position: str) -> HubEvent:
    """Read an event as the hub tells it."""
    said: Json = msgspec.json.decode(data)
    return HubEvent(
        id=str(said["id"]),
        type=str(said["type"]),
        source=str(said["source"]),
        position=position or str(said.get("hubseq", "")),
        subject=str(said.get("subject", "")),
        time=str(said.get("time", "")),
        tenant_id=str(said.get("tenantid", "")),
        correlation_id=str(said.get("correlationid", "")),
        data=said.get("data"),
        attributes={name: value for name, value in said.items() if name != "data"},
    )


def _gone() -> HubError:
    return HubError(
        "position_gone",
        Kind.GONE,
        "Events after that position have left the log while they were read.",
        next_step="Read the present state and go on with after='now', or with 'start' for what is kept.",
    )
