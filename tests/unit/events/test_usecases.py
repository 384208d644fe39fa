"""Publishing: in order, all or nothing, each once."""

from __future__ import annotations

import asyncio

import pytest

from central_hub.events.model import BATCH_MAX, DECIDED_AT_ONCE
from central_hub.events.reading import Wanted
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.records import Category
from tests.unit.events.house import ACME, House, caller, event, opened


async def ids(house: House) -> list[str]:
    page = await house.reading.page(ACME, 0, Wanted(), 1_000)
    return [told.body.split(b'"id":"')[1].split(b'"')[0].decode() for told in page.events]


async def test_events_are_records_of_the_tenant_s_log_in_order() -> None:
    async with opened() as house:
        outcome = await house.publish(*(event(at) for at in range(250)))
        assert (outcome.accepted, outcome.duplicates, outcome.seq) == (250, 0, 250)
        assert await ids(house) == [f"e-{at}" for at in range(250)]
        assert {one.category for one in house.log.records} == {Category.EVENT}
        assert {one.domain for one in house.log.records} == {ACME}


async def test_an_event_is_taken_once_whoever_sends_it_again() -> None:
    async with opened() as house:
        await house.publish(event(1))
        again = await house.publish(event(1), event(2), event(2), event(3), ctx=caller(principal="other-key"))
        assert (again.accepted, again.duplicates, again.seq) == (2, 2, 3)
        last = await house.publish(event(3))
        assert (last.accepted, last.duplicates, last.seq) == (0, 1, 3)
        assert await ids(house) == ["e-1", "e-2", "e-3"]


async def test_the_same_id_of_another_source_or_tenant_is_another_event() -> None:
    async with opened() as house:
        await house.publish(event(1))
        assert (await house.publish(event(1, source="/services/billing"))).accepted == 1
        assert (await house.publish(event(1), ctx=caller("globex"))).accepted == 1


async def test_events_without_an_id_are_told_apart_unless_a_key_names_them() -> None:
    async with opened() as house:
        bare = event(id=None)
        assert (await house.publish(bare, bare)).accepted == 2
        assert (await house.publish(bare, bare, key="k")).accepted == 2
        assert (await house.publish(bare, bare, key="k")).duplicates == 2


async def test_many_publishers_of_the_same_events_make_them_once() -> None:
    async with opened() as house:
        outcomes = await asyncio.gather(*(house.publish(*(event(at) for at in range(30))) for _ in range(8)))
        assert sum(one.accepted for one in outcomes) == 30
        assert sorted(await ids(house)) == sorted(f"e-{at}" for at in range(30))


async def test_one_bad_event_refuses_the_whole_batch() -> None:
    async with opened() as house:
        with pytest.raises(HubError, match="invalid_event"):
            await house.publish(event(1), event(2, type="not a type"))
        assert house.log.records == []


async def test_nothing_is_taken_from_whom_may_no_more() -> None:
    async with opened() as house:
        house.access.refused["key-1"] = HubError("tenant_suspended", Kind.DENIED, "No.")
        with pytest.raises(HubError, match="tenant_suspended"):
            await house.publish(event(1))


async def test_a_batch_has_a_limit_and_lets_others_in_between() -> None:
    assert DECIDED_AT_ONCE < BATCH_MAX
    async with opened() as house:
        first = asyncio.create_task(house.publish(*(event(at) for at in range(DECIDED_AT_ONCE * 3))))
        await asyncio.sleep(0)
        other = asyncio.create_task(house.publish(event("x"), ctx=caller("globex")))
        await asyncio.gather(first, other)
        where = next(one.pos for one in house.log.records if one.domain != ACME)
        assert where <= DECIDED_AT_ONCE * 2 + 1


async def test_a_failed_commit_takes_nothing_and_the_retry_takes_all() -> None:
    async with opened() as house:
        house.log.fail_with = HubError("store_unavailable", Kind.UNAVAILABLE, "Away.")
        with pytest.raises(HubError, match="store_unavailable"):
            await house.publish(event(1), event(2))
        house.log.fail_with = None
        assert (await house.publish(event(1), event(2))).accepted == 2
