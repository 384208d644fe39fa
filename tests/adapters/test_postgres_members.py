"""Several hubs on one PostgreSQL: they find each other, share the work, and one that was given up writes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from central_hub.adapters.postgres.cursors import PostgresCursors
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.postgres.members import Joining
from central_hub.kernel.cursors import Cursor
from central_hub.kernel.errors import HubError
from central_hub.kernel.ports import Accepted
from central_hub.kernel.signals import SIGNAL_BYTES_MAX
from tests.adapters.logs import ACME, command, everything, record, whole
from tests.postgres import Database

KEYS: Final = tuple(f"tenant-{number}" for number in range(30))
TAKEN_OVER_S: Final = 5.0

names = iter(f"shared-{number}" for number in range(1, 1_000))


class Hubs:
    """Hubs on one store, closed when the test ends."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.logs: list[PostgresLog] = []

    async def opened(self, name: str) -> PostgresLog:
        joining = Joining(node=f"http://{name}:7000", process=next(names), version="test")
        log = await PostgresLog.open(self._database.address, mint=lambda: next(names), joining=joining)
        assert log.signals is not None
        log.signals.begin(bytes(32), log.incarnation)
        self.logs.append(log)
        return log

    async def joined(self, name: str, pos: int = 0) -> PostgresLog:
        log = await self.opened(name)
        await log.join(lambda: pos)
        return log


@pytest.fixture
async def hubs(database: Database) -> AsyncIterator[Hubs]:
    made = Hubs(database)
    yield made
    for log in made.logs:
        await log.close()


def share(log: PostgresLog) -> set[str]:
    assert log.members is not None
    return {key for key in KEYS if log.members.ownership.owns("delivery", key)}


async def until(true: Callable[[], bool], within_s: float = TAKEN_OVER_S) -> float:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, "it did not come true in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def shared_out(*logs: PostgresLog) -> bool:
    shares = [share(log) for log in logs]
    assert len(set().union(*shares)) == sum(map(len, shares)), "two hubs own the same"
    return set().union(*shares) == set(KEYS) and all(shares)


def stand_still(log: PostgresLog) -> None:
    """Have a hub give no sign of life any more, as one whose process is stopped."""
    keeping = log._hold._keeping
    assert keeping is not None
    keeping.cancel()


def go_on(log: PostgresLog) -> None:
    log._hold.keep()


async def test_hubs_find_each_other_and_share_the_work(hubs: Hubs) -> None:
    first = await hubs.joined("a", pos=7)
    await until(lambda: share(first) == set(KEYS))
    second, third = await hubs.joined("b"), await hubs.joined("c")
    await until(lambda: shared_out(first, second, third))
    assert third.members is not None
    seen = {one.node: one for one in third.members.ownership.members}
    assert sorted(seen) == ["http://a:7000", "http://b:7000", "http://c:7000"]
    assert seen["http://a:7000"].pos == 7
    assert len({one.epoch for one in seen.values()}) == 3


async def test_the_work_of_one_that_leaves_is_taken_over_at_once(hubs: Hubs) -> None:
    first, second = await hubs.joined("a"), await hubs.joined("b")
    await until(lambda: shared_out(first, second))
    await second.leave()
    assert not share(second)
    assert await until(lambda: share(first) == set(KEYS)) < 1.5


async def test_the_work_of_one_that_dies_is_taken_over_within_seconds(hubs: Hubs) -> None:
    first, second = await hubs.joined("a"), await hubs.joined("b")
    await until(lambda: shared_out(first, second))
    stand_still(second)
    await until(lambda: not share(second))
    assert await until(lambda: share(first) == set(KEYS)) < TAKEN_OVER_S
    assert first.members is not None
    assert first.members.taken_off == 1


async def test_what_one_writes_that_was_taken_off_is_refused_until_it_has_joined_again(hubs: Hubs) -> None:
    first, second = await hubs.joined("a"), await hubs.joined("b")
    await until(lambda: shared_out(first, second))
    stand_still(second)
    await until(lambda: share(first) == set(KEYS))
    with pytest.raises(HubError) as refused:
        await second.append([command(record(ACME, id="late"))])
    assert refused.value.code == "store_unavailable"
    assert "taken off" in refused.value.internal
    cursors = PostgresCursors(second, second._sql)
    with pytest.raises(HubError, match="does not take writes"):
        await cursors.save([Cursor(consumer="one", domain=ACME, seq=1, state=b"")])
    with pytest.raises(HubError, match="does not take writes"):
        await second.put_key(ACME, "late", b"wrapped")
    await first.append([command(record(ACME, id="in time"))])
    assert [one.id for one in await everything(first)] == ["in time"]
    assert second.members is not None
    epoch = second.members.epoch
    go_on(second)
    await until(lambda: shared_out(first, second))
    assert second.members.epoch > epoch
    assert isinstance((await second.append([command(record(ACME, id="again"))]))[0], Accepted)
    assert whole(await first.verify(ACME))


async def test_a_hub_that_starts_anew_takes_its_own_place_and_waits_until_nobody_can_hold_it(hubs: Hubs) -> None:
    first, second = await hubs.joined("a"), await hubs.joined("b")
    await until(lambda: shared_out(first, second))
    stand_still(second)
    again = await hubs.joined("b")
    assert not share(again)
    await until(lambda: shared_out(first, again), within_s=8)
    assert not share(second)
    with pytest.raises(HubError):
        await second.append([command(record(ACME, id="late"))])
    go_on(second)
    await until(lambda: "another hub" in second.unwell)
    assert not second.healthy
    assert not share(second)


async def test_a_hub_alone_and_hubs_that_share_keep_each_other_out(hubs: Hubs, database: Database) -> None:
    shared = await hubs.joined("a")
    with pytest.raises(HubError) as refused:
        await PostgresLog.open(database.address, mint=lambda: "x")
    assert refused.value.code == "store_in_use"
    await shared.close()
    alone = await PostgresLog.open(database.address, mint=lambda: "x")
    with pytest.raises(HubError) as refused:
        await hubs.opened("b")
    assert refused.value.code == "store_in_use"
    await alone.close()


async def test_when_the_store_is_away_nobody_owns_anything_and_nobody_is_taken_off(hubs: Hubs) -> None:
    first, second = await hubs.joined("a"), await hubs.joined("b")
    await until(lambda: shared_out(first, second))
    for log in (first, second):
        stand_still(log)
    await until(lambda: not share(first) and not share(second))
    await asyncio.sleep(1.0)
    for log in (first, second):
        go_on(log)
    await until(lambda: shared_out(first, second), within_s=1.5)
    assert all(log.members is not None and log.members.taken_off == 0 for log in (first, second))


async def test_signals_reach_the_others_and_come_to_nobody_who_has_not_the_key(hubs: Hubs) -> None:
    first, second, third = [await hubs.joined(name) for name in "abc"]
    await until(lambda: shared_out(first, second, third))
    heard: dict[str, list[bytes]] = {"a": [], "b": [], "c": []}
    for name, log in zip("abc", (first, second, third), strict=True):
        assert log.signals is not None
        log.signals.on("beats", heard[name].append)
    assert first.signals is not None
    assert third.signals is not None
    third.signals.begin(b"x" * 32, third.incarnation)
    for number in range(20):
        first.signals.send("beats", bytes([number]) * SIGNAL_BYTES_MAX)
    await until(lambda: len(heard["b"]) == 20)
    assert heard["b"] == [bytes([number]) * SIGNAL_BYTES_MAX for number in range(20)]
    assert heard["a"] == heard["c"] == []
    assert third.signals.refused == 20


async def test_a_signal_that_is_played_back_is_not_taken(hubs: Hubs) -> None:
    first, second = await hubs.joined("a"), await hubs.joined("b")
    await until(lambda: shared_out(first, second))
    heard: list[bytes] = []
    assert first.signals is not None
    assert second.signals is not None
    second.signals.on("beats", heard.append)
    first.signals.send("beats", b"once")
    [packet] = first.signals.packets()
    for _ in range(3):
        second.signals.take(packet)
    second.signals.take("not one of ours")
    assert heard == [b"once"]
    assert second.signals.refused == 3
