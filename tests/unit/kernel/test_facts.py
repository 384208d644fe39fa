"""Facts of before: what is stored stays as it is, and is read as its type is today."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import Body, Fact, FactTypes, Upcast, encode_fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer

ACME = DomainId("acme")


class Moved(Fact, frozen=True, kw_only=True):
    """Of today: `to` was called `place`, and before that it was one text with the floor."""

    to: str
    floor: int
    why: str = ""


class Was(Fact, frozen=True, kw_only=True):
    """The same of revision 1; what a type is called on the log is its class's name."""

    where: str


Was.__name__ = "Moved"


def split(body: Body) -> Body:
    place, _, floor = body.pop("where").rpartition("/")
    return {**body, "place": place, "floor": int(floor)}


def rename(body: Body) -> Body:
    return {**body, "to": body.pop("place")}


CHAIN: tuple[Upcast, ...] = (split, rename)
TYPES = FactTypes((Moved,), upcasts={"Moved": CHAIN})
PLACES = st.text(st.characters(exclude_characters="/", codec="utf-8"), max_size=12)


def stored(**body: Any) -> bytes:
    return msgspec.msgpack.encode(body)


@given(PLACES, st.integers(0, 99), st.text(max_size=5))
def test_a_record_of_any_revision_reads_the_same(place: str, floor: int, why: str) -> None:
    of_today = Moved(to=place, floor=floor, why=why)
    bodies = (
        stored(where=f"{place}/{floor}", why=why), stored(place=place, floor=floor, why=why), encode_fact(of_today),
    )  # fmt: skip
    for revision, body in enumerate(bodies, start=1):
        assert TYPES.decode("Moved", body, revision) == of_today


@given(PLACES, st.integers(0, 99), st.integers(1, 3))
def test_upcasting_in_one_go_is_upcasting_step_by_step(place: str, floor: int, start: int) -> None:
    body: Body = {"where": f"{place}/{floor}"}
    for upcast in CHAIN[: start - 1]:
        body = upcast(body)
    assert TYPES.decode("Moved", msgspec.msgpack.encode(body), start) == Moved(to=place, floor=floor)


def test_a_type_is_written_in_its_newest_revision() -> None:
    assert (TYPES.revision("Moved"), FactTypes((Moved,)).revision("Moved"), TYPES.revision("Other")) == (3, 1, 1)


@pytest.mark.parametrize("revision", [0, 4])
def test_a_revision_of_a_newer_hub_is_refused(revision: int) -> None:
    with pytest.raises(HubError, match="unknown_record_type"):
        TYPES.decode("Moved", encode_fact(Moved(to="a", floor=1)), revision)
    with pytest.raises(HubError, match="unknown_record_type"):
        FactTypes((Moved,)).decode("Moved", encode_fact(Moved(to="a", floor=1)), 2)


def test_an_upcast_is_of_a_type_that_there_is() -> None:
    with pytest.raises(ValueError, match="a type that there is"):
        FactTypes((Moved,), upcasts={"Gone": CHAIN})


async def test_a_log_of_all_revisions_is_read_in_today_s_shape_and_its_chain_holds() -> None:
    log, keys = MemoryLog(), KeyRing(bytes(32), MemoryKeys())
    written: tuple[tuple[FactTypes, Fact], ...] = (
        (FactTypes((Was,)), Was(where="north/3")), (TYPES, Moved(to="north", floor=3)),
    )  # fmt: skip
    runner = Runner(log, keys, TYPES, [])
    for types, fact in written:  # a hub of before, then one of today on the same log
        runner = Runner(log, keys, types, [])
        await runner.catch_up()
        sequencer = Sequencer(log, keys, runner, ManualClock(), os.urandom)
        running = asyncio.create_task(sequencer.run())
        await sequencer.submit(HUB_ACTOR, (ACME,), lambda tx, fact=fact: tx.append(ACME, fact, streams=("x",)))
        sequencer.close()
        await running
    old, new = log.records
    assert (old.schema_rev, new.schema_rev) == (1, 3)
    assert (await log.verify(ACME)).broken_at is None
    shown = [runner.opened(record) for record in (old, new)]
    assert [one.fact for one in shown if one is not None] == [Moved(to="north", floor=3)] * 2
