"""Metering: each event counts once, sums are those of the events, snapshots lose nothing, lateness has an end."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.quotas import metering
from central_hub.quotas.metered import CHUNK, MeteredView
from central_hub.quotas.metering import NewEvent, Recorded, Row
from central_hub.quotas.model import AHEAD_MS, LATE_MS, UsageEvent, UsageRecorded
from central_hub.quotas.periods import bounds_ms
from tests.unit.quotas.house import ACME, GLOBEX, House, ctx_of, opened

FOREVER = {"from_ms": 0, "to_ms": 10**15}
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def event(number: int, quantity: int = 1, **more: Any) -> NewEvent:
    return NewEvent(**{"id": str(number), "meter": "tokens", "quantity": quantity, **more})


async def record(house: House, *events: NewEvent, tenant: str = "acme") -> Recorded:
    return await house.metering.record(ctx_of(tenant), events)


def rows(house: House, period: str = "day", tenant: Any = ACME, **more: Any) -> list[Row]:
    return list(house.metering.rows(tenant, period, **{**FOREVER, **more}))


async def test_an_event_counts_once_however_often_it_is_sent() -> None:
    async with opened() as house:
        first = await record(house, event(1, 5), event(2, 7), event(1, 5))
        assert (first.accepted, first.duplicates) == (2, 1)
        again = await record(house, event(1, 5), event(3, 1))
        assert (again.accepted, again.duplicates) == (1, 1)
        (row,) = rows(house)
        assert (row.quantity, row.events, row.tier, row.final) == (13, 3, "pro", False)
        assert (house.metering.recorded, house.metering.duplicates) == (3, 2)


async def test_the_same_at_the_same_time_counts_once() -> None:
    async with opened() as house:
        results = await asyncio.gather(*(record(house, event(1)) for _ in range(20)))
        assert sum(one.accepted for one in results) == 1
        assert house.runner.position(ACME) == 1


async def test_ids_are_of_their_meter_and_their_tenant() -> None:
    async with opened() as house:
        await record(house, event(1), event(1, meter="images"))
        await record(house, event(1), tenant="globex")
        assert [row.quantity for row in rows(house)] == [1, 1]
        assert [row.quantity for row in rows(house, tenant=GLOBEX)] == [1]


async def test_use_is_added_up_by_hour_day_and_month() -> None:
    async with opened() as house:
        now_ms = house.clock.now_ms()
        await record(house, event(1, 5), event(2, 7, at_ms=now_ms - 2 * HOUR_MS), event(3, 1, at_ms=now_ms - DAY_MS))
        assert [row.quantity for row in rows(house, "hour")] == [1, 7, 5]
        assert [(row.period_start, row.quantity) for row in rows(house)] == [
            ("2023-11-13T00:00:00.000Z", 1),
            ("2023-11-14T00:00:00.000Z", 12),
        ]
        (month,) = rows(house, "month")
        assert (month.period_start, month.period_end, month.quantity, month.events) == (
            "2023-11-01T00:00:00.000Z", "2023-12-01T00:00:00.000Z", 13, 3,
        )  # fmt: skip
        assert [row.quantity for row in rows(house, from_ms=now_ms - DAY_MS)] == [12]


async def test_a_change_of_tier_starts_a_row_of_its_own() -> None:
    async with opened() as house:
        await record(house, event(1))
        house.access.replaced["key:1"] = msgspec.structs.replace(ctx_of(), tier="enterprise")
        await record(house, event(2, 4))
        assert [(row.tier, row.quantity) for row in rows(house, "month")] == [("enterprise", 4), ("pro", 1)]


async def test_what_comes_too_late_or_too_early_is_named_and_the_rest_is_taken() -> None:
    async with opened() as house:
        now_ms = house.clock.now_ms()
        answer = await record(
            house,
            event(1, at_ms=now_ms - LATE_MS - 1),
            event(2, at_ms=now_ms - LATE_MS),
            event(3, at_ms=now_ms + AHEAD_MS),
            event(4, at_ms=now_ms + AHEAD_MS + 1),
        )
        assert [(one.id, one.code) for one in answer.refused] == [("1", "too_late"), ("4", "too_early")]
        assert answer.accepted == 2


async def test_an_id_is_remembered_for_as_long_as_its_event_could_come_again() -> None:
    async with opened() as house:
        now_ms = house.clock.now_ms()
        await record(house, event(1, at_ms=now_ms))
        for _ in range(26):
            house.clock.advance(HOUR_MS)
            answer = await record(house, event(1, at_ms=now_ms), event(_ + 100))
            assert answer.duplicates + len(answer.refused) == 1
        assert sum(row.quantity for row in rows(house)) == 27
        assert house.metered.count_seen(ACME, 0) <= 27


async def test_a_period_is_final_when_nothing_of_it_can_come_any_more() -> None:
    async with opened() as house:
        await record(house, event(1))
        _, end_ms = bounds_ms("day", house.clock.now_ms())
        house.clock.jump_wall(end_ms + LATE_MS - house.clock.now_ms())
        assert [row.final for row in rows(house)] == [False]
        house.clock.advance(1)
        assert [row.final for row in rows(house)] == [True]


async def test_limits_of_meters_and_events_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "METERS_PER_TENANT_MAX", 2)
    monkeypatch.setattr(metering, "EVENT_IDS_PER_TENANT_MAX", 3)
    async with opened() as house:
        answer = await record(house, *(event(1, meter=name) for name in "abc"))
        assert [(one.meter, one.code) for one in answer.refused] == [("c", "too_many_meters")]
        with pytest.raises(HubError) as refused:
            await record(house, event(2, meter="a"), event(3, meter="a"))
        assert (refused.value.code, refused.value.kind) == ("limit_reached", Kind.LIMIT)
        assert (await record(house, event(2, meter="a"))).accepted == 1
        with pytest.raises(HubError, match="limit_reached"):
            await record(house, event(4, meter="a"))
        house.clock.advance(LATE_MS + 2 * HOUR_MS)
        assert (await record(house, event(4, meter="a"))).accepted == 1


async def test_a_suspended_tenant_records_nothing() -> None:
    async with opened() as house:
        house.access.refused["key:1"] = HubError("tenant_suspended", Kind.DENIED, "Suspended.")
        with pytest.raises(HubError, match="tenant_suspended"):
            await record(house, event(1))


EVENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(0, 100), st.integers(0, 40 * DAY_MS)),
    max_size=60,
)


@given(EVENTS)
def test_sums_are_those_of_the_events_and_survive_a_snapshot(events: list[tuple[str, int, int, int]]) -> None:
    view, start_ms = MeteredView(), 1_700_000_000_000
    for seq, (meter, number, quantity, after_ms) in enumerate(events, start=1):
        one = UsageEvent(id=f"{number}-{seq}", meter=meter, quantity=quantity, at_ms=start_ms + after_ms)
        view.apply(
            Applied(
                pos=seq, domain=ACME, domain_seq=seq, streams=("usage",), category=Category.FACT, type="UsageRecorded",
                id=str(seq), time_ms=start_ms, actor=HUB_ACTOR, fact=UsageRecorded(tier="pro", events=(one,)),
            )
        )  # fmt: skip
    copy = MeteredView()
    copy.restore(ACME, [msgspec.msgpack.encode(chunk) for chunk in view.dump(ACME)])
    for period in ("hour", "day", "month"):
        for meter in "ab":
            expected: dict[int, int] = {}
            for name, _, quantity, after_ms in events:
                if name == meter:
                    begin_ms, _ = bounds_ms(period, start_ms + after_ms)
                    expected[begin_ms] = expected.get(begin_ms, 0) + quantity
            sums = view.sums(ACME, period, meter, 0, 10**15)
            assert {one.start_ms: one.quantity for one in sums} == expected
            assert copy.sums(ACME, period, meter, 0, 10**15) == sums
    assert copy.count_seen(ACME, 0) == view.count_seen(ACME, 0) == len(events)
    assert copy.meters(GLOBEX) == ()


async def test_old_days_are_forgotten_and_a_snapshot_comes_in_chunks() -> None:
    async with opened() as house:
        await record(house, *(event(number) for number in range(CHUNK + 1)))
        assert len(list(house.metered.dump(ACME))) == 4
        house.clock.advance(401 * DAY_MS)
        assert house.metered.count_seen(ACME, house.clock.now_ms()) == 0
        await record(house, event(-1))
        assert [row.quantity for row in rows(house)] == [1]
        assert house.metered.count_seen(ACME, 0) == 1
