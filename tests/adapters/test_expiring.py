"""Records that leave before those ahead of them, on every store: the chain holds, no reader passes over a gap."""

from __future__ import annotations

import random

import pytest

from central_hub.kernel.expiring import ROW_BYTES, Expired, Terms
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Category
from tests.adapters.logs import ACME, OTHER, House, command, everything, record, whole

LONG = 10**9
EVERYTHING = Terms(before_ms=LONG)
EVENTS = Terms(before_ms=LONG, events_only=True)


async def filled(house: House, categories: str, domain: DomainId = ACME, *, start: int = 0) -> None:
    """Write records, an event for each `e` and a fact for each other letter, a millisecond apart."""
    for at, letter in enumerate(categories, start=start + 1):
        category = Category.EVENT if letter == "e" else Category.FACT
        one = record(domain, f"thing/{at}", data=b"%03d" % at, category=category, time_ms=at)
        await house.log.append([command(one)])


async def expire(house: House, terms: Terms, *, behind: int = LONG, domain: DomainId = ACME, after: int = 0) -> Expired:
    return await house.log.expire(domain, after_seq=after, behind_pos=behind, terms=terms)


async def left(house: House, domain: DomainId = ACME) -> list[int]:
    return [one.domain_seq for one in await everything(house.log) if one.domain == domain]


async def test_events_leave_and_what_is_left_verifies(house: House) -> None:
    await filled(house, "feefefee")
    done = await expire(house, EVENTS)
    assert (done.upto_seq, done.records) == (8, 5)
    assert done.bytes == done.event_bytes == 5 * (3 + ROW_BYTES)
    assert await left(house) == [1, 4, 6]
    assert whole(await house.log.verify(ACME))
    assert await house.log.horizon(ACME) == 8
    await house.reopen()
    await filled(house, "fe", start=8)
    assert await left(house) == [1, 4, 6, 9, 10]
    assert whole(await house.log.verify(ACME))
    assert (await house.log.head()).pos == 10


async def test_a_reader_comes_to_a_gap_and_does_not_pass_over_it(house: House) -> None:
    await filled(house, "ffeeff")
    await expire(house, EVENTS)
    assert [one.domain_seq for one in await house.log.read_domain(ACME, 0, 100)] == [1, 2]
    assert [one.domain_seq for one in await house.log.read_domain(ACME, 2, 100)] == [5, 6]
    assert [one.domain_seq for one in await house.log.read_domain(ACME, 5, 100)] == [6]


async def test_what_is_young_or_ahead_of_the_snapshot_stays_and_so_does_what_is_behind_it(house: House) -> None:
    await filled(house, "eeeeee")
    assert (await expire(house, Terms(before_ms=3, events_only=True))).records == 2
    assert (await expire(house, EVENTS, behind=4, after=2)).upto_seq == 4
    assert await left(house) == [5, 6]
    assert (await expire(house, EVENTS, behind=4)).upto_seq == 0
    await filled(house, "e", start=0)  # its clock was set back: it waits for those ahead of it
    assert (await expire(house, Terms(before_ms=3, events_only=True))).records == 0
    assert await left(house) == [5, 6, 7]
    assert whole(await house.log.verify(ACME))


async def test_so_many_bytes_leave_oldest_first(house: House) -> None:
    await filled(house, "efee")
    done = await expire(house, Terms(before_ms=LONG, events_only=True, bytes_wanted=ROW_BYTES + 4))
    assert (done.records, await left(house)) == (2, [2, 4])
    assert (await expire(house, Terms(before_ms=LONG, upto_seq=2))).records == 1
    assert await left(house) == [4]
    assert whole(await house.log.verify(ACME))


async def test_gaps_that_touch_become_one_and_move_the_anchor(house: House) -> None:
    await filled(house, "fefef")
    await expire(house, EVENTS)
    for seq in range(1, 6):
        assert whole(await house.log.verify(ACME)), seq
        await expire(house, Terms(before_ms=LONG, upto_seq=seq))
    assert await left(house) == []
    assert whole(await house.log.verify(ACME))
    assert (await house.log.verify(ACME)).first_seq == 6
    await filled(house, "f", start=5)
    assert whole(await house.log.verify(ACME))


async def test_another_domain_is_not_touched(house: House) -> None:
    await filled(house, "ee")
    await filled(house, "ee", OTHER)
    await expire(house, EVERYTHING)
    assert await left(house, OTHER) == [1, 2]
    assert (await house.log.horizon(OTHER), await house.log.horizon(ACME)) == (0, 2)
    assert whole(await house.log.verify(OTHER))


@pytest.mark.parametrize("seq", [1, 4, 6])
async def test_a_record_that_is_altered_or_taken_beside_a_gap_is_noticed(house: House, seq: int) -> None:
    await filled(house, "feefefee")
    await expire(house, EVENTS)
    house.alter(ACME, seq, data=b"altered")
    assert (await house.log.verify(ACME)).broken_at == seq
    house.alter(ACME, seq, data=b"%03d" % seq)
    assert whole(await house.log.verify(ACME))
    house.remove(ACME, seq)
    assert (await house.log.verify(ACME)).broken_at == seq


async def test_what_events_take_is_weighed_in_steps(house: House) -> None:
    await filled(house, "efe")
    await filled(house, "fe", OTHER)
    first = await house.log.weigh(0, 2)
    assert (first.upto_pos, first.event_bytes) == (2, {ACME: 3 + ROW_BYTES})
    rest = await house.log.weigh(2, 100)
    assert (rest.upto_pos, rest.event_bytes) == (5, {ACME: 3 + ROW_BYTES, OTHER: 3 + ROW_BYTES})
    assert (await house.log.weigh(5, 100)).upto_pos == 0


async def test_whatever_leaves_in_whatever_order_the_chain_holds(house: House) -> None:
    draw = random.Random(7)
    count = 0
    for _ in range(12):
        more = "".join(draw.choice("ef") for _ in range(draw.randint(1, 9)))
        await filled(house, more, start=count)
        count += len(more)
        terms = Terms(
            before_ms=draw.randint(1, count + 2), events_only=draw.random() < 0.7,
            upto_seq=draw.choice([0, count // 2]), bytes_wanted=draw.choice([0, 3 * ROW_BYTES]),
        )  # fmt: skip
        await expire(house, terms, behind=draw.randint(0, count))
        check = await house.log.verify(ACME)
        kept = await left(house)
        assert (check.broken_at, check.checked) == (None, len(kept))
        gone = set(range(1, count + 1)) - set(kept)
        assert await house.log.horizon(ACME) == max(gone, default=0)
        if draw.random() < 0.2:
            await house.reopen()


async def test_the_beginning_of_the_whole_log_may_go_over_gaps(house: House) -> None:
    await filled(house, "feef")
    await filled(house, "ff", OTHER)
    await expire(house, EVENTS)
    dropped = await house.log.retain(behind_pos=5, before_ms=LONG, results_before_ms=0)
    if dropped:  # a log in memory keeps what it has
        assert (await left(house), await left(house, OTHER)) == ([], [2])
    assert whole(await house.log.verify(ACME))
    assert whole(await house.log.verify(OTHER))
