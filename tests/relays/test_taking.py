"""Events from brokers into one tenant's log, on every broker there is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from central_hub.kernel.brokers import Trouble
from central_hub.relays.model import Settings
from tests.brokers import KafkaPlace, Place
from tests.relays.support import linked, trouble_of
from tests.unit.relays.house import House, ctx


def event(number: int, **changes: Any) -> bytes:
    given = {
        "specversion": "1.0", "type": "com.example.made", "source": "/plant/line-1", "id": f"e-{number}",
        "hubcategory": "integration", "data": {"n": number},
    } | changes  # fmt: skip
    return json.dumps({name: value for name, value in given.items() if value is not None}).encode()


def taking(place: Place, **changes: Any) -> Settings:
    return place.settings(**({"into": "acme", "beginning": True} | changes))


async def taken(house: House, count: int) -> list[int]:
    """Wait until so many events are recorded; returns their numbers."""
    await house.until(lambda: house.line().taken >= count)
    return [one["data"]["n"] for one in await house.told()]


async def nothing_left(place: Place) -> None:
    async with asyncio.timeout(10):
        while await place.unacknowledged():
            await asyncio.sleep(0.05)


async def test_events_become_the_tenants_that_the_operator_bound(place: Place) -> None:
    await place.write(event(1), event(2))
    async with linked() as house:
        await house.create(settings=taking(place))
        assert await taken(house, 2) == [1, 2]
        first = (await house.told())[0]
        assert {name: first[name] for name in ("id", "type", "source", "tenantid", "hubcategory")} == {
            "id": "e-1", "type": "com.example.made", "source": "/plant/line-1", "tenantid": "acme",
            "hubcategory": "integration",
        }  # fmt: skip
        assert await house.told("globex") == []
        await nothing_left(place)


async def test_what_comes_later_is_taken_in_order(place: Place) -> None:
    await place.write(event(0))
    async with linked() as house:
        await house.create(settings=taking(place))
        await taken(house, 1)
        await place.write(*(event(number) for number in range(1, 300)))
        assert await taken(house, 300) == list(range(300))


async def test_what_comes_twice_is_recorded_once(place: Place) -> None:
    await place.write(event(1), event(1), event(2), event(1))
    async with linked() as house:
        await house.create(settings=taking(place))
        assert await taken(house, 2) == [1, 2]
        await house.until(lambda: house.line().known == 2)


async def test_an_event_without_an_id_is_known_by_its_place(place: Place) -> None:
    await place.write(event(1, id=None), event(1, id=None))
    async with linked() as first:
        await first.create(settings=taking(place))
        assert await taken(first, 2) == [1, 1]


async def test_what_was_not_acknowledged_is_taken_again_and_recorded_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash of the hub between its commit and the acknowledgement."""
    monkeypatch.setattr("central_hub.adapters.brokers.nats_source.ACK_WAIT_S", 1.0)

    async def crash(_: Any) -> None:
        await asyncio.sleep(3600)

    with monkeypatch.context() as patched:
        for name in ("nats_source.NatsSource", "redis_source.RedisSource", "kafka_source.KafkaSource"):
            patched.setattr(f"central_hub.adapters.brokers.{name}.acknowledge", crash)
        await place.write(event(1, id=None), event(2))
        async with linked() as first:
            await first.create(settings=taking(place))
            assert await taken(first, 2) == [1, 2]
    async with linked(before=first) as second:
        await second.until(second.following.lines)
        await second.until(lambda: second.line().known == 2)
        assert [one["data"]["n"] for one in await second.told()] == [1, 2]
        await place.write(event(3))
        await second.until(lambda: second.line().taken == 1)


async def test_events_with_their_attributes_in_headers_are_taken(place: Place) -> None:
    headers = {"specversion": "1.0", "type": "com.example.made", "source": "/plant/line-1", "id": "b-1"}
    await place.write(b'{"n": 7}', headers=headers | {"content-type": "application/json"})
    async with linked() as house:
        await house.create(settings=taking(place))
        assert await taken(house, 1) == [7]


async def test_what_can_never_be_recorded_is_passed_over(place: Place) -> None:
    await place.write(
        event(1), b"no json", b"{}", event(2, type="io.centralhub.tenant.created.v1"), event(3, tenantid="globex"),
        event(4, data={"n": 4, "pad": "x" * 70_000}), event(5),
    )  # fmt: skip
    async with linked() as house:
        await house.create(settings=taking(place))
        assert await taken(house, 2) == [1, 5]
        assert house.line().refused == 5
        assert await house.told("globex") == []
        await nothing_left(place)


async def test_nothing_is_acknowledged_while_the_tenant_may_not_write(place: Place) -> None:
    await place.write(event(1))
    async with linked() as house:
        await house.create(settings=taking(place))
        await taken(house, 1)
        house.there.discard("acme")
        await place.write(event(2))
        await trouble_of(house, Trouble.NOT_RECORDED)
        assert await place.unacknowledged() == 1
        house.there.add("acme")
        assert await taken(house, 2) == [1, 2]


async def test_a_broker_that_is_killed_is_listened_to_again(place: Place) -> None:
    await place.write(event(1))
    async with linked() as house:
        await house.create(settings=taking(place))
        await taken(house, 1)
        await asyncio.to_thread(place.server.kill)
        await asyncio.to_thread(place.server.start)
        if isinstance(place, KafkaPlace):
            await asyncio.sleep(1.0)
        await place.write(event(2))
        assert await taken(house, 2) == [1, 2]


async def test_a_paused_relay_takes_nothing(place: Place) -> None:
    await place.write(event(1))
    async with linked() as house:
        await house.create(settings=taking(place))
        await taken(house, 1)
        await house.relays.pause(ctx(), "out")
        await place.write(event(2))
        await asyncio.sleep(0.3)
        assert len(await house.told()) == 1
        await house.relays.resume(ctx(), "out")
        assert await taken(house, 2) == [1, 2]
