"""PostgreSQL killed, frozen, restarted, cut off and failed over under load: nothing acknowledged is lost or doubled.

Where acknowledged history is lost all the same (an asynchronous replica was promoted), it is noticed and the history
gets another name.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from central_hub.adapters.postgres.address import parse_address
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.kernel.errors import HubError
from central_hub.kernel.ports import Accepted, Duplicate
from tests.adapters.logs import ACME, command, everything, key, record, whole
from tests.durability.cutting import Cut, CuttingProxy
from tests.durability.tally import DOMAINS, Load, faults
from tests.postgres import Database, Pair, a_server, new_database
from tools.postgres_server import PostgresServer

KILLS, KILLS_SLOW = 4, 100
FROZEN_S, FROZEN_S_SLOW = 3.0, 30.0
BACK_S = 2.0
REFUSED_S = 0.1

names = iter(f"history-{number}" for number in range(1, 1_000))


def mint() -> str:
    return next(names)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    made = a_server()
    yield made
    made.remove()


@pytest.fixture
async def log(server: PostgresServer) -> AsyncIterator[PostgresLog]:
    opened = await PostgresLog.open(new_database(server).address, mint=mint)
    yield opened
    await opened.close()


async def judged(load: Load, log: PostgresLog) -> None:
    """Stop the load and hold the store against its book."""
    await load.stop()
    assert load.book.acknowledged
    assert not faults(load.book, await everything(log))
    for domain in DOMAINS:
        assert whole(await log.verify(domain))


async def killed_under_load(server: PostgresServer, log: PostgresLog, times: int) -> None:
    load = Load(log)
    load.start()
    for _ in range(times):
        await load.acknowledged(50)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.start)
    await load.acknowledged(50)
    await judged(load, log)
    assert load.book.refused
    assert log.losses >= times


async def test_a_server_killed_under_load_loses_nothing(server: PostgresServer, log: PostgresLog) -> None:
    await killed_under_load(server, log, KILLS)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_server_killed_a_hundred_times_loses_nothing(server: PostgresServer, log: PostgresLog) -> None:
    await killed_under_load(server, log, KILLS_SLOW)


async def frozen_under_load(server: PostgresServer, log: PostgresLog, seconds: float) -> float:
    """Freeze the server; returns how long after it went on records were acknowledged again."""
    load = Load(log)
    load.start()
    await load.acknowledged(50)
    with server.frozen():
        frozen = time.monotonic()
        while not log.stale_ms:
            assert time.monotonic() - frozen < 5, "nobody noticed"
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # those who waited for an answer have been told
        load.book.slowest_refusal_s = 0.0
        await asyncio.sleep(seconds)
        assert load.book.slowest_refusal_s < REFUSED_S
        assert log.stale_ms >= seconds * 1_000
    back_s = await load.acknowledged(1)
    assert log.stale_ms == 0
    await load.acknowledged(50)
    await judged(load, log)
    return back_s


@pytest.mark.timing
async def test_a_server_that_stands_still_is_given_up_and_found_again(server: PostgresServer, log: PostgresLog) -> None:
    assert await frozen_under_load(server, log, FROZEN_S) < BACK_S


@pytest.mark.slow
async def test_a_server_that_stands_still_for_long_is_found_again(server: PostgresServer, log: PostgresLog) -> None:
    assert await frozen_under_load(server, log, FROZEN_S_SLOW) < BACK_S


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_a_server_restarted_under_load_loses_nothing(
    server: PostgresServer, log: PostgresLog, how: signal.Signals
) -> None:
    load = Load(log)
    load.start()
    await load.acknowledged(50)
    await asyncio.to_thread(server.stop, how)
    await asyncio.to_thread(server.start)
    await load.acknowledged(50)
    await judged(load, log)


# A commit whose answer never came.


@contextlib.asynccontextmanager
async def through_a_proxy(server: PostgresServer) -> AsyncIterator[tuple[CuttingProxy, PostgresLog]]:
    database = new_database(server)
    async with CuttingProxy(server.port) as proxy:
        opened = await PostgresLog.open(
            parse_address(database.text.replace(str(server.port), str(proxy.port))), mint=mint
        )
        try:
            yield proxy, opened
        finally:
            await opened.close()


async def appended_again(log: PostgresLog) -> Accepted | Duplicate:
    """Send the command again until the store takes it."""
    while True:
        try:
            [verdict] = await log.append([command(record(ACME, id="one"), key=key("one"), result=b"again")])
        except HubError as refused:
            if refused.code != "store_unavailable":
                raise
            await asyncio.sleep(0.02)
            continue
        assert isinstance(verdict, Accepted | Duplicate)
        return verdict


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
async def test_a_commit_without_an_answer_is_unknown_until_it_is_sent_again(server: PostgresServer, cut: Cut) -> None:
    async with through_a_proxy(server) as (proxy, log):
        proxy.next_commit = cut
        with pytest.raises(HubError) as unknown:
            await log.append([command(record(ACME, id="one"), key=key("one"), result=b"first")])
        assert unknown.value.code == "outcome_unknown"
        assert proxy.cuts == 1
        verdict = await appended_again(log)
        assert verdict == Duplicate(b"first") if cut is Cut.AFTER else isinstance(verdict, Accepted)
        assert [one.id for one in await everything(log)] == ["one"]
        assert whole(await log.verify(ACME))


async def test_commits_cut_under_load_are_neither_lost_nor_doubled(server: PostgresServer) -> None:
    async with through_a_proxy(server) as (proxy, log):
        load = Load(log)
        load.start()
        for cut in (Cut.AFTER, Cut.BEFORE, Cut.AFTER):
            await load.acknowledged(30)
            proxy.next_commit = cut
        await load.acknowledged(50)
        await judged(load, log)
        assert proxy.cuts == 3
        assert load.book.unknown >= 3
        assert load.book.resolved


async def test_what_was_committed_unanswered_is_read_by_whoever_follows(server: PostgresServer) -> None:
    async with through_a_proxy(server) as (proxy, log):
        moved = asyncio.Event()
        log.follow(moved.set, lambda: None)
        proxy.next_commit = Cut.AFTER
        with pytest.raises(HubError):
            await log.append([command(record(ACME, id="one"))])
        async with asyncio.timeout(5):
            await moved.wait()
        assert [one.id for one in await log.read(0, 10)] == ["one"]


# Failing over to a replica.


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
async def test_a_failover_to_a_synchronous_replica_loses_nothing_and_is_the_same_history(pair: Pair) -> None:
    log = await PostgresLog.open(pair.address, mint=mint)
    history, rewound = log.incarnation, asyncio.Event()
    log.follow(lambda: None, rewound.set)
    load = Load(log)
    load.start()
    await load.acknowledged(100)
    await asyncio.to_thread(pair.fail_over)
    await load.acknowledged(50)
    await judged(load, log)
    assert not rewound.is_set()
    assert (await log.head()).incarnation == history
    await log.close()


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
async def test_a_primary_that_comes_back_after_a_failover_is_not_gone_back_to(pair: Pair) -> None:
    log = await PostgresLog.open(pair.address, mint=mint)
    await log.append([command(record(ACME, id="before"))])
    await asyncio.to_thread(pair.fail_over)
    while True:
        with contextlib.suppress(HubError):
            await log.append([command(record(ACME, id="after"))])
            break
        await asyncio.sleep(0.02)
    # It takes writes again, it comes first in the address, and it knows nothing of what happened since.
    pair.primary.configure(synchronous_standby_names="")
    await asyncio.to_thread(pair.primary.start)
    losses = log.losses
    pair.standby.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'central-hub'")
    async with asyncio.timeout(10):
        while log.losses == losses or not log.healthy:
            await asyncio.sleep(0.02)
    assert [one.id for one in await everything(log)] == ["before", "after"]
    await log.close()


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
async def test_a_failover_that_lost_history_is_noticed_and_gives_it_another_name(pair: Pair) -> None:
    log = await PostgresLog.open(pair.address, mint=mint)
    history, rewound = log.incarnation, asyncio.Event()
    log.follow(lambda: None, rewound.set)
    load = Load(log)
    load.start()
    await load.acknowledged(100)
    await asyncio.to_thread(pair.standby.stop)
    await load.acknowledged(100)
    await asyncio.to_thread(pair.primary.kill)
    await asyncio.to_thread(pair.standby.start)
    await asyncio.to_thread(pair.standby.promote)
    async with asyncio.timeout(15):
        await rewound.wait()
    await load.abandon()
    # Views of the lost history decide nothing any more: the hub begins anew.
    with pytest.raises(HubError) as refused:
        await log.append([command()])
    assert refused.value.code == "store_unavailable"
    await log.close()

    again = await PostgresLog.open(pair.address, mint=mint)
    assert again.incarnation != history
    records = await everything(again)
    found = faults(load.book, records)
    assert set(found) == {"lost"}, "what is left is a beginning of what was"
    for domain in DOMAINS:
        assert whole(await again.verify(domain))
    await again.append([command(record(ACME, id="new"))])
    await again.close()


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
async def test_a_wait_for_a_replica_that_was_cancelled_leaves_the_outcome_unknown(pair: Pair) -> None:
    log = await PostgresLog.open(pair.address, mint=mint)
    with pair.standby.frozen():
        appending = asyncio.create_task(log.append([command(record(ACME, id="one"), key=key("one"), result=b"first")]))
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'central-hub'"
        async with asyncio.timeout(8):
            while not (pid := pair.primary.sql(waiting)):
                await asyncio.sleep(0.02)
        pair.primary.sql(f"SELECT pg_cancel_backend({pid.split()[0]})")
        with pytest.raises(HubError) as unknown:
            await appending
        assert unknown.value.code == "outcome_unknown"
    assert await appended_again(log) == Duplicate(b"first")
    await log.close()


async def test_a_store_brought_back_from_elsewhere_is_another_history(server: PostgresServer) -> None:
    database = new_database(server)
    log = await PostgresLog.open(database.address, mint=mint)
    history = log.incarnation
    await log.append([command(record(ACME, id="one"))])
    await log.close()
    # A dump that is read back makes the tables anew; so does a restore to a point in time begin a new timeline.
    server.sql(f"CREATE DATABASE brought_back TEMPLATE {database.name} OWNER hub_owner")
    server.sql("CREATE TABLE central_hub.copy (LIKE central_hub.head INCLUDING ALL)", database="brought_back")
    for statement in (
        "INSERT INTO central_hub.copy SELECT * FROM central_hub.head",
        "DROP TABLE central_hub.head",
        "ALTER TABLE central_hub.copy RENAME TO head",
        "ALTER TABLE central_hub.head OWNER TO hub_owner",
        "GRANT SELECT, INSERT, UPDATE ON central_hub.head TO hub",
    ):
        server.sql(statement, database="brought_back")
    again = await PostgresLog.open(Database(server, "brought_back").address, mint=mint)
    assert again.incarnation != history
    assert [one.id for one in await everything(again)] == ["one"]
    await again.close()
    same = await PostgresLog.open(database.address, mint=mint)
    assert same.incarnation == history
    await same.close()


def test_the_checker_sees_what_it_is_there_for() -> None:
    from tests.durability.tally import Book

    book = Book(tried={"00-a", "00-b", "00-c"}, acknowledged={"00-a": 1, "00-b": 2})

    def stored(*pairs: tuple[int, str]) -> list[object]:
        import msgspec

        class One(msgspec.Struct):
            pos: int
            id: str
            domain: str = "acme"
            domain_seq: int = 0

        return [One(pos=pos, id=name, domain_seq=pos) for pos, name in pairs]

    def kinds(*pairs: tuple[int, str]) -> set[str]:
        return set(faults(book, stored(*pairs)))  # pyright: ignore[reportArgumentType]  # as much of a record as it looks at

    assert kinds((1, "00-a"), (2, "00-b"), (3, "00-c")) == set()
    assert kinds((1, "00-a")) == {"lost"}
    assert "phantom" in kinds((1, "00-a"), (2, "00-b"), (3, "00-z"))
    assert "twice" in kinds((1, "00-a"), (2, "00-b"), (3, "00-b"))
    assert "moved" in kinds((1, "00-b"), (2, "00-a"))
    assert "reordered" in kinds((1, "00-b"), (2, "00-a"))
    assert {"gap", "gap in a domain"} <= kinds((1, "00-a"), (3, "00-b"))
