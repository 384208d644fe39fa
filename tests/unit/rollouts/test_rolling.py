"""A rollout from its start to each of its ends: who has which value meanwhile, and what the layers say."""

from __future__ import annotations

import pytest

from central_hub.configuration.model import Layer
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.rollouts.model import (
    RUNNING_PER_TENANT_MAX,
    RUNNING_PLATFORM_MAX,
    Gates,
    Stage,
    State,
    Unit,
)
from central_hub.rollouts.rules import Move
from central_hub.rollouts.usecases import Plan
from tests.unit.configuration.support import OPERATOR, ctx_of
from tests.unit.rollouts.support import House, opened

ACME = DomainId("acme")
NAMES = [f"i-{number}" for number in range(20)]


async def refused(command: object) -> str:
    with pytest.raises(HubError) as caught:
        await command  # pyright: ignore
    return caught.value.code


def depth(house: House) -> int:
    return house.effective.of(ACME, "risk").leaves["/risk/depth"]


def fleet(house: House) -> list[str]:
    for name in NAMES:
        house.instance(name)
        house.says(name)
    return NAMES


def all_say(house: House, *, errors: int = 0) -> None:
    for name in NAMES:
        house.says(name, ok=50, errors=errors)


async def test_a_tenth_first_then_everyone_then_the_layer() -> None:
    async with opened() as house:
        names = fleet(house)
        one = await house.start()
        assert house.exposed(names) == []
        one = await house.look(one)
        assert (one.stage, len(house.exposed(names))) == (1, 2)
        assert depth(house) == 1
        all_say(house)
        one = await house.look(one)
        one = await house.look(one, 5_000)
        assert (one.stage, len(house.exposed(names))) == (2, 20)
        assert house.in_force.of(ACME).leaves["/risk/depth"] == 9
        assert depth(house) == 1  # the layer itself says the old value until the end
        all_say(house)
        one = await house.look(one)
        one = await house.look(one, 5_000)
        assert (one.state, depth(house), one.revisions) == (State.COMPLETED, 9, (2,))
        assert house.layers.current(PLATFORM, Layer()).reason == f"rollout {one.id}"
        assert not house.view.any_open
        assert [entered.evidence.acknowledged for entered in one.entered] == [0, 2]


async def test_a_refusal_takes_it_back_and_writes_no_configuration() -> None:
    async with opened() as house:
        names = fleet(house)
        one = await house.look(await house.start())
        (first, second) = house.exposed(names)
        house.says(first)
        house.says(second, refused="ValueError: too deep")
        one = await house.look(one)
        assert (one.state, one.gate, one.evidence.exposed) == (State.ROLLED_BACK, "refusals", 2)
        assert [(each.instance_id, each.reason) for each in one.evidence.suspects] == [(second, "ValueError: too deep")]
        assert house.exposed(names) == []
        assert house.layers.current(PLATFORM, Layer()).number == 1


async def test_silence_takes_it_back_after_its_time() -> None:
    async with opened() as house:
        fleet(house)
        one = await house.look(await house.start())
        one = await house.look(one)
        assert (await house.look(one, 3_900)).state is State.RUNNING
        one = await house.look(one, 200)
        assert (one.state, one.gate) == (State.ROLLED_BACK, "acknowledgements")


async def test_an_instance_that_becomes_unhealthy_takes_it_back_and_one_that_was_does_not() -> None:
    async with opened() as house:
        names = fleet(house)
        one = await house.start()
        house.fleet.unhealthy.add(("acme", "risk", "i-3"))
        one = await house.look(one)
        first = next(name for name in house.exposed(names) if name != "i-3")
        all_say(house)
        assert (await house.look(one)).state is State.RUNNING
        house.fleet.unhealthy.add(("acme", "risk", first))
        one = await house.look(one, 1_000)
        assert (one.state, one.gate) == (State.ROLLED_BACK, "health")


@pytest.mark.parametrize("bake_s", [60, 5])
async def test_one_that_vanishes_takes_it_back_and_one_that_leaves_does_not(bake_s: float) -> None:
    async with opened() as house:
        names = fleet(house)
        one = await house.look(await house.start(stages=(Stage(percent=10, bake_s=bake_s), Stage(percent=100))))
        first, second = house.exposed(names)
        all_say(house)
        await house.look(one)
        house.gone(first)
        house.book.forget(ACME, "risk", first)  # it deregistered
        del house.fleet.owners[("acme", "risk", first)]
        assert (await house.look(one, 4_000)).state is State.RUNNING
        house.gone(second)
        assert (await house.look(one, 1_000)).state is State.RUNNING
        del house.fleet.owners[("acme", "risk", second)]  # its lease ended
        one = await house.look(one, 3_000)
        assert (one.state, one.gate) == (State.ROLLED_BACK, "health")


async def test_one_whose_stream_is_broken_for_a_moment_is_not_missed() -> None:
    async with opened() as house:
        names = fleet(house)
        one = await house.look(await house.start())
        (first, _) = house.exposed(names)
        all_say(house)
        await house.look(one)
        house.gone(first)
        await house.look(one, 1_000)
        house.instance(first)
        assert (await house.look(one, 2_000)).state is State.RUNNING


async def test_errors_that_rise_where_it_is_in_force_take_it_back() -> None:
    async with opened() as house:
        names = fleet(house)
        all_say(house, errors=1)
        one = await house.look(await house.start())
        reached = house.exposed(names)
        for name in names:
            house.says(name)
        await house.look(one)
        for name in names:
            house.says(name, ok=60, errors=40 if name in reached else 1)
        one = await house.look(one, 1_000)
        assert (one.state, one.gate) == (State.ROLLED_BACK, "errors")
        assert (one.evidence.compared_with, one.evidence.errors) == ("others", 80)


async def test_errors_that_rise_everywhere_do_not() -> None:
    async with opened() as house:
        fleet(house)
        one = await house.look(await house.start())
        all_say(house)
        await house.look(one)
        all_say(house, errors=40)
        assert (await house.look(one, 1_000)).state is State.RUNNING


async def test_at_everyone_the_comparison_is_with_the_time_before() -> None:
    async with opened() as house:
        fleet(house)
        all_say(house)
        one = await house.look(await house.start(stages=(Stage(percent=100, bake_s=5),)))
        all_say(house)
        await house.look(one)
        all_say(house, errors=40)
        one = await house.look(one, 1_000)
        assert (one.state, one.gate, one.evidence.compared_with) == (State.ROLLED_BACK, "errors", "before")


async def test_where_nobody_follows_it_is_made_at_once() -> None:
    async with opened() as house:
        one = await house.look(await house.start())
        assert (one.state, depth(house)) == (State.COMPLETED, 9)


async def test_who_is_not_concerned_is_neither_counted_nor_told() -> None:
    async with opened() as house:
        house.instance("i-1")
        house.instance("o-1", service="orders")
        house.instance("g-1", "globex")
        one = await house.look(await house.start(layer=Layer(tier="pro", service="risk")))
        assert house.stepping.evidence(one).population == 1
        assert (house.value("i-1"), house.value("o-1", service="orders"), house.value("g-1", "globex")) == (9, 1, 1)


async def test_percentages_of_tenants_expose_tenants() -> None:
    tiers = {f"t-{number:02}": "pro" for number in range(20)}
    async with opened(tiers) as house:
        for tenant in tiers:
            house.instance("i-1", tenant)
        one = await house.look(await house.start(unit=Unit.TENANT))
        reached = [tenant for tenant in tiers if house.in_force.of(DomainId(tenant)).leaves["/risk/depth"] == 9]
        assert len(reached) == 2
        assert [tenant for tenant in tiers if house.value("i-1", tenant) == 9] == reached
        for tenant in tiers:
            house.says("i-1", tenant)
        await house.look(one)
        assert (await house.look(one, 5_000)).stage == 2


async def test_two_rollouts_reach_one_instance_together() -> None:
    async with opened() as house:
        fleet(house)
        everyone = (Stage(percent=100, bake_s=5),)
        first = await house.start(stages=everyone, layer=Layer(service="risk"))
        wish = house.wish({"features": {"advanced_ai": False}})
        second = await house.rollouts.start(
            OPERATOR, PLATFORM, [wish], Plan(unit=Unit.INSTANCE, stages=everyone, gates=Gates())
        )
        await house.look(first)
        leaves = house.in_force.of(ACME, "risk", instance="i-1").leaves
        assert (leaves["/risk/depth"], leaves["/features/advanced_ai"]) == (9, False)
        all_say(house)
        await house.look(first)
        assert house.stepping.evidence(house.rollouts.get(PLATFORM, second.id)).acknowledged == 20
        await house.do(first, Move.ABORT)
        leaves = house.in_force.of(ACME, "risk", instance="i-1").leaves
        assert (leaves["/risk/depth"], leaves["/features/advanced_ai"]) == (1, False)


# -- what people do ------------------------------------------------------------------------------


async def test_a_pause_holds_it_and_a_resume_begins_its_stage_anew() -> None:
    async with opened() as house:
        fleet(house)
        one = await house.look(await house.start())
        all_say(house)
        await house.look(one)
        await house.do(one, Move.PAUSE)
        one = await house.look(one, 60_000)
        assert (one.state, one.stage) == (State.PAUSED, 1)
        await house.do(one, Move.RESUME)
        assert (await house.look(one)).stage == 1
        await house.look(one)
        assert (await house.look(one, 4_900)).stage == 1
        assert (await house.look(one, 200)).stage == 2


async def test_a_promotion_goes_on_at_once_but_from_one_stage_only() -> None:
    async with opened() as house:
        fleet(house)
        one = await house.look(await house.start())
        assert await refused(house.do(one, Move.PROMOTE, stage=0)) == "stage_moved"
        one = await house.do(one, Move.PROMOTE, stage=1)
        assert one.stage == 2
        one = await house.do(one, Move.PROMOTE, stage=2)
        assert (one.state, depth(house)) == (State.COMPLETED, 9)
        assert await refused(house.do(one, Move.PROMOTE)) == "rollout_ended"


@pytest.mark.parametrize("looks", [0, 1, 2])
async def test_an_abort_takes_it_back_wherever_it_is(looks: int) -> None:
    async with opened() as house:
        names = fleet(house)
        one = await house.start()
        for _ in range(looks):
            one = await house.look(one, 5_000)
            all_say(house)
        one = await house.do(one, Move.ABORT, reason="looks bad")
        assert (one.state, one.ended_reason, one.ended_by) == (State.ABORTED, "looks bad", OPERATOR.principal.id)
        assert house.exposed(names) == []
        assert depth(house) == 1
        assert (await house.do(one, Move.ABORT)).state is State.ABORTED


async def test_an_abort_of_a_completed_one_restores_what_was_there() -> None:
    async with opened() as house:
        one = await house.look(await house.start())
        assert depth(house) == 9
        one = await house.do(one, Move.ABORT)
        assert (one.state, depth(house)) == (State.ABORTED, 1)
        revision = house.layers.current(PLATFORM, Layer())
        assert (revision.number, revision.restores) == (3, 1)


async def test_an_abort_of_a_completed_one_does_not_undo_what_came_after_it() -> None:
    async with opened() as house:
        one = await house.look(await house.start())
        await house.change(7)
        assert await refused(house.do(one, Move.ABORT)) == "revision_moved"
        assert depth(house) == 7


# -- what it holds -------------------------------------------------------------------------------


async def test_its_layers_hold_still_until_it_is_over() -> None:
    async with opened() as house:
        fleet(house)
        one = await house.start()
        assert await refused(house.change(5)) == "layer_in_rollout"
        assert await refused(house.start(5)) == "layer_in_rollout"
        await house.change(5, Layer(tenant="idle"))
        await house.do(one, Move.ABORT)
        await house.change(5)
        assert depth(house) == 5


async def test_what_is_not_valid_any_more_in_the_end_is_taken_back() -> None:
    async with opened() as house:
        fleet(house)
        one = await house.look(await house.start(stages=(Stage(percent=100, bake_s=0),)))
        closed = {"type": "object", "properties": {"depth": {"type": "integer", "maximum": 5}}}
        await house.configuration.describe(OPERATOR, "risk", closed)
        all_say(house)
        await house.look(one)
        one = await house.look(one)
        assert (one.state, one.gate, one.ended_reason) == (State.ROLLED_BACK, "change", "invalid_value")


async def test_a_rollout_is_of_one_owners_layers_and_changes_something() -> None:
    async with opened() as house:
        plan = Plan(unit=Unit.INSTANCE, stages=(Stage(percent=100),), gates=Gates())
        wishes = [house.wish({"risk": {"depth": 2}}), house.wish({"risk": {"depth": 2}}, Layer(tenant="acme"))]
        assert await refused(house.rollouts.start(OPERATOR, PLATFORM, wishes, plan)) == "invalid_rollout"
        assert await refused(house.start(1)) == "nothing_to_roll_out"
        assert await refused(house.start(stages=())) == "invalid_rollout"


async def test_only_so_many_go_on_at_a_time() -> None:
    async with opened() as house:
        fleet(house)
        for number in range(RUNNING_PLATFORM_MAX):
            await house.start(layer=Layer(service=f"s-{number}"))
        assert await refused(house.start()) == "limit_reached"
        own = Layer(tenant="acme")
        for number in range(RUNNING_PER_TENANT_MAX):
            await house.start(layer=own._replace(service=f"s-{number}"))
        assert await refused(house.start(layer=own)) == "limit_reached"
        for one in list(house.view.going_on(PLATFORM).values()):
            await house.do(one, Move.ABORT)
        await house.start()


async def test_a_tenants_own_rollout_is_nobody_elses() -> None:
    async with opened() as house:
        house.instance("i-1")
        house.instance("i-1", "globex")
        one = await house.start(layer=Layer(tenant="acme"))
        one = await house.look(one, domain=ACME)
        assert (house.value("i-1"), house.value("i-1", "globex")) == (9, 1)
        assert house.stepping.evidence(one).population == 1
        assert await refused(house.do(one, Move.ABORT, DomainId("globex"))) == "rollout_not_found"
        assert await refused(house.do(one, Move.ABORT, PLATFORM)) == "rollout_not_found"
        assert (await house.do(one, Move.ABORT, ACME)).state is State.ABORTED


async def test_nothing_is_concluded_before_instances_could_come_back() -> None:
    async with opened() as house:
        names = fleet(house)
        one = await house.look(await house.start())
        assert house.exposed(names)
        house.stepping._began_ms = house.clock.monotonic_ms()  # pyright: ignore[reportPrivateUsage]  # a start
        assert (await house.look(one, 2_900)).state is State.RUNNING
        one = await house.look(one, 10_000)
        assert one.state is State.ROLLED_BACK


async def test_only_who_registered_an_instance_speaks_for_it() -> None:
    async with opened() as house:
        house.instance("i-1")
        house.fleet.owners[("acme", "risk", "i-2")] = "key:somebody"
        house.book.opened(ctx_of("acme"), "risk", "", "i-2")
        assert [each.instance for each in house.book.of(ACME)] == ["i-1"]
        for name, code in (("i-2", "not_owner"), ("i-3", "instance_not_found")):
            with pytest.raises(HubError, match=code):
                house.says(name)


async def test_a_follower_that_is_gone_and_not_registered_is_let_go_of() -> None:
    async with opened() as house:
        house.instance("i-1")
        house.instance("i-2")
        house.gone("i-1")
        del house.fleet.owners[("acme", "risk", "i-1")]
        house.book.sweep()
        assert len(house.book) == 2
        house.clock.advance(60_000)
        house.book.sweep()
        assert [each.instance for each in house.book.of(ACME)] == ["i-2"]
