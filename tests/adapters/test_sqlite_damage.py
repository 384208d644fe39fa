"""What spoilt rows, records that cannot be stored and a failed store may and may not do to the SQLite log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from central_hub.adapters.sqlite.log import (
    SqliteLog,
)
from central_hub.kernel.errors import HubError
from central_hub.kernel.records import Category
from tests.adapters.logs import ACME, command, record
from tests.durability.failing import Call, FailingVfs, Faults


@dataclass
class Disk:
    """A store on a disk that can be told to fail."""

    path: Path
    faults: Faults
    log: SqliteLog
    free: int = 1 << 40

    async def reopen(self) -> None:
        await self.log.close()
        self.log = await SqliteLog.open(self.path, incarnation="-")


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    faults = Faults()
    vfs = FailingVfs(f"failing-{tmp_path.name}", faults)
    path = tmp_path / "hub.db"
    made: Disk
    log = await SqliteLog.open(path, incarnation="i", vfs=f"failing-{tmp_path.name}", free=lambda _: made.free)
    made = Disk(path, faults, log)
    yield made
    faults.clear()
    await made.log.close()
    vfs.unregister()


async def refused(log: SqliteLog, *, category: Category = Category.FACT) -> str:
    """The code with which an append is refused."""
    with pytest.raises(HubError) as error:
        await log.append([command(record(category=category))])
    return error.value.code


async def test_a_failed_store_does_not_checkpoint_when_it_is_closed(disk: Disk) -> None:
    await disk.log.append([command()])
    before = disk.path.read_bytes()
    disk.faults.set(Call.SYNC, "-wal")
    assert await refused(disk.log) == "outcome_unknown"
    await disk.log.close()
    assert disk.path.read_bytes() == before
    assert Path(f"{disk.path}-wal").stat().st_size > 0


async def test_a_record_that_cannot_be_stored_leaves_the_store_usable(disk: Disk) -> None:
    with pytest.raises(UnicodeEncodeError):
        await disk.log.append([command(record(ACME, "thing/\ud800"))])
    await disk.log.append([command()])
    assert (await disk.log.head()).pos == 1


async def test_a_row_that_does_not_decode_is_named_and_breaks_the_chain(disk: Disk) -> None:
    for number in range(4):
        await disk.log.append([command(record(data=b"%d" % number))])
    connection = apsw.Connection(str(disk.path))
    connection.execute("UPDATE log SET actor = x'c1' WHERE pos = 3")
    connection.close()
    with pytest.raises(HubError) as error:
        await disk.log.read(0, 10)
    assert error.value.code == "unreadable_record"
    assert (await disk.log.verify(ACME)).broken_at == 3
