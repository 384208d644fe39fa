"""What relays promise, on every broker there is: one suite, real servers."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

import msgspec

from central_hub.kernel.brokers import Trouble
from central_hub.kernel.ids import PLATFORM
from central_hub.relays.model import Server, Start
from tests.brokers import Place
from tests.relays.support import linked, numbers
from tests.unit.relays.house import ACME, House, ctx


async def test_an_event_is_a_cloudevent_with_its_tenant_and_position(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1)
        await house.settled()
        (got,) = await place.read()
        event = got.event
        assert {name: event[name] for name in ("specversion", "type", "source", "tenantid", "subject")} == {
            "specversion": "1.0", "type": "com.example.placed", "source": "/services/shop", "tenantid": "acme",
            "subject": "orders",
        }  # fmt: skip
        assert event["hubseq"] == "inc1.1"
        assert event["data"] == {"n": 1}
        assert got.id == event["id"]


async def test_what_the_hub_itself_tells_is_handed_over_too(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.tell()
        await house.settled()
        (got,) = await place.read()
        assert got.event["type"] == "io.centralhub.tenant.created.v1"


async def test_each_aggregate_keeps_its_order(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        sent: dict[str, list[int]] = defaultdict(list)
        for start in range(0, 400, 20):
            tenant, subject = f"t{start // 20 % 3}", f"s{start // 20 % 4}"
            await house.publish(*range(start, start + 20), tenant=tenant, subject=subject)
            sent[f"{tenant}/{subject}"] += range(start, start + 20)
        await house.settled()
        found: dict[str, list[int]] = defaultdict(list)
        for got in await place.read():
            found[f"{got.event['tenantid']}/{got.event['subject']}"].append(got.number)
        assert found == sent


async def test_a_burst_arrives_whole_and_in_order(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await asyncio.gather(*(house.publish(*range(start, start + 100)) for start in range(0, 3_000, 100)))
        await house.settled()
        assert house.line().sent == 3_000
        assert house.line().repeated == 0


async def test_events_of_two_tenants_with_one_id_both_arrive(place: Place) -> None:
    """A publisher's id is its own tenant's; a broker must not take it for the other's."""
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1, tenant="acme", named="order-17")
        await house.publish(2, tenant="globex", named="order-17")
        await house.settled()
        got = await place.read()
        assert numbers(got) == [1, 2]
        assert {one.event["id"] for one in got} == {"order-17"}
        assert len({one.id for one in got}) == 2


async def test_filters_hold(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings(tenants=("acme",), types=("com.example.*",), categories=("domain",)))
        await house.publish(1)
        await house.publish(2, tenant="globex")
        await house.publish(3, type_="org.other.thing")
        await house.tell()
        await house.publish(4)
        await house.settled()
        assert numbers(await place.read()) == [1, 4]


async def test_what_is_kept_from_before_is_handed_over_on_request(place: Place) -> None:
    async with linked() as house:
        await house.publish(1, 2)
        await house.create(settings=place.settings(), start=Start.START)
        await house.publish(3)
        await house.settled()
        assert numbers(await place.read()) == [1, 2, 3]


async def test_after_a_crash_of_the_hub_nothing_is_lost(place: Place) -> None:
    async with linked() as first:
        await first.create(settings=place.settings())
        await first.publish(*range(50))
        await first.until(lambda: first.line().sent > 0)
    async with linked(before=first) as second:
        await second.publish(50)
        await second.settled()
        got = await place.read()
        assert numbers(got) == list(range(51))
        if place.deduplicates:
            assert len(got) == 51, "what was handed over twice is there once"
        assert len({one.id for one in got}) == 51


async def test_after_an_orderly_end_nothing_is_handed_over_twice(place: Place) -> None:
    async with linked(orderly=True) as first:
        await first.create(settings=place.settings())
        await first.publish(1, 2)
        await first.settled()
    async with linked(before=first) as second:
        await second.publish(3)
        await second.settled()
        assert [one.number for one in await place.read()] == [1, 2, 3]
        assert second.line().repeated == 0


async def test_a_broker_that_is_killed_while_events_flow_has_all_of_them(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(*range(20))
        await house.until(lambda: house.line().sent > 0)
        flowing = asyncio.create_task(_flow(house, range(20, 400)))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(place.server.kill)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(place.server.start)
        await flowing
        await house.settled()
        assert numbers(await place.read()) == list(range(400))


async def test_a_broker_that_is_stopped_and_started_is_linked_again(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1)
        await house.settled()
        await asyncio.to_thread(place.server.stop)
        await house.publish(2)
        await house.until(lambda: house.line().failing.failures > 1)
        assert house.line().failing.trouble in (Trouble.UNREACHABLE, Trouble.TIMED_OUT)
        await asyncio.to_thread(place.server.start)
        await house.settled()
        assert numbers(await place.read()) == [1, 2]


async def test_a_broker_that_is_away_at_first_is_given_everything_when_it_comes(place: Place) -> None:
    await asyncio.to_thread(place.server.stop)
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(*range(30))
        await house.until(lambda: house.line().failing.failures > 1)
        await asyncio.to_thread(place.server.start)
        await house.settled()
        assert numbers(await place.read()) == list(range(30))


async def test_an_idle_link_that_broke_is_noticed_with_the_next_event(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1)
        await house.settled()
        await asyncio.to_thread(place.server.kill)
        await asyncio.to_thread(place.server.start)
        await house.publish(2)
        await house.until(lambda: house.line().acked == house.runner.pos)
        assert numbers(await place.read()) == [1, 2]


async def test_a_broker_that_hangs_holds_up_nothing_in_the_hub(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1)
        await house.settled()
        with place.server.frozen():
            started = time.monotonic()
            for number in range(2, 30):
                await house.publish(number)
            assert time.monotonic() - started < 1.0
        await house.settled()
        assert numbers(await place.read()) == list(range(1, 30))


async def test_a_paused_relay_hands_nothing_over(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1)
        await house.settled()
        await house.relays.pause(ctx(), "out")
        await house.publish(2)
        await asyncio.sleep(0.1)
        assert numbers(await place.read()) == [1]
        await house.relays.resume(ctx(), "out")
        await house.settled()
        assert numbers(await place.read()) == [1, 2]


async def test_other_settings_hold_from_where_a_relay_stands(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1)
        await house.settled()
        await house.relays.change(ctx(), "out", place.settings(tenants=("globex",)))
        await house.publish(2)
        await house.publish(3, tenant="globex")
        await house.until(lambda: house.line().done == house.runner.pos)
        assert numbers(await place.read()) == [1, 3]


async def test_a_deleted_relay_leaves_what_the_broker_has(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1)
        await house.settled()
        await house.relays.delete(ctx(), "out")
        await house.publish(2)
        await asyncio.sleep(0.1)
        assert numbers(await place.read()) == [1]
        assert house.following.lines() == ()


async def test_a_large_event_arrives_whole(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1, size=60_000)
        await house.settled()
        (got,) = await place.read()
        assert len(got.event["data"]["pad"]) == 60_000


async def test_many_large_events_arrive_whole(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        for number in range(40):
            await house.publish(number, size=50_000)
        await house.settled()
        assert numbers(await place.read()) == list(range(40))


async def test_text_of_every_language_arrives_as_it_was(place: Place) -> None:
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1, subject="заказ/№1 – ¥ 🛒")
        await house.settled()
        (got,) = await place.read()
        assert got.event["subject"] == "заказ/№1 – ¥ 🛒"


async def test_events_of_a_tenant_that_was_shredded_meanwhile_are_not_handed_over(place: Place) -> None:
    await asyncio.to_thread(place.server.stop)
    async with linked() as house:
        await house.create(settings=place.settings())
        await house.publish(1)
        await house.publish(2, tenant="globex")
        await house.until(lambda: house.line().failing.failures)
        await house.keys.shred(ACME)
        await house.relays.pause(ctx(), "out")
        await house.relays.resume(ctx(), "out")
        await asyncio.to_thread(place.server.start)
        await house.until(lambda: house.line().sent == 1)
        assert numbers(await place.read()) == [2]


async def test_of_several_addresses_the_one_that_answers_is_used(place: Place) -> None:
    servers = (Server(host="127.0.0.1", port=1), Server(host="127.0.0.1", port=place.server.port))
    async with linked() as house:
        await house.create(settings=place.settings(servers=servers))
        await house.publish(1)
        await house.settled()
        assert numbers(await place.read()) == [1]


async def test_two_relays_to_one_place_hand_each_event_over_once_or_twice_but_lose_none(place: Place) -> None:
    async with linked() as house:
        await house.create("a", settings=place.settings(tenants=("acme",)))
        await house.create("b", settings=place.settings(tenants=("globex",)))
        for number in range(20):
            await house.publish(number, tenant="acme" if number % 2 else "globex")
        await house.settled("a")
        await house.settled("b")
        assert sorted(numbers(await place.read())) == list(range(20))


async def test_no_credential_is_in_what_is_recorded_of_a_relay(place: Place) -> None:
    async with linked() as house:
        house.secrets["relays/out"] = "relay:a-password-of-tests"
        await house.create(settings=place.settings(secret="relays/out"))
        relay = house.view.named(PLATFORM, "out")
        assert b"a-password" not in msgspec.json.encode(relay)
        assert all(b"a-password" not in msgspec.msgpack.encode(chunk) for chunk in house.view.dump(PLATFORM))


async def _flow(house: House, every: range) -> None:
    for start in range(every.start, every.stop, 10):
        await house.publish(*range(start, min(start + 10, every.stop)))
        await asyncio.sleep(0.01)
