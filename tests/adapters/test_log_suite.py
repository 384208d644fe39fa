"""The contract of the log, on every store: order, chain, conflicts, idempotency, paging, closing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import FOREIGN_KEPT_MAX
from central_hub.kernel.ports import Accepted, Conflict, Duplicate
from central_hub.kernel.records import GENESIS_HASH, Actor, Category, Record
from tests.adapters.logs import ACME, ACTOR, INCARNATION, OTHER, House, command, everything, key, record, whole


async def filled(house: House, count: int = 6, domain: DomainId = ACME) -> None:
    """Write records one by one, each about a thing of its own."""
    for number in range(count):
        await house.log.append([command(record(domain, f"thing/{number}", data=b"%d" % number))])


async def test_an_empty_log_says_so(house: House) -> None:
    head = await house.log.head()
    assert (head.pos, head.incarnation) == (0, INCARNATION)
    assert await house.log.read(0, 10) == []
    assert await house.log.read_domain(ACME, 0, 10) == []
    assert whole(await house.log.verify(ACME))


async def test_what_is_accepted_is_what_is_read_back(house: House) -> None:
    written = record(ACME, "thing/1", "count/things", data=b"\x00\xffsealed", category=Category.AUDIT, time_ms=77)
    [verdict] = await house.log.append([command(written)])
    assert isinstance(verdict, Accepted)
    [kept] = await house.log.read(0, 10)
    assert verdict.records == (kept,)
    assert (kept.pos, kept.domain, kept.domain_seq, kept.prev_hash) == (1, ACME, 1, GENESIS_HASH)
    for name in ("streams", "category", "type", "id", "time_ms", "actor", "key_id", "data"):
        assert getattr(kept, name) == getattr(written, name)


async def test_positions_are_gapless_over_all_domains_and_within_each(house: House) -> None:
    draw = random.Random(11)
    domains = [DomainId(name) for name in ("a", "b", "c")]
    for _ in range(40):
        batch = [
            command(*(record(draw.choice(domains), data=draw.randbytes(8)) for _ in range(draw.randint(1, 4))))
            for _ in range(draw.randint(1, 5))
        ]
        await house.log.append(batch)
        if draw.random() < 0.1:
            await house.reopen()
    records = await everything(house.log)
    assert [one.pos for one in records] == list(range(1, len(records) + 1))
    for domain in domains:
        of_domain = [one for one in records if one.domain == domain]
        assert [one.domain_seq for one in of_domain] == list(range(1, len(of_domain) + 1))
        assert [one.prev_hash for one in of_domain] == [GENESIS_HASH, *(one.hash for one in of_domain[:-1])]
        check = await house.log.verify(domain)
        assert (check.broken_at, check.checked) == (None, len(of_domain))
    assert (await house.log.head()).pos == len(records)


async def test_a_batch_keeps_the_order_of_its_commands(house: House) -> None:
    verdicts = await house.log.append([command(record(data=b"%d" % n)) for n in range(50)])
    assert [one.records[0].pos for one in verdicts if isinstance(one, Accepted)] == list(range(1, 51))
    assert [one.data for one in await everything(house.log)] == [b"%d" % n for n in range(50)]


async def test_a_large_batch_of_uneven_commands_is_kept_whole(house: House) -> None:
    batch = [command(*(record(data=b"%d-%d" % (n, k)) for k in range(1 + n % 7))) for n in range(128)]
    await house.log.append(batch)
    expected = [one.data for append in batch for one in append.records]
    assert [one.data for one in await everything(house.log)] == expected
    assert whole(await house.log.verify(ACME))


async def test_reading_pages_through_the_log_and_through_a_domain(house: House) -> None:
    for number in range(10):
        await house.log.append([command(record(ACME if number % 2 else OTHER, data=b"%d" % number))])
    assert [one.pos for one in await house.log.read(3, 4)] == [4, 5, 6, 7]
    assert [one.pos for one in await house.log.read(8, 4)] == [9, 10]
    assert await house.log.read(10, 4) == []
    page = await house.log.read_domain(ACME, 1, 3)
    assert [(one.domain, one.domain_seq) for one in page] == [(ACME, 2), (ACME, 3), (ACME, 4)]


async def test_categories_survive(house: House) -> None:
    await house.log.append([command(record(category=category)) for category in Category])
    assert [one.category for one in await everything(house.log)] == list(Category)


async def test_what_was_written_is_there_after_reopening(house: House) -> None:
    await filled(house)
    before = await everything(house.log)
    await house.reopen()
    assert await everything(house.log) == before
    assert (await house.log.head()).incarnation == INCARNATION
    await house.log.append([command(record(data=b"after"))])
    assert (await house.log.head()).pos == len(before) + 1
    assert whole(await house.log.verify(ACME))


# The chain: any change to what is stored shows.

ALTERED: dict[str, Any] = {
    "streams": ("thing/9",),
    "category": Category.AUDIT,
    "type": "Denied",
    "schema_rev": 2,
    "id": "another",
    "time_ms": 5,
    "actor": Actor(principal="key-2", kind="service", origin="10.0.0.1", correlation="c-1"),
    "key_id": "k2",
    "prev_hash": b"\x01" * 32,
    "hash": b"\x02" * 32,
    "data": b"altered",
    "domain_seq": 99,
}


def test_every_column_is_altered_by_the_test_below() -> None:
    # The position counts all domains together and is left out of the chain; a domain moves its chain.
    assert set(ALTERED) == set(Record.__struct_fields__) - {"pos", "domain"}


@pytest.mark.parametrize("column", sorted(ALTERED))
@pytest.mark.parametrize("seq", [1, 3, 6])
async def test_an_altered_column_breaks_the_chain_where_it_is(house: House, column: str, seq: int) -> None:
    await filled(house)
    house.alter(ACME, seq, **{column: ALTERED[column]})
    check = await house.log.verify(ACME)
    assert check.broken_at == seq


async def test_a_record_moved_to_another_domain_breaks_both_chains(house: House) -> None:
    await filled(house, 2, OTHER)
    await filled(house)
    house.remove(OTHER, 2)
    house.alter(ACME, 2, domain=OTHER)
    assert (await house.log.verify(ACME)).broken_at == 2
    assert (await house.log.verify(OTHER)).broken_at == 2


@pytest.mark.parametrize("seq", [1, 4, 6])
async def test_a_removed_record_breaks_the_chain(house: House, seq: int) -> None:
    await filled(house)
    house.remove(ACME, seq)
    assert (await house.log.verify(ACME)).broken_at == seq


async def test_a_tail_cut_off_is_noticed_after_reopening(house: House) -> None:
    await filled(house)
    for seq in (5, 6):
        house.remove(ACME, seq)
    await house.reopen()
    assert (await house.log.verify(ACME)).broken_at == 5


async def test_exchanged_records_break_the_chain(house: House) -> None:
    await filled(house)
    house.alter(ACME, 2, domain_seq=99)
    house.alter(ACME, 3, domain_seq=2)
    house.alter(ACME, 99, domain_seq=3)
    assert (await house.log.verify(ACME)).broken_at == 2


async def test_records_whose_positions_go_back_break_the_chain(house: House) -> None:
    await filled(house)
    house.alter(ACME, 3, pos=999)
    assert (await house.log.verify(ACME)).broken_at == 4


async def test_fields_cannot_be_shifted_into_one_another(house: House) -> None:
    shifting = [
        Actor(principal="a\x1fb", kind="c", origin="d", correlation="e"),
        Actor(principal="a", kind="b\x1fc", origin="d", correlation="e"),
        Actor(principal="a", kind="b", origin="c\x1fd", correlation="e"),
    ]
    base = record()
    hashes: set[bytes] = set()
    for actor in shifting:
        house_record = type(base)(**{name: getattr(base, name) for name in base.__struct_fields__} | {"actor": actor})
        await house.log.append([command(house_record)])
        house.alter(ACME, len(hashes) + 1, actor=shifting[(len(hashes) + 1) % 3])
        assert (await house.log.verify(ACME)).broken_at is not None
        house.alter(ACME, len(hashes) + 1, actor=actor)
        assert whole(await house.log.verify(ACME))
        hashes.add((await everything(house.log))[-1].hash)


async def test_one_domain_broken_leaves_the_others_whole(house: House) -> None:
    await filled(house)
    await filled(house, 3, OTHER)
    house.alter(ACME, 2, data=b"x")
    assert not whole(await house.log.verify(ACME))
    assert whole(await house.log.verify(OTHER))


# Conflicts: what others wrote since.


async def test_a_foreign_record_in_a_stream_that_was_read_is_a_conflict(house: House) -> None:
    await house.foreign(ACME, "thing/1")
    [verdict] = await house.log.append([command(reads=[(ACME, "thing/1")], decided_at=0)])
    assert verdict == Conflict()
    assert (await house.log.head()).pos == 1


async def test_a_foreign_record_in_a_counting_stream_that_was_read_is_a_conflict(house: House) -> None:
    await house.foreign(ACME, "thing/7", "count/things")
    [verdict] = await house.log.append([command(reads=[(ACME, "count/things")], decided_at=0)])
    assert verdict == Conflict()


async def test_an_unrelated_foreign_record_is_none(house: House) -> None:
    await house.foreign(ACME, "thing/2")
    await house.foreign(OTHER, "thing/1")
    [verdict] = await house.log.append([command(reads=[(ACME, "thing/1")], decided_at=0)])
    assert isinstance(verdict, Accepted)
    assert verdict.records[0].pos == 3
    assert verdict.records[0].domain_seq == 2
    assert whole(await house.log.verify(ACME))


async def test_a_command_decided_after_it_saw_the_foreign_record_is_accepted(house: House) -> None:
    await house.foreign(ACME, "thing/1")
    [verdict] = await house.log.append([command(reads=[(ACME, "thing/1")], decided_at=1)])
    assert isinstance(verdict, Accepted)


async def test_ones_own_records_are_no_conflict(house: House) -> None:
    await house.log.append([command(record(ACME, "thing/1"), reads=[(ACME, "thing/1")])])
    [verdict] = await house.log.append([command(reads=[(ACME, "thing/1")], decided_at=0)])
    assert isinstance(verdict, Accepted)


async def test_of_one_batch_only_those_that_read_the_stream_conflict(house: House) -> None:
    await house.foreign(ACME, "thing/1")
    verdicts = await house.log.append([command(reads=[(ACME, f"thing/{number}")], decided_at=0) for number in range(3)])
    assert [type(one) for one in verdicts] == [Accepted, Conflict, Accepted]
    assert [one.pos for one in await everything(house.log)] == [1, 2, 3]


async def test_in_one_batch_what_was_decided_on_a_command_that_conflicts_falls_with_it(house: House) -> None:
    await house.foreign(ACME, "thing/1")
    batch = [
        command(record(ACME, "thing/2"), reads=[(ACME, "thing/1")]),
        command(record(ACME, "thing/3"), reads=[(ACME, "thing/2")]),
        command(record(ACME, "thing/4"), reads=[(ACME, "thing/3")]),
        command(record(ACME, "thing/5"), reads=[(ACME, "thing/5")]),
        command(record(OTHER, "thing/2"), reads=[(OTHER, "thing/2")]),
    ]
    verdicts = await house.log.append(batch)
    assert [type(one) for one in verdicts] == [Conflict, Conflict, Conflict, Accepted, Accepted]
    assert [(one.domain, one.streams) for one in await everything(house.log)][1:] == [
        (ACME, ("thing/5",)),
        (OTHER, ("thing/2",)),
    ]


async def test_a_command_decided_before_what_is_remembered_conflicts(house: House) -> None:
    for _ in range(2):
        await house.foreign(ACME, "thing/far")
    await house.foreign_many(FOREIGN_KEPT_MAX)
    [verdict] = await house.log.append([command(reads=[(ACME, "thing/unrelated")], decided_at=1)])
    assert verdict == Conflict()
    head = (await house.log.head()).pos
    [verdict] = await house.log.append([command(reads=[(ACME, "thing/unrelated")], decided_at=head - 10)])
    assert isinstance(verdict, Accepted)


# Idempotency: the first result, whenever asked.


async def test_a_record_of_a_name_is_written_once(house: House) -> None:
    [first] = await house.log.append([command(record(data=b"1", once="a"))])
    [again] = await house.log.append([command(record(data=b"2", once="a"))])
    assert isinstance(first, Accepted)
    assert (len(first.records), first.kept) == (1, None)
    assert again == Accepted((), ())
    await house.reopen()
    assert await house.log.append([command(record(data=b"3", once="a"))]) == [Accepted((), ())]
    assert [one.data for one in await everything(house.log)] == [b"1"]
    assert whole(await house.log.verify(ACME))


async def test_what_is_new_of_a_command_is_written_and_the_rest_is_passed_over(house: House) -> None:
    await house.log.append([command(record(data=b"1", once="a"))])
    names = ["a", "b", "b", "", "", "c", "a"]
    batch = [command(*(record(data=b"%d" % (at + 2), once=name) for at, name in enumerate(names)))]
    batch.append(command(record(data=b"9", once="c"), record(data=b"10", once="d")))
    many, last = await house.log.append(batch)
    assert isinstance(many, Accepted)
    assert isinstance(last, Accepted)
    assert (many.kept, last.kept) == ((1, 3, 4, 5), (1,))
    assert [one.pos for one in (*many.records, *last.records)] == [2, 3, 4, 5, 6]
    assert [one.data for one in await everything(house.log)] == [b"1", b"3", b"5", b"6", b"7", b"10"]
    assert whole(await house.log.verify(ACME))


async def test_a_name_is_one_of_its_domain(house: House) -> None:
    await house.log.append([command(record(ACME, data=b"1", once="a"))])
    [theirs] = await house.log.append([command(record(OTHER, data=b"2", once="a"))])
    assert isinstance(theirs, Accepted)
    assert len(theirs.records) == 1


async def test_a_command_that_conflicts_leaves_its_names_free(house: House) -> None:
    await house.foreign(ACME, "thing/1")
    lost = command(record(data=b"1", once="a"), reads=[(ACME, "thing/1")], decided_at=0)
    assert await house.log.append([lost]) == [Conflict()]
    [again] = await house.log.append([command(record(data=b"1", once="a"), decided_at=1)])
    assert isinstance(again, Accepted)
    assert len(again.records) == 1


async def test_names_are_forgotten_when_they_are_old(house: House) -> None:
    await house.log.append([command(record(data=b"1", once="old", time_ms=1_000))])
    await house.log.append([command(record(data=b"2", once="young", time_ms=9_000))])
    await house.log.retain(behind_pos=0, before_ms=0, results_before_ms=0, told_before_ms=5_000)
    names = ("old", "young")
    old, young = await house.log.append([command(record(data=name.encode(), once=name)) for name in names])
    assert isinstance(old, Accepted)
    assert isinstance(young, Accepted)
    assert (len(old.records), len(young.records)) == (1, 0)


async def test_a_key_used_before_gives_the_first_result_and_writes_nothing(house: House) -> None:
    await house.log.append([command(key=key("k"), result=b"first")])
    [verdict] = await house.log.append([command(key=key("k"), result=b"second")])
    assert verdict == Duplicate(b"first")
    assert (await house.log.head()).pos == 1
    assert await house.log.lookup(key("k")) == b"first"


async def test_a_key_used_twice_in_one_batch_writes_once(house: House) -> None:
    verdicts = await house.log.append([command(key=key("k"), result=b"%d" % n) for n in range(3)])
    assert isinstance(verdicts[0], Accepted)
    assert verdicts[1:] == [Duplicate(b"0"), Duplicate(b"0")]
    assert (await house.log.head()).pos == 1


async def test_an_empty_result_is_a_result(house: House) -> None:
    await house.log.append([command(key=key("k"), result=b"")])
    [verdict] = await house.log.append([command(key=key("k"), result=b"x")])
    assert verdict == Duplicate(b"")
    assert await house.log.lookup(key("k")) == b""


async def test_a_key_is_known_after_reopening(house: House) -> None:
    await house.log.append([command(key=key("k"), result=b"first")])
    await house.reopen()
    assert await house.log.append([command(key=key("k"), result=b"again")]) == [Duplicate(b"first")]


async def test_keys_of_other_domains_and_sources_are_others(house: House) -> None:
    await house.log.append([command(key=key("k"), result=b"first")])
    for other in (key("k", OTHER), key("k", source="t"), key("l")):
        assert await house.log.lookup(other) is None
        [verdict] = await house.log.append([command(key=other)])
        assert isinstance(verdict, Accepted)


async def test_a_conflict_uses_up_no_key(house: House) -> None:
    await house.foreign(ACME, "thing/1")
    reading = [(ACME, "thing/1")]
    assert await house.log.append([command(reads=reading, key=key("k"), result=b"lost")]) == [Conflict()]
    assert await house.log.lookup(key("k")) is None
    [verdict] = await house.log.append([command(reads=reading, decided_at=1, key=key("k"), result=b"won")])
    assert isinstance(verdict, Accepted)
    assert await house.log.lookup(key("k")) == b"won"


# Closing.


async def test_a_closed_log_refuses_what_comes_later_by_name(house: House) -> None:
    await filled(house, 1)
    await house.log.close()
    with pytest.raises(HubError) as refused:
        await house.log.append([command()])
    assert refused.value.code == "store_unavailable"
    await house.log.close()  # twice is once


async def test_the_actor_is_kept_even_with_odd_characters(house: House) -> None:
    odd = Actor(principal="ключ\n", kind="", origin="\x1f", correlation="\x00é")
    base = record()
    one = type(base)(**{name: getattr(base, name) for name in base.__struct_fields__} | {"actor": odd})
    await house.log.append([command(one), command(record(data=b"plain"))])
    assert [kept.actor for kept in await everything(house.log)] == [odd, ACTOR]
    assert whole(await house.log.verify(ACME))
