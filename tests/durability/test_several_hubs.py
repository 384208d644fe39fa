"""Several hubs under load while one part after another is killed, stopped or cut off: nothing acknowledged is lost.

Each scenario has its short form here and a long one marked slow. A caller that has the addresses of all hubs notices
nothing but time.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from benchmarks.hub_process import HubProcess
from tests.durability.cutting import Silence, SilentProxy
from tests.durability.hub_load import HubLoad, faults, published
from tests.postgres import Database, Pair, a_server, new_database
from tests.several_hubs import Hubs, cluster, is_settled, several_hubs, until, url

TAKEN_OVER_S = 5.0
LIVE_AGAIN_S = 3.0
BACK_S = 2.0
SCOPES = ["registry:read", "registry:write", "events:read", "events:write"]


@pytest.fixture
def own() -> Iterator[Database]:
    """A database on a server that the test may kill."""
    server = a_server()
    yield new_database(server)
    server.remove()


def a_key(hubs: list[HubProcess]) -> str:
    """Make a tenant; returns a key that every hub knows."""
    key = hubs[0].tenant("acme", "enterprise", SCOPES)
    until(lambda: all(hub.call("GET", "/services/", key=key)[0] == 200 for hub in hubs), within_s=5)
    return key


@contextlib.asynccontextmanager
async def loaded(hubs: Hubs, key: str, *, refusals_are_errors: bool = True) -> AsyncIterator[HubLoad]:
    load = HubLoad(hubs.urls, key, refusals_are_errors=refusals_are_errors)
    await load.start()
    await load.acknowledged(50)
    yield load
    await load.acknowledged(50)
    await load.stop()


async def settled(hubs: list[HubProcess], within_s: float) -> float:
    return await asyncio.to_thread(
        until, lambda: all(is_settled(hub, len(hubs)) for hub in hubs), within_s=within_s
    )  # fmt: skip


def judged(load: HubLoad, hubs: list[HubProcess], key: str) -> None:
    """Hold every hub against the book."""
    assert load.book.acknowledged
    for hub in hubs:
        assert not faults(load.book, published(hub, key))
    assert load.book.forgotten == 0, "an instance that beat was expired"


async def killed_in_turn(tmp_path: Path, database: Database, times: int) -> None:
    with several_hubs(tmp_path, database.text, 3) as (hubs, started):
        key = await asyncio.to_thread(a_key, started)
        async with loaded(hubs, key) as load:
            for number in range(times):
                victim = list(hubs.hubs.values())[number % 3]
                hubs.kill(victim)
                left = list(hubs.hubs.values())
                assert await settled(left, TAKEN_OVER_S) <= TAKEN_OVER_S
                await load.acknowledged(20)
                again = await asyncio.to_thread(hubs.start, victim.port)
                await settled([*left, again], 15)
        judged(load, list(hubs.hubs.values()), key)
        assert load.book.failed == []
        assert load.book.longest_unwatched_s <= LIVE_AGAIN_S


@pytest.mark.timing
@pytest.mark.timeout(180)
async def test_hubs_killed_in_turn_are_no_error_to_anybody(tmp_path: Path, database: Database) -> None:
    await killed_in_turn(tmp_path, database, 2)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_hubs_killed_thirty_times_are_no_error_to_anybody(tmp_path: Path, database: Database) -> None:
    await killed_in_turn(tmp_path, database, 30)


@pytest.mark.timing
@pytest.mark.timeout(180)
async def test_hubs_replaced_one_after_another_are_no_error_to_anybody(tmp_path: Path, database: Database) -> None:
    with several_hubs(tmp_path, database.text, 3) as (hubs, started):
        key = await asyncio.to_thread(a_key, started)
        async with loaded(hubs, key) as load:
            for hub in started:
                await asyncio.to_thread(hubs.stop, hub)
                await load.acknowledged(20)
                await asyncio.to_thread(hubs.start, hub.port)
                await settled(list(hubs.hubs.values()), 15)
        judged(load, list(hubs.hubs.values()), key)
        assert load.book.failed == []
        assert load.book.longest_unwatched_s <= LIVE_AGAIN_S


@pytest.mark.parametrize(
    "how",
    ["killed", pytest.param("restarted", marks=pytest.mark.slow), pytest.param("frozen", marks=pytest.mark.slow)],
)
@pytest.mark.timing
@pytest.mark.timeout(180)
async def test_a_store_that_goes_away_for_several_hubs_loses_nothing(tmp_path: Path, own: Database, how: str) -> None:
    with several_hubs(tmp_path, own.text, 3) as (hubs, started):
        key = await asyncio.to_thread(a_key, started)
        async with loaded(hubs, key, refusals_are_errors=False) as load:
            if how == "frozen":
                with own.server.frozen():
                    await asyncio.sleep(6)
            else:
                await asyncio.to_thread(own.server.kill if how == "killed" else own.server.stop)
                await asyncio.sleep(4)
                await asyncio.to_thread(own.server.start)
            assert await load.acknowledged(1) < BACK_S
            assert await settled(started, BACK_S) < BACK_S
        judged(load, started, key)
        assert load.book.failed == []
        assert len({member["epoch"] for member in cluster(started[0])["members"]}) == 3
        assert load.book.refused


@pytest.mark.timeout(180)
@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
async def test_several_hubs_fail_over_to_a_synchronous_replica_and_lose_nothing(tmp_path: Path, pair: Pair) -> None:
    with several_hubs(tmp_path, pair.text, 2) as (hubs, started):
        key = await asyncio.to_thread(a_key, started)
        async with loaded(hubs, key, refusals_are_errors=False) as load:
            await asyncio.to_thread(pair.fail_over)
            await load.acknowledged(20)
        judged(load, started, key)
        assert load.book.failed == []


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
async def test_several_hubs_whose_history_was_lost_begin_anew_under_one_name(tmp_path: Path, pair: Pair) -> None:
    def incarnation(hub: HubProcess) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/livez")
            answer = connection.getresponse()
            answer.read()
        return (answer.getheader("hub-seq") or "").partition(".")[0]

    with several_hubs(tmp_path, pair.text, 2) as (_, started):
        before = {incarnation(hub) for hub in started}
        assert len(before) == 1
        pair.wait_for_replica("async")
        await asyncio.sleep(0.5)
        await asyncio.to_thread(pair.standby.stop)
        body = {"name": "lost", "instance_id": "i", "host": "127.0.0.1", "port": 9}
        assert started[0].call("POST", "/services/register", body)[0] == 201
        await asyncio.to_thread(pair.primary.kill)
        await asyncio.to_thread(pair.standby.start)
        await asyncio.to_thread(pair.standby.promote)

        def both_anew() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                after = {incarnation(hub) for hub in started}
                return len(after) == 1 and not after & before and all(is_settled(hub, 2) for hub in started)
            return False

        await asyncio.to_thread(until, both_anew, within_s=40)
        assert [hub.call("GET", "/services/discover/lost")[0] for hub in started] == [404, 404]


@pytest.mark.timing
@pytest.mark.timeout(180)
async def test_a_hub_that_stood_still_past_its_time_acts_on_nothing_it_had(tmp_path: Path, database: Database) -> None:
    with several_hubs(tmp_path, database.text, 2) as (hubs, [one, two]):
        key = await asyncio.to_thread(a_key, [one, two])
        epochs = {member["node"]: member["epoch"] for member in cluster(two)["members"]}
        async with loaded(hubs, key) as load:
            # Many leases, most of which end while one hub stands still: each must end once.
            body = {"instances": [
                {"name": f"short-{n}", "instance_id": "i", "host": "127.0.0.1", "port": 9, "lease_ttl_s": 2}
                for n in range(40)
            ]}  # fmt: skip
            two.must("POST", "/services/register/batch", body, key=key)
            one.process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.to_thread(until, lambda: is_settled(two, 1), within_s=TAKEN_OVER_S + 2)
                await load.acknowledged(20)
                await asyncio.sleep(6)
            finally:
                one.process.send_signal(signal.SIGCONT)
            await settled([one, two], 10)
            now = {member["node"]: member["epoch"] for member in cluster(two)["members"]}
            assert now[url(one.port)] > epochs[url(one.port)]
            assert now[url(two.port)] == epochs[url(two.port)]
        judged(load, [one, two], key)
        log = hubs.log_of(one.port).read_text()
        assert "cluster.taken_off" in log
        ended = "SELECT count(*), count(DISTINCT streams) FROM central_hub.log WHERE type = 'ServiceUnregistered'"
        await asyncio.to_thread(until, lambda: int(database.sql(ended).split("|")[0]) >= 40, within_s=60)
        await asyncio.sleep(1.0)
        told, leases = database.sql(ended).split("|")
        assert told == leases, "a lease ended twice"


@pytest.mark.parametrize("silence", [pytest.param(Silence.BOTH, marks=pytest.mark.slow), Silence.ANSWERS])
@pytest.mark.timing
@pytest.mark.timeout(180)
async def test_a_hub_cut_off_from_the_store_loses_its_work_and_comes_back(
    tmp_path: Path, database: Database, silence: Silence
) -> None:
    async with SilentProxy(database.server.port) as proxy:
        hubs = Hubs(tmp_path, database.text)
        try:
            two = await asyncio.to_thread(hubs.start)
            through = database.text.replace(str(database.server.port), str(proxy.port))
            one = await asyncio.to_thread(lambda: hubs.start(store=through))
            await settled([one, two], 15)
            key = await asyncio.to_thread(a_key, [one, two])
            async with loaded(hubs, key) as load:
                proxy.silence = silence
                await asyncio.to_thread(until, lambda: is_settled(two, 1), within_s=TAKEN_OVER_S + 2)
                await load.acknowledged(50)
                seen = await asyncio.to_thread(cluster, one)
                assert not seen["holds"]
                assert seen["stale_ms"] > 0
                proxy.silence = Silence.NEITHER
                await settled([one, two], 10)
            await asyncio.to_thread(judged, load, [one, two], key)  # the proxy has to go on meanwhile
            assert load.book.failed == []
        finally:
            await asyncio.to_thread(hubs.end)


JUMPING = """
import os, time
_file, _ns, _s = os.environ["JUMP_FILE"], time.time_ns, time.time
def _offset_s():
    try:
        return float(open(_file).read() or 0)
    except (OSError, ValueError):
        return 0.0
time.time_ns = lambda: _ns() + int(_offset_s() * 1e9)
time.time = lambda: _s() + _offset_s()
"""


@pytest.mark.timing
@pytest.mark.timeout(180)
async def test_a_clock_that_jumps_an_hour_either_way_moves_no_work_and_ends_no_lease(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jump").mkdir()
    (tmp_path / "jump/sitecustomize.py").write_text(JUMPING)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'jump'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("JUMP_FILE", str(tmp_path / "offset"))
    with several_hubs(tmp_path, database.text, 2) as (hubs, started):
        key = await asyncio.to_thread(a_key, started)
        before = cluster(started[0])["roster"]
        async with loaded(hubs, key) as load:
            for seconds in (3_600, -3_600, 0):
                (tmp_path / "offset").write_text(str(seconds))
                await asyncio.sleep(2.0)
        judged(load, started, key)
        assert load.book.failed == []
        assert [cluster(hub)["roster"] for hub in started] == [before, before]


def test_the_checker_sees_what_it_is_there_for() -> None:
    from tests.durability.hub_load import Book

    book = Book(tried={"00-a", "00-b", "00-c"}, acknowledged=["00-a", "00-b"])
    assert faults(book, ["00-a", "00-b", "00-c"]) == {}
    assert set(faults(book, ["00-a"])) == {"lost"}
    assert "phantom" in faults(book, ["00-a", "00-b", "00-z"])
    assert "twice" in faults(book, ["00-a", "00-b", "00-b"])
    assert "reordered" in faults(book, ["00-b", "00-a"])
