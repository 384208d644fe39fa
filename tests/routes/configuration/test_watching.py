"""Configuration on the watch: who may, what is named, and that it ends with its stream."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from tests.isolation.world import World, running
from tests.unit.configuration.support import Recorder


class Stream(Recorder):
    """A sink of an open stream."""

    buffered = 0

    def close(self) -> None:
        self.is_cut = True


async def opened(world: World, target: str, key: str) -> tuple[Stream, Any]:
    answer = await world.ask("GET", target, key=key)
    assert answer.status == 200, answer.body
    assert answer.stream is not None
    sink = Stream()
    return sink, answer.stream(cast(Any, sink))


def values(sink: Stream) -> list[Any]:
    frames = [frame for frame in sink.frames if frame.startswith(b"event: config\n")]
    return [msgspec.json.decode(frame.partition(b"data: ")[2]) for frame in frames]


async def test_a_watch_carries_services_and_configuration_and_forgets_both() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        sink, close = await opened(world, "/watch?services=risk&config=*,risk@production", "acme")
        assert [(value["service"], value["environment"]) for value in values(sink)] == [
            ("", ""),
            ("risk", "production"),
        ]
        assert any(frame.startswith(b"event: snapshot") for frame in sink.frames)
        assert world.hub.features.configuring.announcements.watchers == 2
        close()
        assert world.hub.features.configuring.announcements.watchers == 0
        assert world.hub.discovery.watch.watchers == 0


async def test_configuration_alone_can_be_watched() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        sink, _ = await opened(world, "/watch?config=*", "acme")
        assert values(sink)[0]["config"]["features"]["advanced_ai"] is True


@pytest.mark.parametrize(
    ("key", "target", "status", "code"),
    [
        ("acme:reader", "/watch?config=*", 403, b"scope_missing"),
        ("root", "/watch?config=*", 400, b"tenant_required"),
        ("acme", "/watch?config=", 400, b"invalid_query"),
        ("acme", "/watch", 400, b"invalid_query"),
        ("staging", "/watch?config=@production", 403, b"environment_denied"),
    ],
)
async def test_who_may_not_watch_configuration(key: str, target: str, status: int, code: bytes) -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        wanted = {"name": "s", "scopes": ["registry:read", "config:read"], "environment": "staging"}
        world.keys["staging"] = (await world.must("POST", "/tenants/acme/keys", key="root", body=wanted))["api_key"]
        answer = await world.ask("GET", target, key=key)
        assert answer.status == status
        assert code in answer.body
        assert world.hub.features.configuring.announcements.watchers == 0
