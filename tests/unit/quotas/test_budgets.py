"""Budgets: what is granted in a period never passes the limit, whatever dies; slices are fair and come back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.records import Applied
from central_hub.quotas.budgets import Slice
from central_hub.quotas.model import LEVELS, TenantBudgetReserved, TenantQuotaLevelReached
from central_hub.quotas.ports import Allowance
from central_hub.quotas.rules import fair_slice, level_of, levels_between
from tests.unit.quotas.house import ACME, GLOBEX, House, ctx_of, opened

CALLS = "api_calls_per_hour"
LIMIT = 1_000
HOUR_MS = 3_600_000
LEFT_MS = HOUR_MS - ManualClock().now_ms() % HOUR_MS
"""From the beginning of each test to the end of its first hour."""


async def take(
    house: House, wanted: int = 1, *, at_least: int = 1, holder: str = "", key: str | None = None, name: str = CALLS
) -> Slice:
    return await house.budgets.take(ctx_of(), name, wanted=wanted, at_least=at_least, holder=holder, key=key)


async def exhaust(house: House, *, wanted: int = 1_000, name: str = CALLS) -> int:
    """Take until there is no more; returns how much that was."""
    total = 0
    while True:
        try:
            total += (await take(house, wanted, name=name)).granted
        except HubError as error:
            assert error.code == "quota_exceeded"  # noqa: PT017  # any other is a failure of the test
            return total


def used(house: House) -> int:
    return house.budgets.used(ACME, CALLS, "hour")[0]


async def test_exactly_the_limit_is_granted_in_a_period_and_again_in_the_next() -> None:
    async with opened() as house:
        assert await exhaust(house) == LIMIT
        assert used(house) == LIMIT
        house.clock.advance(LEFT_MS - 1)
        assert await exhaust(house) == 0
        house.clock.advance(1)
        assert used(house) == 0
        assert await exhaust(house, wanted=7) == LIMIT


async def test_of_many_at_once_as_much_gets_out_as_there_is() -> None:
    async with opened() as house:
        tried = await asyncio.gather(*(take(house) for _ in range(1_500)), return_exceptions=True)
        assert sum(one.granted for one in tried if isinstance(one, Slice)) == LIMIT


async def test_what_is_spent_one_by_one_costs_a_record_per_block_only() -> None:
    async with opened() as house:
        for _ in range(100):
            await take(house)
        assert house.runner.position(ACME) == 10
        assert used(house) == 100


async def test_a_slice_says_how_long_it_holds_and_where_the_limit_stands() -> None:
    async with opened() as house:
        taken = await take(house, 10)
        assert (taken.granted, taken.used, taken.limit, taken.remaining) == (10, 10, LIMIT, LIMIT - 10)
        assert (taken.expires_in_ms, taken.window_s, taken.resets_at) == (LEFT_MS, 3_600, "2023-11-14T23:00:00.000Z")


async def test_a_refusal_says_when_there_is_more() -> None:
    async with opened() as house:
        await exhaust(house)
        with pytest.raises(HubError) as refused:
            await take(house)
        error = refused.value
        assert (error.kind, error.retry_after_s) == (Kind.LIMIT, LEFT_MS // 1_000)
        assert {name: error.fields[name] for name in ("used", "limit", "remaining", "resets_at", "window_s")} == {
            "used": LIMIT, "limit": LIMIT, "remaining": 0, "resets_at": "2023-11-14T23:00:00.000Z", "window_s": 3_600,
        }  # fmt: skip


async def test_nobody_takes_everything_while_others_ask_too() -> None:
    async with opened() as house:
        assert (await take(house, LIMIT, holder="a")).granted == 100
        await take(house, 700, at_least=700, holder="b")
        assert (await take(house, LIMIT, holder="b")).granted == 50
        assert (await take(house, LIMIT, holder="c")).granted == 25
        assert (await take(house, LIMIT, at_least=90, holder="c")).granted == 90
        house.clock.advance(61_000)
        assert (await take(house, LIMIT, holder="c")).granted == 18  # the others have not asked for a while


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 1_000))
def test_a_fair_slice_is_neither_too_large_nor_too_small(limit: int, rest: int, holders: int) -> None:
    slice_ = fair_slice(limit, min(rest, limit), holders)
    assert min(limit // 100, 100) <= slice_ <= max(limit // 50, 100)


async def test_at_least_is_all_or_nothing() -> None:
    async with opened() as house:
        await take(house, 990, at_least=990)
        with pytest.raises(HubError, match="quota_exceeded"):
            await take(house, 11, at_least=11)
        assert (await take(house, 11, at_least=10)).granted == 10


async def test_what_comes_back_can_be_taken_again_once() -> None:
    async with opened() as house:
        taken = await take(house, 100)
        await exhaust(house)
        assert await house.budgets.give_back(ctx_of(), CALLS, taken.id, 40) == 40
        assert await house.budgets.give_back(ctx_of(), CALLS, taken.id, 40) == 0
        assert used(house) == LIMIT - 40
        assert await exhaust(house) == 40


async def test_no_more_comes_back_than_went_out_and_nothing_of_others() -> None:
    async with opened() as house:
        taken = await take(house, 10)
        assert await house.budgets.give_back(ctx_of("globex"), CALLS, taken.id, 10) == 0
        assert await house.budgets.give_back(ctx_of(), CALLS, "never-was", 10) == 0
        assert await house.budgets.give_back(ctx_of(), CALLS, taken.id, 1_000) == 10
        late = await take(house, 10)
        house.clock.advance(LEFT_MS)
        assert await house.budgets.give_back(ctx_of(), CALLS, late.id, 10) == 0


async def test_a_repeated_key_gets_the_same_slice() -> None:
    async with opened() as house:
        first = await take(house, 10, key="k")
        again = await take(house, 10, key="k")
        assert (again.id, again.granted, used(house)) == (first.id, 10, 10)
        assert (await take(house, 10, key="other")).id != first.id


async def test_a_slice_that_came_back_is_not_handed_out_again_by_a_retry() -> None:
    async with opened() as house:
        first = await take(house, 10, key="k")
        assert await house.budgets.give_back(ctx_of(), CALLS, first.id, 10) == 10
        again = await take(house, 10, key="k")
        assert again.id != first.id
        assert used(house) == 10


async def test_what_dies_with_a_hub_is_lost_and_never_granted_twice() -> None:
    async with opened() as first:
        granted = (await take(first, 3)).granted
        stale = await take(first, 3)
        granted += stale.granted
        async with opened(first) as second:
            assert used(second) == 10  # the whole block counts
            assert await second.budgets.give_back(ctx_of(), CALLS, stale.id, 3) == 0
            granted += await exhaust(second, wanted=9)
            assert LIMIT - LIMIT // 100 <= granted <= LIMIT
            async with opened(second) as third:
                assert await exhaust(third) == 0


async def test_whatever_happens_no_period_grants_more_than_its_limit() -> None:
    rng, granted = random.Random(5), dict[int, int]()
    async with opened() as house:
        stack: list[House] = [house]
        for _ in range(3):
            async with opened(stack[-1]) as current:
                stack.append(current)
                slices: list[Slice] = []
                for _ in range(150):
                    start_ms = current.clock.now_ms() // HOUR_MS
                    move = rng.random()
                    if move < 0.7:
                        try:
                            taken = await take(current, rng.randrange(1, 60), holder=str(rng.randrange(4)))
                        except HubError:
                            current.clock.advance(rng.randrange(HOUR_MS))
                            continue
                        slices.append(taken)
                        granted[start_ms] = granted.get(start_ms, 0) + taken.granted
                    elif move < 0.9 and slices:
                        back = slices.pop(rng.randrange(len(slices)))
                        returned = await current.budgets.give_back(ctx_of(), CALLS, back.id, rng.randrange(60))
                        granted[start_ms] = granted.get(start_ms, 0) - returned
                    else:
                        current.clock.advance(rng.randrange(60_000))
        assert len(granted) > 3
        assert max(granted.values()) <= LIMIT
        assert max(granted.values()) > LIMIT * 0.9


async def test_a_wall_clock_that_is_set_back_brings_no_old_period_back() -> None:
    async with opened() as house:
        house.clock.advance(LEFT_MS)
        await exhaust(house)
        taken = house.budgets.used(ACME, CALLS, "hour")[0]
        house.clock.jump_wall(-HOUR_MS)
        assert await exhaust(house) == 0
        assert house.budgets.used(ACME, CALLS, "hour")[0] == taken == LIMIT


async def test_a_slice_comes_back_after_the_wall_clock_was_set_back() -> None:
    async with opened() as house:
        house.clock.advance(LEFT_MS)
        taken = await take(house, 50)
        house.clock.jump_wall(-HOUR_MS)
        assert await house.budgets.give_back(ctx_of(), CALLS, taken.id, 50) == 50


async def test_a_slice_ends_with_the_period_it_was_carved_out_of() -> None:
    async with opened() as house:
        house.clock.advance(LEFT_MS - 10)
        begun = house.sequencer.submit

        async def slowly(*arguments, **more):  # type: ignore[no-untyped-def]
            committed = await begun(*arguments, **more)
            house.clock.advance(20)
            return committed

        house.sequencer.submit = slowly  # type: ignore[method-assign]
        assert (await take(house, 5)).expires_in_ms == 0


async def test_levels_are_told_once_a_period() -> None:
    async with opened() as house:
        events: list[TenantQuotaLevelReached] = []

        def listen(batch: Sequence[Applied]) -> None:
            events.extend(one.fact for one in batch if isinstance(one.fact, TenantQuotaLevelReached))

        house.runner.listen(listen)
        await exhaust(house, wanted=1)
        assert [event.level for event in events] == list(LEVELS)
        await exhaust(house)
        house.clock.advance(LEFT_MS)
        await take(house, 990, at_least=990)
        assert [event.level for event in events] == [*LEVELS, 50, 80, 95]


def test_levels_are_shares_of_the_limit() -> None:
    assert levels_between(0, 49, 100) == ()
    assert levels_between(49, 80, 100) == (50, 80)
    assert levels_between(0, 5, None) == levels_between(0, 5, 0) == ()
    assert [level_of(used, 10) for used in (0, 5, 9, 10, 12)] == [0, 50, 80, 100, 100]


async def test_no_limit_and_a_soft_limit_count_and_refuse_nothing() -> None:
    async with opened() as house:
        house.limits.put(Allowance(name="tokens_per_day", limit=None, period="day"))
        house.limits.put(Allowance(name="pages_per_day", limit=10, period="day", soft=True))
        free = await take(house, 5_000, name="tokens_per_day")
        assert (free.granted, free.limit, free.remaining, free.used) == (5_000, None, None, 5_000)
        assert (await take(house, 25, name="pages_per_day")).granted == 25
        assert house.budgets.used(ACME, "pages_per_day", "day")[0] == 25


@pytest.mark.parametrize("name", ["nothing", "max_concurrent_requests"])
async def test_what_is_not_counted_over_a_period_is_no_budget(name: str) -> None:
    async with opened() as house:
        with pytest.raises(HubError) as refused:
            await take(house, name=name)
        assert (refused.value.code, refused.value.kind) == ("unknown_limit", Kind.MALFORMED)
        assert CALLS in refused.value.next_step


async def test_a_rate_is_limited_in_memory_and_fills_again() -> None:
    async with opened() as house:
        house.limits.put(Allowance(name="requests_per_second", limit=10, period="second"))
        first = await take(house, 8, name="requests_per_second")
        assert (first.granted, first.remaining, first.expires_in_ms) == (8, 2, 1_000)
        assert (await take(house, 8, name="requests_per_second")).granted == 2
        with pytest.raises(HubError) as refused:
            await take(house, name="requests_per_second")
        assert (refused.value.retry_after_s, refused.value.fields["period"]) == (1, "second")
        house.clock.advance(300)
        assert (await take(house, 8, name="requests_per_second")).granted == 3
        assert house.runner.position(ACME) == 0
        (shown,) = [one for one in house.reading.usage(ctx_of(), "acme").limits if one.kind == "rate"]
        assert (shown.name, shown.used, shown.remaining) == ("requests_per_second", 10, 0)
        assert await house.budgets.give_back(ctx_of(), "requests_per_second", first.id, 5) == 0


async def test_a_suspended_tenant_gets_no_slice() -> None:
    async with opened() as house:
        house.access.refused["key:1"] = HubError("tenant_suspended", Kind.DENIED, "Suspended.")
        with pytest.raises(HubError, match="tenant_suspended"):
            await take(house)


async def test_a_snapshot_keeps_what_was_set_aside() -> None:
    async with opened() as house:
        await take(house, 40)
        reserved = house.view.reserved(ACME, CALLS)
        assert reserved is not None
        assert reserved.amount == 40
        dumped = list(house.view.dump(ACME))
        assert len(dumped) == 1
        assert TenantBudgetReserved in house.view.facts


async def test_tenants_have_budgets_of_their_own() -> None:
    async with opened() as house:
        house.limits.put(Allowance(name="pages_per_day", limit=50, period="day"), GLOBEX)
        globex = ctx_of("globex")
        with pytest.raises(HubError, match="unknown_limit"):
            await take(house, name="pages_per_day")
        with pytest.raises(HubError, match="unknown_limit"):
            await house.budgets.give_back(ctx_of(), "pages_per_day", "1-1", 1)
        taken = await house.budgets.take(globex, "pages_per_day", wanted=50, at_least=50, holder="", key=None)
        assert (taken.used, taken.limit) == (50, 50)
        assert await house.budgets.give_back(globex, "pages_per_day", taken.id, 20) == 20
        assert house.budgets.used(GLOBEX, "pages_per_day", "day")[0] == 30
        assert used(house) == 0
