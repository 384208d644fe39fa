"""Streams and pages: nothing is missed, nothing comes twice, nobody holds up anybody."""

from __future__ import annotations

import asyncio
import random

import pytest

from central_hub.events import streaming
from central_hub.events.model import WAITERS_PER_TENANT_MAX
from central_hub.events.reading import Wanted, wanted_of
from central_hub.events.schemas import EventFilter, StreamQuery
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.expiring import Terms
from central_hub.kernel.ids import DomainId
from tests.unit.events.house import ACME, House, KeptSink, caller, event, opened, settled


async def filled(house: House, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        await house.publish(event(number))


def names(*numbers: int) -> list[str]:
    return [f"e-{number}" for number in numbers]


async def test_a_stream_begins_with_the_log_and_goes_on_with_what_becomes_true() -> None:
    async with opened() as house:
        await filled(house, 3)
        sink = KeptSink()
        house.open(sink)
        await settled()
        assert sink.ids == names(0, 1, 2)
        await filled(house, 2, 3)
        await settled()
        assert sink.ids == names(0, 1, 2, 3, 4)
        assert sink.last == "inc1.5"


async def test_wherever_a_stream_breaks_it_resumes_exactly() -> None:
    draw = random.Random(5)
    async with opened() as house:
        got: list[str] = []
        last, written = 0, 0
        for _ in range(60):
            sink = KeptSink(room=draw.randrange(1, 9))
            house.open(sink, after=last)
            for _ in range(draw.randrange(4)):
                await house.publish(*(event(written + at) for at in range(draw.randrange(1, 5))))
                written = len(house.log.records)
                if draw.random() < 0.5:
                    await asyncio.sleep(0)
            await settled()
            sink.close()
            await settled()
            got += sink.ids
            last = int(sink.last.split(".")[1]) if sink.frames else last
            for stream in list(house.streams._channels.get(ACME, streaming._Channel()).streams):  # type: ignore[attr-defined]
                house.streams._leave(stream)  # type: ignore[attr-defined]
        final = KeptSink()
        house.open(final, after=last)
        await settled()
        assert got + final.ids == names(*range(written))


async def test_a_stream_is_told_its_own_domain_alone() -> None:
    async with opened() as house:
        mine, theirs = KeptSink(), KeptSink()
        house.open(mine)
        house.open(theirs, ctx=caller("globex"))
        await house.publish(event(1))
        await house.publish(event(2), ctx=caller("globex"))
        await settled()
        assert (mine.ids, theirs.ids) == (names(1), names(2))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (EventFilter(), ["e-1", "gone", "e-2"]),
        (EventFilter(types="com.acme.placed"), ["e-1"]),
        (EventFilter(types="com.*"), ["e-1", "e-2"]),
        (EventFilter(types="ServiceUnregistered"), ["gone"]),
        (EventFilter(types="io.centralhub.service.unregistered.v1,com.acme.billed"), ["gone", "e-2"]),
        (EventFilter(services="orders"), ["e-1"]),
        (EventFilter(services="risk,billing"), ["gone", "e-2"]),
        (EventFilter(category="integration"), ["e-2"]),
        (EventFilter(category="service"), ["gone"]),
        (EventFilter(types="com.*", services="risk"), []),
    ],
)
async def test_filters(asked: EventFilter, expected: list[str]) -> None:
    async with opened() as house:
        live = KeptSink()
        house.open(live, wanted=wanted_of(asked))
        await house.publish(event(1))
        await house.fact("risk")
        await house.publish(event(2, type="com.acme.billed", source="/services/billing", hubcategory="integration"))
        await settled()
        page = await house.reading.page(ACME, 0, wanted_of(asked), 10)
        assert page.seq == 3
        shown = [
            "gone" if told.title == "ServiceUnregistered" else f"e-{told.seq if told.seq == 1 else 2}"
            for told in page.events
        ]
        assert shown == expected
        assert len(live.ids) == len(expected)


@pytest.mark.parametrize(
    "query", [EventFilter(types="a,,b c"), EventFilter(services="No"), EventFilter(category="A b")]
)
def test_a_filter_that_means_nothing_is_refused(query: EventFilter) -> None:
    with pytest.raises(HubError, match="invalid_query"):
        wanted_of(query)


async def test_where_a_reader_begins() -> None:
    async with opened() as house:
        for number in range(10):
            house.clock.advance(1.0)
            await house.publish(event(number))
        begin = house.reading.begin
        assert await begin(ACME, StreamQuery()) == 10
        assert await begin(ACME, StreamQuery(after="now")) == 10
        assert await begin(ACME, StreamQuery(after="start")) == 0
        assert await begin(ACME, StreamQuery(after="inc1.4")) == 4
        assert await begin(ACME, StreamQuery(last=3)) == 7
        assert await begin(ACME, StreamQuery(last=100)) == 0
        assert await begin(ACME, StreamQuery(after="inc1.4"), "inc1.6") == 6, "what the browser says goes before"
        since = rfc3339(house.log.records[3].time_ms)
        assert await begin(ACME, StreamQuery(since=since)) == 3
        assert await begin(DomainId("empty"), StreamQuery(after="start")) == 0
        for bad, code in (
            (StreamQuery(after="inc1.11"), "position_gone"), (StreamQuery(after="other.3"), "position_gone"),
            (StreamQuery(after="rubbish"), "invalid_position"), (StreamQuery(since="noon"), "invalid_query"),
            (StreamQuery(after="now", last=3), "invalid_query"),
        ):  # fmt: skip
            with pytest.raises(HubError, match=code):
                await begin(ACME, bad)


async def test_a_position_behind_the_log_is_gone_and_an_open_stream_is_told() -> None:
    async with opened() as house:
        await filled(house, 10)
        await house.log.expire(ACME, after_seq=0, behind_pos=99, terms=Terms(before_ms=2**60, upto_seq=4))
        assert await house.reading.begin(ACME, StreamQuery(after="start")) == 4
        with pytest.raises(HubError) as caught:
            await house.reading.begin(ACME, StreamQuery(after="inc1.2"))
        assert (caught.value.code, caught.value.kind) == ("position_gone", Kind.GONE)
        sink = KeptSink()
        house.open(sink, after=2)
        await settled()
        assert sink.closed
        assert b"event: gone" in sink.frames[-1]
        assert house.streams.open_streams == 0


async def test_pages_go_on_where_the_one_before_ended() -> None:
    async with opened() as house:
        await filled(house, 7)
        found: list[int] = []
        at, more = 0, True
        while more:
            page = await house.reading.page(ACME, at, Wanted(), 3)
            found += [told.seq for told in page.events]
            at, more = page.seq, page.more
        assert found == list(range(1, 8))


async def test_a_page_looks_at_so_many_records_and_says_that_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central_hub.events.reading.SCANNED_MAX", 4)
    monkeypatch.setattr("central_hub.events.reading.READ_PAGE", 2)
    async with opened() as house:
        await filled(house, 9)
        page = await house.reading.page(ACME, 0, Wanted(types=frozenset({"none.like.it"})), 5)
        assert (page.events, page.seq, page.more) == ((), 4, True)


async def test_waiting_ends_with_an_event_or_in_time() -> None:
    async with opened() as house:
        waiting = asyncio.create_task(house.streams.wait(ACME, 0, 5))
        await settled()
        assert not waiting.done()
        await house.publish(event(1))
        await asyncio.wait_for(waiting, 1)
        await house.streams.wait(ACME, 0, 5)  # what is there already is not waited for
        await house.streams.wait(ACME, 1, 0.01)
        assert not house.streams._channels  # type: ignore[attr-defined]


async def test_waiters_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WAITERS_PER_TENANT_MAX", 1)
    assert WAITERS_PER_TENANT_MAX > 1
    async with opened() as house:
        first = asyncio.create_task(house.streams.wait(ACME, 0, 5))
        await settled()
        with pytest.raises(HubError, match="too_many_waiters"):
            await house.streams.wait(ACME, 0, 5)
        first.cancel()


async def test_streams_have_a_limit_per_tenant() -> None:
    async with opened() as house:
        for _ in range(4):
            house.streams.admit(ACME)
            house.open(KeptSink())
        with pytest.raises(HubError, match="too_many_watchers"):
            house.streams.admit(ACME)
        house.streams.admit(DomainId("globex"))


async def test_a_stream_that_does_not_keep_up_is_cut_and_the_others_are_told() -> None:
    async with opened() as house:
        slow, quick = KeptSink(room=2), KeptSink()
        house.open(slow)
        house.open(quick)
        await filled(house, 6)
        await settled()
        assert slow.closed
        assert quick.ids == names(*range(6))
        assert (house.streams.open_streams, house.streams.cut) == (1, 1)


async def test_who_may_no_more_is_told_nothing_more() -> None:
    async with opened() as house:
        sink = KeptSink()
        house.open(sink)
        house.access.refused["key-1"] = HubError("tenant_suspended", Kind.DENIED, "No.")
        house.streams.access_changed(ACME)
        assert sink.closed
        assert house.streams.open_streams == 0


async def test_a_flood_is_told_from_the_log_without_holding_it_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PENDING_MAX", 8)
    async with opened() as house:
        sink = KeptSink()
        house.open(sink)
        await asyncio.gather(*(house.publish(*(event(f"{batch}-{at}") for at in range(40))) for batch in range(5)))
        for _ in range(20):
            await settled()
        assert len(sink.ids) == len(set(sink.ids)) == 200
        assert sink.last == "inc1.200"


async def test_reading_waits_for_a_client_with_a_full_buffer() -> None:
    async with opened() as house:
        await filled(house, 250)
        sink = KeptSink()
        sink.full = 10_000_000
        house.open(sink)
        await settled()
        assert len(sink.ids) == 100, "one page, and then it waits"
        sink.full = 0
        await asyncio.sleep(0.1)
        assert len(sink.ids) == 250


async def test_tenants_take_turns() -> None:
    async with opened() as house:
        order: list[str] = []

        class Noting(KeptSink):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            def write(self, frame: object) -> bool:
                order.append(self.name)
                return super().write(frame)  # type: ignore[arg-type]

        house.open(Noting("loud"))
        house.open(Noting("quiet"), ctx=caller("globex"))
        await asyncio.gather(
            house.publish(*(event(at) for at in range(50))), house.publish(event("q"), ctx=caller("globex"))
        )
        await settled()
        assert order.index("quiet") <= 2, "the first event of a tenant is told within one round"
