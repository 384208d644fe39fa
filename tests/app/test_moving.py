"""A hub moved from SQLite to PostgreSQL and back: the same records, chains, results, secrets and views."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from central_hub.adapters.memory import MemorySnapshots
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.stores import Stores, open_directory
from central_hub.app.moving import move, rename
from central_hub.app.serving import open_stores
from central_hub.app.wiring import build
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Idempotency, Section
from central_hub.kernel.records import HUB_ACTOR, Record
from central_hub.kernel.sequencer import Tx
from central_hub.settings import Settings
from central_hub.tenants.model import TenantCreated
from tests.postgres import Database

TENANTS = 40


async def lived_in(directory: Path) -> None:
    """Fill a data directory as a hub does, with a snapshot in the middle and old records dropped behind it."""
    stores = await open_directory(directory, incarnation="history-1")
    hub = build(Settings(data=directory, open=True), stores)
    await hub.core.runner.start(stores.snapshots)
    running = asyncio.create_task(hub.core.sequencer.run())
    for number in range(TENANTS):
        domain = DomainId(f"tenant-{number}")

        def decide(tx: Tx, domain: DomainId = domain) -> str:
            created = TenantCreated(tenant_id=domain, name=domain, tier="free")
            once = "written-once" if domain == "tenant-0" else ""
            tx.append(domain, created, streams=(f"tenant/{domain}",), once=once)
            return domain

        key = Idempotency(domain=domain, source="test", id=f"key-{number}")
        await hub.core.sequencer.submit(HUB_ACTOR, (domain,), decide, idempotency=key)
        if number in (TENANTS // 4, TENANTS // 2):
            await hub.core.runner.snapshot(stores.snapshots)
            await stores.log.retain(behind_pos=hub.core.runner.droppable_pos, before_ms=1 << 60, results_before_ms=0)
    hub.core.sequencer.close()
    await running
    await stores.cursors.close()
    await stores.log.close()


async def seen(settings: Settings) -> tuple[list[Record], list[Section], bytes, bytes, dict[str, int]]:
    """What a store holds, opened as a hub would."""
    stores = await open_stores(settings)
    try:
        runner = build(settings, stores).core.runner
        await runner.start(stores.snapshots)
        kept = MemorySnapshots()
        await runner.snapshot(kept)
        loaded = await kept.load()
        assert loaded is not None
        checked = {one.domain: (await stores.log.verify(one.domain)).checked for one in loaded[2]}
        return await stores.log.read(0, 10_000), loaded[2], stores.pepper, stores.decision_key, dict(checked)
    finally:
        await stores.cursors.close()
        await stores.log.close()


def ignored(done: int, total: int) -> None:
    assert 0 <= done <= total


async def test_a_hub_moves_to_postgresql_and_back_and_is_the_same(tmp_path: Path, database: Database) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    await lived_in(old)
    before = await seen(Settings(data=old))
    assert len(before[0]) < TENANTS, "some were dropped behind a snapshot, or the test shows less than it says"
    moved = await move(Settings(data=old), str(old), database.text, progress=ignored)
    assert (moved.records, moved.incarnation) == (len(before[0]), "history-1")
    assert database.sql("SELECT domain, name FROM central_hub.told") == "tenant-0|written-once"
    there = await seen(Settings(data=old, store=database.text))
    assert there == before
    back = await move(Settings(data=old), database.text, str(new), progress=ignored)
    assert back.sections_compared == moved.sections_compared > TENANTS
    assert await seen(Settings(data=new)) == before


async def test_what_was_moved_from_is_another_history_from_then_on(tmp_path: Path, database: Database) -> None:
    old = tmp_path / "old"
    await lived_in(old)
    await move(Settings(data=old), str(old), database.text, progress=ignored)
    left: Stores = await open_directory(old, incarnation="-")
    try:
        assert left.incarnation != "history-1"
        # It starts, should somebody want to go back, although the log's beginning was dropped behind a snapshot.
        runner = build(Settings(data=old), left).core.runner
        await runner.start(left.snapshots)
        assert runner.pos == TENANTS
    finally:
        await left.cursors.close()
        await left.log.close()
    there = await PostgresLog.open(database.address, mint=lambda: "-")
    assert there.incarnation == "history-1"
    await there.close()


async def test_a_store_that_was_brought_back_gets_another_name_and_starts(tmp_path: Path) -> None:
    await lived_in(tmp_path / "hub")
    before = await seen(Settings(data=tmp_path / "hub"))
    name = await rename(Settings(data=tmp_path / "hub"), str(tmp_path / "hub"))
    stores = await open_directory(tmp_path / "hub", incarnation="-")
    assert stores.incarnation == name != "history-1"
    await stores.cursors.close()
    await stores.log.close()
    assert await seen(Settings(data=tmp_path / "hub")) == before


async def refused(work: Any) -> str:
    with pytest.raises(HubError) as caught:
        await work
    return caught.value.code


async def test_a_running_hub_is_not_moved(tmp_path: Path, database: Database) -> None:
    old = tmp_path / "old"
    await lived_in(old)
    stores = await open_directory(old, incarnation="-")
    assert await refused(move(Settings(data=old), str(old), database.text, progress=ignored)) == "store_in_use"
    await stores.cursors.close()
    await stores.log.close()
    running = await PostgresLog.open(database.address, mint=lambda: "-")
    assert await refused(move(Settings(data=old), str(old), database.text, progress=ignored)) == "store_in_use"
    await running.close()


async def test_nothing_is_moved_onto_something_and_nothing_from_nowhere(tmp_path: Path, database: Database) -> None:
    old, other, empty = tmp_path / "old", tmp_path / "other", tmp_path / "empty"
    await lived_in(old)
    await lived_in(other)
    assert await refused(move(Settings(), str(old), str(other), progress=ignored)) == "store_not_empty"
    assert await refused(move(Settings(), str(old), str(old), progress=ignored)) == "store_not_empty"
    assert await refused(move(Settings(), str(empty), database.text, progress=ignored)) == "store_not_found"
    assert not empty.exists()
    assert await refused(move(Settings(), database.text, str(empty), progress=ignored)) == "store_not_found"


async def test_a_move_that_is_broken_off_leaves_the_target_empty(tmp_path: Path, database: Database) -> None:
    old = tmp_path / "old"
    await lived_in(old)

    def broken_off(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await move(Settings(data=old), str(old), database.text, progress=broken_off)
    assert database.sql("SELECT count(*) FROM central_hub.log") == "0"
    moved = await move(Settings(data=old), str(old), database.text, progress=ignored)
    assert moved.records > 0
    assert os.access(old / "hub.db", os.R_OK)
