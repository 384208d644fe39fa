"""What is old leaves, by days, by bytes and at a tenant's word; readers are told where they cannot go on."""

from __future__ import annotations

import pytest

from central_hub.events.model import Kept
from central_hub.events.reading import START, Wanted
from central_hub.events.retention import Purging, Retention
from central_hub.events.schemas import StreamQuery
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.expiring import ROW_BYTES
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Category
from tests.unit.events.house import ACME, House, caller, event, opened

DAY = 86_400_000
GLOBEX = DomainId("globex")


def retention(house: House, kept: Kept, *, is_mine: bool = True) -> Retention:
    house.runner.droppable_pos = house.runner.pos
    terms = {ACME: kept}
    forever = Kept(events_ms=0, history_ms=0)
    return Retention(
        house.log, house.runner, house.view, lambda domain: terms.get(domain, forever), lambda: is_mine, house.clock
    )


def stored(house: House, domain: DomainId = ACME) -> str:
    letters = {Category.EVENT: "e", Category.FACT: "f", Category.AUDIT: "a"}
    return "".join(letters[one.category] for one in house.log.records if one.domain == domain)


async def days(house: House, *, count: int = 3) -> None:
    """Have an event and a fact a day, and another tenant's."""
    for day in range(count):
        await house.publish(event(day))
        await house.publish(event(day), ctx=caller("globex"))
        await house.fact("risk")
        house.clock.advance(DAY)


async def begins(house: House) -> int:
    return await house.reading.begin(ACME, StreamQuery(after=START))


async def test_events_leave_by_their_days_and_history_by_its_own() -> None:
    async with opened() as house:
        await days(house)
        before = house.reading.position(1)
        await retention(house, Kept(events_ms=3 * DAY // 2, history_ms=9 * DAY)).keep()
        assert (stored(house), stored(house, GLOBEX)) == ("ffef", "eee")
        assert await begins(house) == 3
        with pytest.raises(HubError, match="position_gone"):
            await house.reading.begin(ACME, StreamQuery(after=before))
        assert len((await house.reading.page(ACME, 3, Wanted(), 10)).events) == 3
        assert (await house.log.verify(ACME)).broken_at is None
        await retention(house, Kept(events_ms=DAY // 2, history_ms=2 * DAY)).keep()
        assert stored(house) == "ff"
        assert (await house.log.verify(ACME)).broken_at is None


async def test_what_is_kept_for_ever_stays() -> None:
    async with opened() as house:
        await days(house)
        for kept in (Kept(events_ms=0, history_ms=0), Kept(events_ms=0, history_ms=DAY)):
            await retention(house, kept).keep()
        assert stored(house) == "efefef"


async def test_nothing_that_a_start_needs_leaves() -> None:
    async with opened() as house:
        await days(house)
        keeping = retention(house, Kept(events_ms=1, history_ms=1))
        house.runner.droppable_pos = 0
        await keeping.keep()
        assert stored(house) == "efefef"
        house.runner.droppable_pos = 4
        await keeping.keep()
        assert stored(house) == "fef"


async def test_the_oldest_events_leave_where_there_are_too_many_bytes() -> None:
    async with opened() as house:
        await days(house, count=5)
        whole = retention(house, Kept(events_ms=0, history_ms=0))
        await whole.keep()
        each = whole.event_bytes(ACME) / 5
        keeping = retention(house, Kept(events_ms=0, history_ms=0, events_bytes=int(2.5 * each)))
        await keeping.keep()
        assert (stored(house), stored(house, GLOBEX)) == ("fffefef", "eeeee")
        assert keeping.event_bytes(ACME) == pytest.approx(2 * each, rel=0.01)
        assert keeping.records == 3
        assert keeping.bytes >= 3 * ROW_BYTES
        await keeping.keep()
        assert keeping.records == 3


async def test_what_a_tenant_purges_is_gone_from_reads_at_once_and_from_the_log_with_the_snapshots() -> None:
    async with opened() as house:
        await days(house)
        keeping = retention(house, Kept(events_ms=0, history_ms=0))
        purging = Purging(house.view, house.sequencer, house.access)
        assert await purging.purge(caller(), ACME, 4) == 4
        assert await purging.purge(caller(), ACME, 2) == 4
        assert await begins(house) == 4
        with pytest.raises(HubError, match="position_gone"):
            await house.reading.page(ACME, 3, Wanted(), 10)
        assert len((await house.reading.page(ACME, 4, Wanted(), 10)).events) == 2
        assert stored(house) == "efefeff"
        await keeping.keep()
        assert (stored(house), stored(house, GLOBEX)) == ("ffeff", "eee")
        assert [one.type for one in house.log.records].count("EventsPurged") == 1


async def test_a_store_that_is_away_loses_nothing_and_the_next_look_goes_on() -> None:
    class Away:
        def __init__(self, log: object) -> None:
            self.log = log
            self.away = True

        async def expire(self, *args: object, **more: object) -> object:
            if self.away:
                raise HubError("store_unavailable", Kind.UNAVAILABLE, "Away.")
            return await self.log.expire(*args, **more)  # type: ignore[attr-defined]

        async def weigh(self, *args: object) -> object:
            return await self.log.weigh(*args)  # type: ignore[attr-defined]

    async with opened() as house:
        await days(house)
        keeping = retention(house, Kept(events_ms=1, history_ms=9 * DAY))
        keeping._log = store = Away(house.log)  # type: ignore[assignment]
        await keeping.keep()
        assert stored(house) == "efefef"
        store.away = False
        await keeping.keep()
        assert stored(house) == "fff"
