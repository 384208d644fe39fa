"""The follower: order, resume, repeats, pause, filters, ownership, what a broker refuses, what it lost."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from central_hub.kernel.brokers import Trouble
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM
from central_hub.relays import following, model
from central_hub.relays.model import BATCH_MAX, QUEUE_MAX, Start, Status
from tests.unit.relays.house import ACME, SETTINGS, House, ctx, opened


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central_hub.relays.rules.BACKOFF_S", (0.005,))


async def test_events_arrive_in_order_with_what_a_broker_needs_of_them() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(1, 2, 3)
        await house.publish(4, tenant="globex", subject="invoices")
        await house.settled()
        assert house.broker.numbers == [1, 2, 3, 4]
        last = house.broker.got[-1]
        assert (last.tenant, last.key, last.type) == ("globex", "globex/event/invoices", "com.example.placed")
        assert last.id != ""
        assert house.line().sent == 4


async def test_a_relay_begins_now_or_with_what_is_kept() -> None:
    async with opened() as house:
        await house.publish(1)
        await house.create("late")
        await house.create("whole", start=Start.START)
        await house.publish(2)
        await house.settled("late")
        await house.settled("whole")
        assert sorted(house.broker.numbers) == [1, 2, 2]


async def test_more_than_memory_holds_is_read_from_the_log_in_order() -> None:
    async with opened() as house:
        house.broker.away = True
        await house.create()
        for start in range(0, QUEUE_MAX + 500, 100):
            await house.publish(*range(start, start + 100))
        assert len(house.line().queue) <= QUEUE_MAX
        house.broker.away = False
        await house.settled()
        assert house.broker.numbers == list(range(QUEUE_MAX - QUEUE_MAX % 100 + 600))[: len(house.broker.numbers)]
        assert len(house.broker.numbers) >= QUEUE_MAX + 500
        assert max(house.broker.batches) == BATCH_MAX


async def test_after_a_crash_it_goes_on_and_repeats_under_the_same_ids() -> None:
    async with opened() as first:
        await first.create()
        await first.publish(1, 2)
        await first.settled()
        ids = [one.id for one in first.broker.got]
    async with opened(lambda: House(before=first)) as second:
        await second.publish(3)
        await second.settled()
        assert sorted({*second.broker.numbers}) == [1, 2, 3]
        assert {one.id for one in second.broker.got[:-1]} == {*ids}


async def test_after_an_orderly_end_nothing_is_repeated() -> None:
    async with opened(orderly=True) as first:
        await first.create()
        await first.publish(1, 2)
        await first.settled()
    async with opened(lambda: House(before=first)) as second:
        await second.publish(3)
        await second.settled()
        assert second.broker.numbers == [1, 2, 3]


async def test_what_was_not_acknowledged_is_handed_over_again_in_order() -> None:
    async with opened() as house:
        failures = iter([None, None, Trouble.TIMED_OUT, None, Trouble.FULL])
        house.broker.answer = lambda _message: next(failures, None)
        await house.create()
        await house.publish(1, 2, 3, 4, 5)
        await house.settled()
        assert house.broker.numbers == [1, 2, 3, 4, 5]
        assert len(house.broker.targets) == 3
        assert house.line().failing.failures == 0


async def test_a_broker_that_is_away_holds_nobody_up_and_shows() -> None:
    async with opened() as house:
        house.broker.away = True
        await house.create()
        await house.publish(1)
        await house.until(lambda: house.line().failing.failures >= 3)
        assert house.line().failing.trouble is Trouble.UNREACHABLE
        assert house.line().lag_records(house.runner.pos) == 1
        assert house.line().lag_ms(house.clock.now_ms() + 5_000) >= 5_000
        house.broker.away = False
        await house.settled()
        assert house.broker.numbers == [1]
        assert house.line().lag_records(house.runner.pos) == 0


async def test_a_paused_relay_hands_nothing_over_and_loses_nothing() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(1)
        await house.settled()
        await house.relays.pause(ctx(), "out")
        await house.publish(2)
        await asyncio.sleep(0.05)
        assert house.broker.numbers == [1]
        await house.relays.resume(ctx(), "out")
        await house.settled()
        assert house.broker.numbers == [1, 2]


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"tenants": ("globex",)}, [2]),
        ({"types": ("com.example.placed",)}, [1, 2]),
        ({"types": ("com.other.*",)}, [3]),
        ({"categories": ("integration",)}, []),
        ({"tenants": ("acme",), "types": ("com.example.*",)}, [1]),
    ],
)
async def test_a_filter_lets_through_what_it_names(filter_: dict[str, tuple[str, ...]], expected: list[int]) -> None:
    async with opened() as house:
        await house.create(settings=msgspec.structs.replace(SETTINGS, **filter_))
        await house.publish(1)
        await house.publish(2, tenant="globex")
        await house.publish(3, type_="com.other.thing")
        await house.settled()
        assert house.broker.numbers == expected


async def test_what_a_broker_will_never_take_is_set_aside_and_the_others_go_on() -> None:
    async with opened() as house:
        house.broker.answer = lambda message: Trouble.TOO_LARGE if b'"n": 2' in message.body else None
        await house.create()
        await house.publish(1, 2, 3)
        await house.settled()
        assert house.broker.numbers == [1, 3]
        relay = house.view.named(PLATFORM, "out")
        assert relay is not None
        (parked,) = house.view.parked(PLATFORM, relay.id)
        assert (parked.domain, parked.seq, parked.trouble) == ("acme", 2, Trouble.TOO_LARGE)


async def test_a_relay_that_sets_too_much_aside_is_paused() -> None:
    async with opened() as house:
        house.broker.answer = lambda _message: Trouble.TOO_LARGE
        await house.create()
        await house.publish(1, 2, 3, 4)
        await house.until(lambda: house.view.relays(PLATFORM)[0].status is Status.PAUSED)
        assert house.view.relays(PLATFORM)[0].reason == "parked"
        assert len(house.view.parked(PLATFORM, house.view.relays(PLATFORM)[0].id)) == 3


async def test_only_the_hub_that_owns_a_relay_hands_over() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(1)
        await house.settled()
        house.owned.turn(ours=False)
        await house.publish(2)
        await asyncio.sleep(0.05)
        assert house.broker.numbers == [1]
        house.owned.turn(ours=True)
        await house.until(lambda: house.broker.numbers[-1] == 2)


async def test_what_a_broker_lost_it_is_given_again() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(1, 2, 3)
        await house.settled()
        kept = house.broker.got[0].pos
        house.broker.reached = kept
        house.broker.answer = lambda _message: Trouble.UNREACHABLE
        await house.publish(4)
        await house.until(lambda: house.line().failing.failures)
        house.broker.answer = lambda _message: None
        await house.until(lambda: house.broker.numbers[-3:] == [2, 3, 4])


async def test_what_a_broker_says_it_has_is_not_given_again() -> None:
    async with opened() as first:
        await first.create()
        await first.publish(1, 2)
        await first.settled()
    first.broker.reached = first.broker.got[-1].pos
    async with opened(lambda: House(before=first)) as second:
        await second.publish(3)
        await second.settled()
        assert second.broker.numbers == [1, 2, 3]


async def test_a_relay_without_its_secret_says_so_and_goes_on_with_it() -> None:
    async with opened() as house:
        house.secrets["relays/out"] = "hub:pw-of-a-relay"
        await house.create(settings=msgspec.structs.replace(SETTINGS, secret="relays/out"))
        await house.settled()
        assert house.broker.targets[-1].credential == "hub:pw-of-a-relay"
        assert "pw-of-a-relay" not in repr(house.broker.targets[-1])
        del house.secrets["relays/out"]
        await house.relays.pause(ctx(), "out")
        await house.relays.resume(ctx(), "out")
        await house.until(lambda: house.line().failing.trouble is Trouble.NO_CREDENTIAL)


async def test_events_of_a_tenant_that_was_shredded_meanwhile_are_not_handed_over() -> None:
    async with opened() as house:
        house.broker.away = True
        await house.create()
        await house.publish(1)
        await house.publish(2, tenant="globex")
        await house.until(lambda: house.line().failing.failures)
        await house.keys.shred(ACME)
        house.broker.away = False
        await house.settled()
        assert house.broker.numbers == [2]


async def test_a_deleted_relay_ends_and_one_of_its_name_begins_anew() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(1)
        await house.settled()
        await house.following.flush()
        await house.relays.delete(ctx(), "out")
        await house.publish(2)
        await house.create()
        await house.publish(3)
        await house.settled()
        assert house.broker.numbers == [1, 3]
        assert len(await house.cursors.load()) <= 1


async def test_when_cursors_cannot_be_kept_events_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as house:
        from central_hub.kernel.placing import store_unavailable

        async def fail(*_: object, **__: object) -> None:
            raise store_unavailable("away")

        monkeypatch.setattr(following, "STORE_RETRY_S", 0.005)
        monkeypatch.setattr(house.cursors, "save", fail)
        await house.create()
        await house.publish(1, 2)
        await house.until(lambda: {*house.broker.numbers} == {1, 2})


async def test_every_relay_has_its_own_pace() -> None:
    async with opened() as house:
        house.broker.answer = lambda message: Trouble.TIMED_OUT if message.tenant == "acme" else None
        await house.create("a", settings=msgspec.structs.replace(SETTINGS, tenants=("acme",)))
        await house.create("b", settings=msgspec.structs.replace(SETTINGS, tenants=("globex",)))
        await house.publish(1)
        await house.publish(2, tenant="globex")
        await house.settled("b")
        assert house.broker.numbers == [2]
        assert house.line("a").failing.failures


async def test_there_are_so_many_relays_and_no_more() -> None:
    async with opened() as house:
        for number in range(model.RELAYS_MAX):
            await house.create(f"r{number}")
        with pytest.raises(HubError) as refused:
            await house.create("one-more")
        assert refused.value.code == "limit_reached"
