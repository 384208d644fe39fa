"""Subscriptions through the pipeline of a whole hub: status, shapes, refusals, and the life of a delivery."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from central_hub.edge.pipeline import Answer
from tests.isolation.world import World, running

AT = "/subscriptions"
EVENT = {
    "specversion": "1.0",
    "type": "com.example.placed",
    "source": "/services/orders",
    "data": {"n": 1},
}


def body(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def made(world: World, name: str = "orders", **fields: Any) -> Any:
    if "acme" not in world.keys:
        await world.tenant("acme", "pro")
    return await world.must("POST", AT, key="acme", body={"name": name, **fields})


async def publish(world: World, *ids: str, **fields: Any) -> None:
    answer = await world.ask("POST", "/events", key="acme", body=[{**EVENT, "id": one, **fields} for one in ids])
    assert answer.status == 201, answer.body


async def pull(
    world: World, name: str = "orders", *, limit: int = 10, wait_s: float = 0, key: str = "acme"
) -> list[Any]:
    answer = await world.must("POST", f"{AT}/{name}/pull?limit={limit}&wait_s={wait_s}", key=key)
    return answer["deliveries"]


async def settle(world: World, name: str = "orders", **said: Any) -> Any:
    return await world.must("POST", f"{AT}/{name}/settle", key="acme", body=said)


def ids(deliveries: list[Any]) -> list[str]:
    return [one["event"]["id"] for one in deliveries]


async def test_a_subscription_has_the_shape_that_was_promised() -> None:
    async with running() as world:
        shown = await made(world, filter={"types": ["com.example.*"]}, terms={"max_in_flight": 5}, description="d")
        assert shown["name"] == "orders"
        assert shown["filter"] == {"types": ["com.example.*"]}
        assert shown["terms"] == {
            "ack_wait_s": 30.0, "backoff_s": [1.0, 5.0, 30.0, 120.0], "max_deliveries": 5, "max_in_flight": 5,
        }  # fmt: skip
        assert (shown["status"], shown["in_flight"], shown["behind"], shown["dead_letters"]) == ("active", 0, 0, 0)
        assert await world.must("GET", f"{AT}/orders", key="acme") == shown
        assert (await world.must("GET", AT, key="acme"))["subscriptions"] == [shown]
        again = await world.ask("POST", AT, key="acme", body={"name": "orders"})
        assert (again.status, body(again)["code"]) == (409, "subscription_exists")


async def test_what_is_pulled_and_acknowledged_does_not_come_again() -> None:
    async with running() as world:
        await made(world, filter={"types": ["com.example.*"]})
        await publish(world, "a", "b", "c")
        first = await pull(world, limit=2)
        assert ids(first) == ["a", "b"]
        assert [one["attempt"] for one in first] == [1, 1]
        assert (await settle(world, ack=[one["id"] for one in first]))["acked"] == 2
        second = await pull(world)
        assert ids(second) == ["c"]
        settled = await settle(world, ack=[second[0]["id"], first[0]["id"], "other.1.1"])
        assert settled == {"acked": 2, "nacked": 0, "extended": 0, "released": 0, "unknown": ["other.1.1"]}
        assert await pull(world) == []
        shown = await world.must("GET", f"{AT}/orders", key="acme")
        assert (shown["in_flight"], shown["behind"]) == (0, 0)


async def test_a_request_waits_for_the_first_event() -> None:
    async with running() as world:
        await made(world, filter={"types": ["com.example.*"]})
        waiting = asyncio.create_task(pull(world, wait_s=5))
        await asyncio.sleep(0.02)
        await publish(world, "late")
        assert ids(await asyncio.wait_for(waiting, 2)) == ["late"]


async def test_what_was_there_before_is_read_where_it_is_asked_for() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await publish(world, "one", "two")
        position = (await world.must("GET", "/events?after=start&limit=2", key="acme"))["next"]
        await publish(world, "three")
        wanted = {"filter": {"types": ["com.example.*"]}}
        for name, deliver, expected in (
            ("all", {"policy": "all"}, ["one", "two", "three"]),
            ("new", {"policy": "new"}, []),
            ("last", {"policy": "last"}, ["three"]),
            ("position", {"policy": "by_position", "position": position}, ["two", "three"]),
            ("time", {"policy": "by_time", "time": "2020-01-01T00:00:00Z"}, ["one", "two", "three"]),
        ):
            await made(world, name, deliver=deliver, **wanted)
            assert ids(await pull(world, name)) == expected, name


async def test_an_event_that_is_given_back_comes_again_and_is_given_up_in_the_end() -> None:
    async with running() as world:
        await made(world, filter={"types": ["com.*"]}, terms={"max_deliveries": 2, "backoff_s": [0]})
        await publish(world, "poison", "fine")
        first = await pull(world)
        assert (await settle(world, nack=[{"id": first[0]["id"]}], ack=[first[1]["id"]]))["nacked"] == 1
        again = await pull(world, wait_s=1)
        assert (ids(again), again[0]["attempt"]) == (["poison"], 2)
        await settle(world, nack=[{"id": again[0]["id"], "reason": "cannot be read"}])
        await world.hub.features.subscribing.lapses.park()
        letters = (await world.must("GET", f"{AT}/orders/letters", key="acme"))["letters"]
        letter = letters[0]
        assert (letter["cause"], letter["attempts"], letter["detail"]) == ("not_acknowledged", 2, "cannot be read")
        assert await pull(world) == []
        dry = await world.must("POST", f"{AT}/orders/letters/replay", key="acme", body={"dry_run": True})
        assert dry == {"seqs": [letter["seq"]], "remaining": 0, "dry_run": True}
        await world.must("POST", f"{AT}/orders/letters/replay", key="acme")
        world.hub.features.subscribing.lapses.look()
        back = await pull(world, wait_s=1)
        assert (ids(back), back[0]["attempt"]) == (["poison"], 1)
        await settle(world, ack=[back[0]["id"]])
        assert (await world.must("GET", f"{AT}/orders/letters", key="acme"))["letters"] == []


async def test_a_rejected_event_is_a_dead_letter_at_once_and_can_be_forgotten() -> None:
    async with running() as world:
        await made(world, filter={"types": ["com.*"]})
        await publish(world, "bad")
        (one,) = await pull(world)
        await settle(world, nack=[{"id": one["id"], "reject": True}])
        await world.hub.features.subscribing.lapses.park()
        letters = (await world.must("GET", f"{AT}/orders/letters", key="acme"))["letters"]
        assert letters[0]["cause"] == "rejected"
        gone = await world.must("POST", f"{AT}/orders/letters/discard", key="acme", body={"seqs": [letters[0]["seq"]]})
        assert (gone["seqs"], gone["remaining"]) == ([letters[0]["seq"]], 0)
        assert (await world.must("GET", f"{AT}/orders", key="acme"))["dead_letters"] == 0


async def test_a_paused_subscription_gives_nothing_and_misses_nothing() -> None:
    async with running() as world:
        await made(world, filter={"types": ["com.*"]})
        assert (await world.must("POST", f"{AT}/orders/pause", key="acme"))["status"] == "paused"
        await publish(world, "a")
        assert await pull(world) == []
        assert (await world.must("POST", f"{AT}/orders/resume", key="acme"))["status"] == "active"
        assert ids(await pull(world)) == ["a"]


async def test_a_subscription_is_moved_and_changed() -> None:
    async with running() as world:
        await made(world, filter={"types": ["com.*"]}, terms={"max_in_flight": 1})
        await publish(world, "a", "b")
        assert ids(await pull(world)) == ["a"]
        assert await pull(world) == []
        changed = await world.must("PATCH", f"{AT}/orders", key="acme", body={"terms": {"max_in_flight": 9}})
        assert (changed["terms"]["max_in_flight"], changed["filter"]) == (9, {"types": ["com.*"]})
        assert ids(await pull(world)) == ["b"]
        await world.must("POST", f"{AT}/orders/move", key="acme", body={"policy": "all"})
        assert ids(await pull(world)) == ["a", "b"]
        for _ in range(2):
            assert (await world.ask("DELETE", f"{AT}/orders", key="acme")).status == 204
        assert (await world.ask("POST", f"{AT}/orders/pull", key="acme")).status == 404


async def test_what_cannot_be_kept_is_refused() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        for fields, code in (
            ({"name": "hub-x"}, "reserved_name"),
            ({"name": "a", "filter": {"types": ["a b"]}}, "invalid_filter"),
            ({"name": "a", "filter": {"types": ["*.*.*.*.*.x"]}}, "invalid_filter"),
            ({"name": "a", "terms": {"ack_wait_s": 0}}, "invalid_body"),
            ({"name": "a", "deliver": {"policy": "by_time"}}, "invalid_query"),
            ({"name": "a", "deliver": {"policy": "by_position", "position": "x.1"}}, "position_gone"),
            ({"name": "a", "deliver": {"policy": "by_position", "position": "?"}}, "invalid_position"),
            ({"name": "a", "color": "red"}, "invalid_body"),
        ):
            answer = await world.ask("POST", AT, key="acme", body=fields)
            assert body(answer)["code"] == code, answer.body


async def test_a_subscription_of_the_platform_is_the_platforms() -> None:
    async with running() as world:
        at = "/platform/subscriptions"
        await world.must("POST", at, key="root", body={"name": "tenants", "filter": {"types": ["TenantCreated"]}})
        await world.tenant("acme", "pro")
        assert (await world.ask("GET", f"{at}/tenants", key="acme")).status == 403
        assert (await world.ask("GET", f"{AT}/tenants", key="acme")).status == 404


async def test_another_tenant_finds_nothing_and_its_deliveries_are_unknown() -> None:
    async with running() as world:
        await made(world, filter={"types": ["com.*"]})
        await world.tenant("globex", "pro")
        await publish(world, "a")
        (one,) = await pull(world)
        assert (await world.ask("POST", f"{AT}/orders/pull", key="globex")).status == 404
        await world.must("POST", AT, key="globex", body={"name": "orders"})
        answer = await world.must("POST", f"{AT}/orders/settle", key="globex", body={"ack": [one["id"]]})
        assert (answer["acked"], answer["unknown"]) == (0, [one["id"]])
        assert (await settle(world, ack=[one["id"]]))["acked"] == 1
