"""The embedded store beyond the contract of a log: its lock, its settings, room, retention, data keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from central_hub.adapters import verifying
from central_hub.adapters.sqlite import log as sqlite_log
from central_hub.adapters.sqlite import retention as sqlite_retention
from central_hub.adapters.sqlite.log import RESERVED_BYTES, RESERVED_FOR_FACTS_BYTES, SqliteLog
from central_hub.kernel.errors import HubError
from central_hub.kernel.ports import Accepted
from central_hub.kernel.records import Category
from tests.adapters.logs import ACME, OTHER, command, everything, key, record, whole

PLENTY = 1 << 40


class Room:
    """A file system with as much room as the test says."""

    def __init__(self) -> None:
        self.free = PLENTY
        self.fails = False

    def __call__(self, path: Path) -> int:
        if self.fails:
            raise OSError("statvfs")
        return self.free


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
async def log(tmp_path: Path, room: Room) -> AsyncIterator[SqliteLog]:
    made = await SqliteLog.open(tmp_path / "hub.db", incarnation="i", free=room)
    yield made
    await made.close()


async def code_of(awaitable: Any) -> str:
    """The code with which something is refused."""
    with pytest.raises(HubError) as refused:
        await awaitable
    return refused.value.code


async def outcome(log: SqliteLog) -> str:
    """Write a record; returns the code it was refused with, empty if it was taken."""
    try:
        await log.append([command()])
    except HubError as refused:
        return refused.code
    return ""


# One process, one file, full durability.


async def test_a_second_hub_on_the_same_directory_is_told_which_is_taken(log: SqliteLog, tmp_path: Path) -> None:
    with pytest.raises(HubError) as refused:
        await SqliteLog.open(tmp_path / "hub.db", incarnation="j")
    assert refused.value.code == "store_in_use"
    assert str(tmp_path) in refused.value.message
    await log.append([command()])


async def test_the_lock_is_free_again_after_closing(log: SqliteLog, tmp_path: Path) -> None:
    await log.close()
    second = await SqliteLog.open(tmp_path / "hub.db", incarnation="j")
    assert second.incarnation == "i"
    await second.close()


async def test_the_file_is_written_ahead_synced_in_full_and_never_mapped(log: SqliteLog) -> None:
    for connection in (log._writing, log._reading):
        assert connection is not None
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2
        assert connection.pragma("mmap_size") == 0
        assert connection.pragma("wal_autocheckpoint") == 0


async def test_the_reading_connection_cannot_write(log: SqliteLog) -> None:
    assert log._reading is not None
    with pytest.raises(apsw.ReadOnlyError):
        log._reading.execute("DELETE FROM log")


async def test_a_store_of_a_later_version_is_not_opened(log: SqliteLog, tmp_path: Path) -> None:
    await log.close()
    connection = apsw.Connection(str(tmp_path / "hub.db"))
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    connection.close()
    assert await code_of(SqliteLog.open(tmp_path / "hub.db", incarnation="j")) == "store_too_new"


async def test_a_store_of_an_earlier_version_is_moved_on_with_what_it_holds(log: SqliteLog, tmp_path: Path) -> None:
    await log.append([command(record(data=b"kept"))])
    await log.close()
    connection = apsw.Connection(str(tmp_path / "hub.db"))
    connection.execute("DROP TABLE told")
    connection.execute("DROP TABLE gaps")
    connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    connection.close()
    moved = await SqliteLog.open(tmp_path / "hub.db", incarnation="j")
    try:
        await moved.append([command(record(data=b"new", once="a"))])
        await moved.append([command(record(data=b"again", once="a"))])
        assert [one.data for one in await everything(moved)] == [b"kept", b"new"]
        assert moved.incarnation != "j"
    finally:
        await moved.close()


async def test_a_file_that_is_no_store_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"no database at all" * 100)
    assert await code_of(SqliteLog.open(tmp_path / "hub.db", incarnation="j")) == "store_unavailable"


async def test_what_was_sent_before_closing_is_kept(log: SqliteLog, tmp_path: Path) -> None:
    sent = [asyncio.create_task(log.append([command(record(data=b"%d" % number))])) for number in range(50)]
    await asyncio.sleep(0)
    await log.close()
    verdicts = [verdict for batch in await asyncio.gather(*sent) for verdict in batch]
    assert all(isinstance(verdict, Accepted) for verdict in verdicts)
    again = await SqliteLog.open(tmp_path / "hub.db", incarnation="j")
    assert len(await everything(again)) == 50
    await again.close()


async def test_checkpoints_keep_the_write_ahead_log_short(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "hub.db", incarnation="i", checkpoint_pages=20)
    for number in range(300):
        await log.append([command(record(data=bytes(2_000) + b"%d" % number))])
    assert (tmp_path / "hub.db-wal").stat().st_size < 100 * 4_200
    assert len(await everything(log)) == 300
    await log.close()


# Room: events and audit give way first, facts later.


async def test_with_little_room_events_and_audit_are_refused_and_facts_taken(log: SqliteLog, room: Room) -> None:
    room.free = RESERVED_FOR_FACTS_BYTES - 1
    for category in (Category.EVENT, Category.AUDIT):
        assert await code_of(log.append([command(record(category=category))])) == "storage_full"
    await log.append([command(record(data=b"fact"))])
    assert [one.data for one in await everything(log)] == [b"fact"]
    assert log.refused == 2
    assert log.healthy


async def test_with_hardly_any_room_facts_are_refused_too(log: SqliteLog, room: Room) -> None:
    room.free = RESERVED_BYTES - 1
    assert await code_of(log.append([command()])) == "storage_full"
    room.free = RESERVED_FOR_FACTS_BYTES
    await log.append([command(), command(record(category=Category.EVENT))])


async def test_room_is_looked_at_again_after_some_batches(log: SqliteLog, room: Room) -> None:
    await log.append([command()])
    room.free = 0
    codes = [await outcome(log) for _ in range(sqlite_log.SPACE_CHECK_EVERY)]
    assert "storage_full" in codes


async def test_a_disk_that_does_not_say_how_much_room_it_has_is_a_named_refusal(log: SqliteLog, room: Room) -> None:
    room.fails = True
    assert await code_of(log.append([command()])) == "store_unavailable"
    room.fails = False
    await log.append([command()])


# Retention.


async def test_retention_drops_what_is_old_and_behind_the_snapshot_and_the_rest_verifies(log: SqliteLog) -> None:
    for number in range(10):
        await log.append([command(record(ACME if number % 2 else OTHER, data=b"%d" % number, time_ms=number))])
    assert await log.retain(behind_pos=6, before_ms=100, results_before_ms=0) == 6
    assert [one.pos for one in await everything(log)] == [7, 8, 9, 10]
    for domain in (ACME, OTHER):
        check = await log.verify(domain)
        assert (check.broken_at, check.first_seq, check.last_seq, check.checked) == (None, 4, 5, 2)
    await log.append([command(record(data=b"next"))])
    assert (await log.head()).pos == 11


async def test_young_records_stay_although_they_are_behind_the_snapshot(log: SqliteLog) -> None:
    for number in range(6):
        await log.append([command(record(data=b"%d" % number, time_ms=number * 1_000))])
    assert await log.retain(behind_pos=6, before_ms=3_000, results_before_ms=0) == 3
    assert [one.data for one in await everything(log)] == [b"3", b"4", b"5"]


async def test_a_clock_set_back_leaves_a_clean_cut(log: SqliteLog) -> None:
    for time_ms in (1, 9_000, 2, 3):
        await log.append([command(record(data=b"%d" % time_ms, time_ms=time_ms))])
    assert await log.retain(behind_pos=4, before_ms=5_000, results_before_ms=0) == 1
    assert whole(await log.verify(ACME))


async def test_over_its_size_the_store_lets_young_records_go_but_never_past_the_snapshot(log: SqliteLog) -> None:
    for number in range(6):
        await log.append([command(record(data=b"%d" % number, time_ms=10**15))])
    assert await log.retain(behind_pos=4, before_ms=0, results_before_ms=0, bytes_max=0) == 4
    assert [one.pos for one in await everything(log)] == [5, 6]
    assert whole(await log.verify(ACME))


async def test_a_domain_dropped_whole_goes_on_where_it_was(log: SqliteLog, tmp_path: Path) -> None:
    await log.append([command(record(data=b"1")), command(record(data=b"2"))])
    await log.retain(behind_pos=2, before_ms=10**6, results_before_ms=0)
    await log.close()
    again = await SqliteLog.open(tmp_path / "hub.db", incarnation="j")
    assert whole(await again.verify(ACME))
    [verdict] = await again.append([command(record(data=b"3"))])
    assert isinstance(verdict, Accepted)
    assert (verdict.records[0].pos, verdict.records[0].domain_seq) == (3, 3)
    assert whole(await again.verify(ACME))
    await again.close()


async def test_an_altered_record_behind_a_cut_is_still_noticed(log: SqliteLog) -> None:
    for number in range(5):
        await log.append([command(record(data=b"%d" % number))])
    await log.retain(behind_pos=2, before_ms=10**6, results_before_ms=0)
    assert log._writing is not None
    log._writing.execute("UPDATE log SET data = x'00' WHERE pos = 4")
    assert (await log.verify(ACME)).broken_at == 4


async def test_verifying_while_retention_runs_reports_no_break(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "VERIFY_PAGE", 7)
    monkeypatch.setattr(sqlite_retention, "RETIRE_SLICE", 5)
    await log.append([command(record(data=b"%d" % number)) for number in range(2_000)])
    dropping = asyncio.create_task(log.retain(behind_pos=1_990, before_ms=10**6, results_before_ms=0))
    checks = [await log.verify(ACME) for _ in range(20)]
    await dropping
    assert [check for check in checks if check.broken_at is not None] == []
    assert whole(await log.verify(ACME))


async def test_writes_go_on_between_the_slices_of_retention(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_retention, "RETIRE_SLICE", 5)
    await log.append([command(record(data=b"%d" % number)) for number in range(500)])
    dropping = asyncio.create_task(log.retain(behind_pos=500, before_ms=10**6, results_before_ms=0))
    await asyncio.sleep(0)
    await log.append([command(record(data=b"meanwhile"))])
    assert not dropping.done()
    assert await dropping == 500
    assert [one.data for one in await everything(log)] == [b"meanwhile"]


# First results.


async def test_first_results_are_forgotten_after_their_time(log: SqliteLog) -> None:
    await log.append([command(record(time_ms=1_000), key=key("old"), result=b"o")])
    await log.append([command(record(time_ms=5_000), key=key("new"), result=b"n")])
    await log.retain(behind_pos=0, before_ms=0, results_before_ms=5_000)
    assert await log.lookup(key("old")) is None
    assert await log.lookup(key("new")) == b"n"
    assert len(await everything(log)) == 2


async def test_more_first_results_than_are_kept_lose_the_oldest(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_log, "RESULTS_MAX", 10)
    monkeypatch.setattr(sqlite_retention, "RETIRE_SLICE", 4)
    for number in range(30):
        await log.append([command(record(time_ms=1_000 + number), key=key(f"{number}"), result=b"%d" % number)])
    await log.retain(behind_pos=0, before_ms=0, results_before_ms=0)
    kept = [number for number in range(30) if await log.lookup(key(f"{number}")) is not None]
    assert kept[-10:] == list(range(20, 30))
    assert len(kept) <= 11
