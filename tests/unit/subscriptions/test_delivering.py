"""Giving out events, what becomes of them, and where a subscription stands after everything."""

from __future__ import annotations

import asyncio

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from central_hub.kernel.cursors import Cursor
from central_hub.kernel.placing import store_unavailable
from central_hub.subscriptions.crowd import Crowd
from central_hub.subscriptions.lines import Line, Place
from central_hub.subscriptions.model import READY_MAX, RECENT_MAX, Cause, Filter, Status, Subscription, Terms
from central_hub.subscriptions.settling import NotDone
from central_hub.subscriptions.starting import Deliver, Policy
from tests.unit.subscriptions.house import ACME, House, ctx_of, event_id, opened, refusal

ALL = Deliver(policy=Policy.ALL)


def place(house: House, name: str = "orders") -> Place:
    line = house.book.line(ACME, house.subscriptions.get(ACME, name).id)
    assert line is not None
    return line.place()


async def test_a_follower_is_told_live_and_in_order() -> None:
    async with opened() as house:
        await house.create()
        taken, _ = await house.follow()
        await house.publish(*range(5))
        await house.settled()
        assert taken.ids == [f"e-{number}" for number in range(5)]
        assert {one.attempt for one in taken.given} == {1}


async def test_one_that_was_away_gets_everything_from_where_it_stood() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(*range(READY_MAX * 3))
        taken, _ = await house.follow()
        await house.settled()
        assert len(taken.given) == 100, "the usual number in flight"
        while len(taken.given) < READY_MAX * 3:
            await house.ack(*taken.given)
            await house.settled()
        assert taken.ids == [f"e-{number}" for number in range(READY_MAX * 3)]


async def test_no_more_is_given_than_may_be_in_flight_or_a_consumer_holds() -> None:
    async with opened() as house:
        await house.create(terms=Terms(max_in_flight=3))
        taken, consumer = await house.follow(room=2)
        await house.publish(*range(6))
        await house.settled()
        assert len(taken.given) == consumer.held == 2
        other, _ = await house.follow()
        await house.settled()
        assert other.ids == ["e-2"]
        await house.ack(taken.given[0])
        await house.settled()
        assert len(taken.given) + len(other.given) == 4


async def test_consumers_take_turns() -> None:
    async with opened() as house:
        await house.create()
        one, _ = await house.follow()
        two, _ = await house.follow()
        await house.publish(*range(6))
        await house.settled()
        assert (len(one.given), len(two.given)) == (3, 3)
        assert sorted(one.ids + two.ids) == [f"e-{number}" for number in range(6)]


async def test_what_is_not_acknowledged_comes_again_after_its_waits_and_is_given_up() -> None:
    async with opened() as house:
        await house.create(terms=Terms(ack_wait_s=10, backoff_s=(1, 5), max_deliveries=3))
        taken, _ = await house.follow()
        await house.publish("poison")
        await house.settled()
        for attempt, wait in ((2, 1), (3, 5)):
            await house.pass_time(10)
            assert len(taken.given) == attempt - 1
            await house.pass_time(wait - 0.1)
            assert len(taken.given) == attempt - 1
            await house.pass_time(0.1)
            assert taken.given[-1].attempt == attempt
        await house.pass_time(10)
        letters = house.view.letters(ACME, house.subscriptions.get(ACME, "orders").id)
        assert [(one.cause, one.attempts) for one in letters.values()] == [(Cause.NOT_ACKNOWLEDGED, 3)]
        assert place(house).pending == ()
        assert (house.lapses.expired, house.lapses.parked) == (3, 1)


async def test_others_go_on_past_a_poison_message() -> None:
    async with opened() as house:
        await house.create(terms=Terms(max_deliveries=2, backoff_s=(1,)))
        taken, _ = await house.follow()
        await house.publish("poison")
        await house.settled()
        await house.nack(taken.given[0])
        await house.publish(*range(20))
        await house.settled()
        assert taken.ids == ["e-poison", *[f"e-{number}" for number in range(20)]]
        await house.ack(*taken.given[1:])
        assert len(place(house).pending) == 1
        await house.pass_time(1)
        await house.nack(taken.given[-1])
        await house.lapses.park()
        assert place(house).pending == ()


async def test_a_holder_that_asks_for_longer_keeps_what_it_holds() -> None:
    async with opened() as house:
        await house.create(terms=Terms(ack_wait_s=10))
        taken, _ = await house.follow()
        await house.publish("slow")
        await house.settled()
        for _ in range(5):
            await house.pass_time(9)
            assert (await house.settle(extend=[taken.given[0].id])).extended == 1
        assert (await house.ack(taken.given[0])).acked == 1
        await house.pass_time(100)
        assert len(taken.given) == 1


async def test_what_is_released_comes_again_at_once_and_counts_no_delivery() -> None:
    async with opened() as house:
        await house.create(terms=Terms(max_deliveries=1))
        taken, _ = await house.follow()
        await house.publish("a")
        await house.settled()
        for _ in range(3):
            assert (await house.settle(release=[taken.given[-1].id])).released == 1
            await house.settled()
        assert [one.attempt for one in taken.given] == [1] * 4


async def test_a_late_acknowledgement_counts_and_anything_else_late_does_not() -> None:
    async with opened() as house:
        await house.create(terms=Terms(ack_wait_s=1, backoff_s=(0,)))
        taken, _ = await house.follow()
        await house.publish("a")
        await house.settled()
        await house.pass_time(1)
        first, second = taken.given
        assert (await house.nack(first)).unknown == [first.id]
        assert (await house.settle(extend=[first.id], release=[first.id])).unknown == [first.id] * 2
        assert (await house.ack(first)).acked == 1
        assert (await house.ack(second, second)).acked == 2, "said again, it changes nothing"
        assert place(house).pending == ()


async def test_what_was_never_given_out_cannot_be_acknowledged() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(*range(3))
        head = house.runner.position(ACME)
        ids = [f"inc1.{seq}.1" for seq in range(head + 5)] + ["inc2.1.1", "x", "inc1.-1.1"]
        answer = await house.settle(ack=ids)
        assert (answer.acked, answer.unknown) == (0, ids)
        assert len(await house.pull()) == 3


async def test_a_consumer_that_goes_leaves_what_it_held_until_its_time() -> None:
    async with opened() as house:
        await house.create(terms=Terms(ack_wait_s=5, backoff_s=(0,)))
        taken, consumer = await house.follow()
        await house.publish("a", "b")
        await house.settled()
        house.following.detach(consumer)
        other, _ = await house.follow()
        await house.settled()
        assert other.given == []
        assert (await house.ack(taken.given[0])).acked == 1
        await house.pass_time(5)
        assert other.ids == ["e-b"]


async def test_a_hub_that_is_killed_gives_again_what_was_not_acknowledged_and_nothing_else() -> None:
    async with opened() as house:
        await house.create(terms=Terms(max_in_flight=10))
        await house.publish(*range(12))
        given = await house.pull()
        await house.ack(*given[::2])
    async with opened(lambda: House(house)) as again:
        back = await again.pull(limit=20)
        assert sorted(event_id(one) for one in back) == sorted(
            [event_id(one) for one in given[1::2]] + ["e-10", "e-11"]
        )
        assert {one.attempt for one in back if event_id(one) not in ("e-10", "e-11")} == {2}


async def test_an_acknowledgement_that_cannot_be_kept_is_refused_and_taken_when_it_is_said_again() -> None:
    async with opened() as house:
        await house.create()
        await house.publish("a")
        given = await house.pull()
        save, house.cursors.save = house.cursors.save, away  # type: ignore[method-assign]
        assert await refusal(house.ack(*given)) == "store_unavailable"
        house.cursors.save = save  # type: ignore[method-assign]
        assert (await house.ack(*given)).acked == 1
        await house.keeper.keep()
        kept = await house.keeper.load()
        assert [one.seq for one in kept.values()] == [house.runner.position(ACME)]


async def away(*_args: object, **_named: object) -> None:
    raise store_unavailable("away")


async def test_dead_letters_that_are_too_many_pause_the_subscription() -> None:
    async with opened() as house:
        await house.create(terms=Terms(max_deliveries=1))
        await house.publish(*range(5))
        await house.nack(*await house.pull(), reject=True)
        for _ in range(5):
            await house.lapses.park()
        found = house.subscriptions.get(ACME, "orders")
        assert (found.status, found.reason) == (Status.PAUSED, "dead_letters")
        assert len(house.view.letters(ACME, found.id)) == 3
        assert len(place(house).pending) == 2, "nothing is forgotten"


async def test_letters_are_delivered_again_as_fast_as_was_asked_for() -> None:
    async with opened() as house:
        await house.create(terms=Terms(max_deliveries=1))
        await house.publish(*range(3))
        await house.nack(*await house.pull(), reject=True)
        await house.lapses.park()
        chosen = await house.subscriptions.replay(ctx_of(), ACME, "orders", per_s=0.5)
        assert len(chosen.letters) == 3
        taken, _ = await house.follow()
        await house.pass_time(0)
        assert taken.ids == ["e-0"]
        await house.pass_time(2)
        assert taken.ids == ["e-0", "e-1"]
        await house.ack(*taken.given)
        assert len(house.view.letters(ACME, house.subscriptions.get(ACME, "orders").id)) == 1


async def test_a_subscription_that_is_deleted_or_moved_ends_who_follows_it() -> None:
    async with opened() as house:
        await house.create()
        taken, _ = await house.follow()
        await house.subscriptions.move(ctx_of(), ACME, "orders", ALL)
        assert [error.code for error in taken.ended if error] == ["subscription_moved"]
        taken, _ = await house.follow()
        await house.subscriptions.delete(ctx_of(), ACME, "orders")
        assert [error.code for error in taken.ended if error] == ["subscription_not_found"]
        assert house.crowd.size == 0
        await house.keeper.keep()
        assert await house.keeper.load() == {}


async def test_one_of_the_same_name_made_anew_has_a_place_of_its_own() -> None:
    async with opened() as house:
        await house.create()
        await house.publish("a")
        await house.ack(*await house.pull())
        await house.subscriptions.delete(ctx_of(), ACME, "orders")
        await house.create(deliver=ALL)
        assert [event_id(one) for one in await house.pull()] == ["e-a"]


async def test_what_has_left_the_log_is_said_and_not_passed_over() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(*range(5))
        kept, house.log.records = house.log.records, house.log.records[4:]
        assert await refusal(house.pull(seconds=1)) == "position_gone"
        assert await refusal(house.follow()) == "position_gone"
        house.log.records = []
        assert await refusal(house.follow()) == "position_gone"
        house.log.records = kept
        await house.subscriptions.move(ctx_of(), ACME, "orders", ALL)
        assert len(await house.pull()) == 5


async def test_where_nothing_is_left_of_the_log_nobody_reads_it_for_ever() -> None:
    async with opened() as house:
        await house.create()
        await house.publish(*range(5))
        house.log.records = []
        assert await refusal(house.pull(seconds=1)) == "position_gone"


async def test_a_consumer_whose_connection_does_not_keep_up_is_given_nothing_and_others_are() -> None:
    async with opened() as house:
        await house.create("slow")
        await house.create("fast")
        slow, _ = await house.follow("slow")
        fast, _ = await house.follow("fast")
        slow.room = False
        await house.publish(*range(5))
        await house.settled()
        assert (len(slow.given), len(fast.given)) == (0, 5)
        slow.room = True
        async with asyncio.timeout(5):
            while len(slow.given) < 5:
                await asyncio.sleep(0.01)


async def test_one_tenants_past_is_not_in_the_way_of_anothers_present() -> None:
    async with opened() as house:
        await house.create(terms=Terms(max_in_flight=1_000))
        for start in range(0, RECENT_MAX * 2, RECENT_MAX):
            await house.publish(*range(start, start + RECENT_MAX))
        await house.create("mine", "globex")
        mine, _ = await house.follow("mine", "globex")
        taken, _ = await house.follow()
        await house.publish("now", tenant="globex")
        for _ in range(60):
            if mine.given:
                break
            await asyncio.sleep(0)
        assert mine.ids == ["e-now"]
        assert len(taken.given) < RECENT_MAX, "it had its turns in between"


async def test_there_are_limits_of_consumers() -> None:
    async with opened(lambda: House(crowd=Crowd(per_subscription_max=2, per_tenant_max=3))) as house:
        await house.create("a")
        await house.create("b")
        for name in ("a", "a", "b"):
            await house.follow(name)
        assert await refusal(house.follow("a")) == "too_many_consumers"
        assert await refusal(house.follow("b")) == "too_many_consumers"
        await house.create("c", "globex")
        await house.follow("c", "globex")


class Other:
    """Another hub has everything, as long as a test says so."""

    def __init__(self) -> None:
        self.base_url: str | None = "http://other:7000"
        self.mine = True

    def owns(self, work: str, key: str) -> bool:
        assert (work, key) == ("delivery", "acme")
        return self.mine

    def owner(self, work: str, key: str) -> str | None:
        return None if self.mine else self.base_url

    def on_change(self, told: object) -> None:
        pass


async def test_what_another_hub_gives_out_is_asked_there_and_taken_over_where_it_stood() -> None:
    others = Other()
    async with opened(lambda: House(ownership=others)) as house:
        await house.create()
        taken, _ = await house.follow()
        await house.publish("a", "b")
        await house.settled()
        await house.ack(taken.given[0])
        others.mine = False
        house.following.ownership_changed()
        assert [error.code for error in taken.ended if error] == ["subscription_moved"]
        assert await refusal(house.pull()) == "owned_elsewhere"
        assert await refusal(house.ack(taken.given[1])) == "owned_elsewhere"
        others.base_url = None
        assert await refusal(house.pull()) == "not_owned"
        async with opened(lambda: House(house)) as there:
            back = await there.pull()
            assert [event_id(one) for one in back] == ["e-b"]
            await there.ack(*back)
        others.mine = True
        assert await house.pull() == []


def test_a_place_of_another_era_or_beyond_the_log_is_not_believed() -> None:
    def line(kept: Place, position: int) -> Line:
        subscription = Subscription(id="sub_a", name="a", filter=Filter(), terms=Terms(), from_seq=3, era=7)
        cursor = Cursor(consumer="sub_a", domain=ACME, seq=kept.through, state=msgspec.msgpack.encode(kept))
        return Line(ACME, subscription, cursor, position)

    assert line(Place(7, 9, ((8, 1),)), 9).done == 7
    assert line(Place(7, 9), 8).done == 3
    assert line(Place(6, 9), 9).done == 3


class Machine(RuleBasedStateMachine):
    """Consumers that acknowledge, give back, fall silent and hubs that are killed: nothing is lost, and what was
    acknowledged does not come again."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.published = 0
        self.acked: set[str] = set()
        self.held: dict[str, str] = {}
        self.house = House(dead_letters_max=1_000)
        self.committing: asyncio.Task[None] | None = None
        self._do(self._begin(self.house))
        self._do(self.house.create(terms=Terms(ack_wait_s=5, backoff_s=(1,), max_deliveries=50, max_in_flight=7)))

    def _do(self, work: object) -> object:
        return self.loop.run_until_complete(work)  # type: ignore[arg-type]

    async def _begin(self, house: House) -> None:
        await house.runner.catch_up()
        await house.book.prime()
        self.committing = asyncio.create_task(house.sequencer.run())

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        self._do(self.house.publish(*range(self.published, self.published + count)))
        self.published += count

    @rule(limit=st.integers(1, 9))
    def pull(self, limit: int) -> None:
        for one in self._do(self.house.pull(limit=limit)):  # type: ignore[attr-defined]
            name = event_id(one)
            assert name not in self.acked, "what was acknowledged came again"
            self.held[name] = one.id

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        if self.held:
            name = data.draw(st.sampled_from(sorted(self.held)))
            answer = self._do(self.house.settle(ack=[self.held.pop(name)]))
            if answer.acked:  # type: ignore[attr-defined]
                self.acked.add(name)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.held:
            name = data.draw(st.sampled_from(sorted(self.held)))
            self._do(self.house.settle(nack=[NotDone(id=self.held[name], delay_s=0)]))

    @rule(seconds=st.integers(1, 7))
    def pass_time(self, seconds: int) -> None:
        self._do(self.house.pass_time(seconds))

    @rule()
    def kill(self) -> None:
        before = self.house
        assert self.committing is not None
        self.committing.cancel()
        self.house = House(before, dead_letters_max=1_000)
        self._do(asyncio.wait({self.committing}))
        self._do(self._begin(self.house))

    @invariant()
    def in_flight_is_bounded(self) -> None:
        for line in self.house.book.every():
            assert line.in_flight <= 7

    def teardown(self) -> None:
        for _ in range(200):
            for one in self._do(self.house.pull(limit=50)):  # type: ignore[attr-defined]
                name = event_id(one)
                assert name not in self.acked
                assert self._do(self.house.settle(ack=[one.id])).acked == 1  # type: ignore[attr-defined]
                self.acked.add(name)
            if len(self.acked) == self.published:
                break
            self._do(self.house.pass_time(6))
        assert self.acked == {f"e-{number}" for number in range(self.published)}, "something was lost"
        assert self.committing is not None
        self.committing.cancel()
        self._do(asyncio.wait({self.committing}))
        self.loop.close()


def test_nothing_is_lost_and_what_was_acknowledged_does_not_come_again() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
