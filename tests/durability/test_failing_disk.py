"""The disk errs or is full: nothing is acknowledged that is not there, and nothing pretends to work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import apsw
import pytest

from central_hub.adapters.keyring import KEY_BYTES, KeyRing
from central_hub.adapters.sqlite.log import SqliteLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer, Tx
from tests.adapters.logs import ACME, command, everything, key, record, whole
from tests.durability.failing import Call, Faults, failing_disk
from tests.durability.power_cut import ACTOR, Set, Values

WAL: Final = "-wal"
DATABASE: Final = "hub.db"
VFS: Final = "failing"
PLENTY: Final = 1 << 40
TURNS: Final = 20


class Disk:
    """A store on a disk that can fail."""

    def __init__(self, path: Path, faults: Faults) -> None:
        self.path = path
        self.faults = faults
        self.log: SqliteLog

    async def open(self, *, checkpoint_pages: int = 10_000) -> None:
        self.log = await SqliteLog.open(
            self.path, incarnation="first", vfs=VFS, free=lambda _: PLENTY, checkpoint_pages=checkpoint_pages
        )

    async def write(self, *data: bytes) -> None:
        """Write one record a command; returning means it was acknowledged."""
        await self.log.append([command(record(data=one)) for one in data])

    async def refusal(self, data: bytes = b"refused") -> str:
        """Write a record that is to be refused; returns the code."""
        with pytest.raises(HubError) as refused:
            await self.write(data)
        return refused.value.code

    async def reopened(self) -> list[bytes]:
        """Open the store again on a disk that works; returns what it holds, having checked that it is whole."""
        self.faults.clear()
        await self.log.close()
        await self.open()
        records = await everything(self.log)
        assert [one.pos for one in records] == list(range(1, len(records) + 1))
        assert whole(await self.log.verify(ACME))
        assert (await self.log.head()).incarnation == "first"
        return [one.data for one in records]


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    with failing_disk(VFS) as faults:
        made = Disk(tmp_path / DATABASE, faults)
        await made.open()
        yield made
        faults.clear()
        await made.log.close()


# The disk errs: the outcome is not known, and nothing is acknowledged from then on.


@pytest.mark.parametrize("call", [Call.SYNC, Call.WRITE])
async def test_a_commit_that_errs_is_of_unknown_outcome(disk: Disk, call: Call) -> None:
    await disk.write(b"kept")
    disk.faults.set(call, WAL)
    assert await disk.refusal() == "outcome_unknown"
    assert disk.faults.met
    assert not disk.log.healthy
    assert disk.log.failures == 1


@pytest.mark.parametrize("call", [Call.SYNC, Call.WRITE])
async def test_after_a_failed_commit_no_write_is_taken_although_the_disk_works_again(disk: Disk, call: Call) -> None:
    disk.faults.set(call, WAL)
    await disk.refusal()
    disk.faults.clear()
    for _ in range(3):
        assert await disk.refusal() == "store_unavailable"
    assert disk.log.refused == 3
    assert not disk.log.healthy


async def test_what_was_acknowledged_before_a_failed_sync_is_read_meanwhile_and_there_after_reopening(
    disk: Disk,
) -> None:
    await disk.write(b"a", b"b")
    disk.faults.set(Call.SYNC, WAL)
    await disk.refusal(b"unknown")
    assert [one.data for one in await everything(disk.log)] == [b"a", b"b"]
    # Whether the unconfirmed record is in is for the disk to say; it is nothing in between.
    assert await disk.reopened() in ([b"a", b"b"], [b"a", b"b", b"unknown"])
    assert disk.log.healthy
    await disk.write(b"after")
    assert (await everything(disk.log))[-1].data == b"after"


async def test_a_batch_whose_sync_failed_is_in_whole_or_not_at_all(disk: Disk) -> None:
    batch = [b"%d" % number for number in range(100)]
    disk.faults.set(Call.SYNC, WAL)
    with pytest.raises(HubError):
        await disk.write(*batch)
    assert await disk.reopened() in ([], batch)


async def test_an_unconfirmed_command_sent_again_under_its_key_is_in_once(disk: Disk) -> None:
    once = command(record(data=b"once"), key=key("k"), result=b"done")
    disk.faults.set(Call.SYNC, WAL)
    with pytest.raises(HubError) as refused:
        await disk.log.append([once])
    assert refused.value.code == "outcome_unknown"
    await disk.reopened()
    await disk.log.append([once])
    assert [one.data for one in await everything(disk.log)] == [b"once"]
    assert await disk.log.lookup(key("k")) == b"done"


async def test_a_checkpoint_that_errs_stops_writes_and_loses_nothing(disk: Disk) -> None:
    await disk.log.close()
    await disk.open(checkpoint_pages=1)
    disk.faults.set(Call.SYNC, DATABASE)
    await disk.write(b"kept")
    assert await disk.refusal() == "store_unavailable"
    assert disk.faults.met
    assert not disk.log.healthy
    assert await disk.reopened() == [b"kept"]


async def test_a_data_key_that_is_not_durable_seals_nothing(disk: Disk) -> None:
    ring = KeyRing(bytes(KEY_BYTES), disk.log)
    disk.faults.set(Call.SYNC, WAL)
    with pytest.raises(HubError) as refused:
        await ring.ensure(ACME)
    assert refused.value.code == "outcome_unknown"
    with pytest.raises(HubError) as refused:
        ring.seal(ACME, b"plain", b"")
    assert refused.value.code == "unreadable_record"


async def test_a_retention_that_errs_drops_nothing_that_was_to_stay(disk: Disk) -> None:
    await disk.write(b"a", b"b", b"c")
    disk.faults.set(Call.SYNC, WAL)
    with pytest.raises(HubError):
        await disk.log.retain(behind_pos=2, before_ms=10_000, results_before_ms=0)
    assert not disk.log.healthy
    disk.faults.clear()
    await disk.log.close()
    await disk.open()
    assert [one.data for one in await everything(disk.log)] in ([b"a", b"b", b"c"], [b"c"])
    assert whole(await disk.log.verify(ACME))


async def test_a_read_that_errs_is_refused_by_name(disk: Disk) -> None:
    for number in range(40):
        await disk.write(bytes(4_000) + b"%d" % number)
    await disk.log.close()
    await disk.open()
    disk.faults.set(Call.READ, DATABASE)
    with pytest.raises(HubError) as refused:
        await everything(disk.log)
    assert refused.value.code == "store_unavailable"
    disk.faults.clear()
    assert len(await everything(disk.log)) == 40


# The disk is full: refused, nothing written, and taken again as soon as there is room.


async def test_a_full_disk_refuses_the_batch_and_takes_it_when_there_is_room(disk: Disk) -> None:
    await disk.write(b"a")
    disk.faults.set(Call.WRITE, WAL, apsw.FullError)
    assert await disk.refusal(b"b") == "storage_full"
    assert await disk.refusal(b"b") == "storage_full"
    assert disk.log.healthy
    assert (await disk.log.head()).pos == 1
    disk.faults.clear()
    await disk.write(b"b")
    assert await disk.reopened() == [b"a", b"b"]


@pytest.mark.parametrize("after", range(12))
async def test_a_disk_that_is_full_in_the_middle_of_a_commit_keeps_nothing_of_it(disk: Disk, after: int) -> None:
    await disk.write(b"a")
    disk.faults.set(Call.WRITE, WAL, apsw.FullError, after=after)
    batch = [bytes(2_000) + b"%d" % number for number in range(20)]
    with pytest.raises(HubError) as refused:
        await disk.write(*batch)
    assert refused.value.code == "storage_full"
    assert await disk.reopened() == [b"a"]


async def test_a_checkpoint_on_a_full_disk_is_put_off(disk: Disk) -> None:
    await disk.log.close()
    await disk.open(checkpoint_pages=1)
    disk.faults.set(Call.WRITE, DATABASE, apsw.FullError)
    for number in range(5):
        await disk.write(b"%d" % number)
    assert disk.faults.met
    assert disk.log.healthy
    assert await disk.reopened() == [b"%d" % number for number in range(5)]


async def test_a_full_disk_at_the_end_loses_nothing(disk: Disk) -> None:
    await disk.write(b"a", b"b")
    disk.faults.set(Call.WRITE, DATABASE, apsw.FullError)
    await disk.log.close()
    disk.faults.clear()
    await disk.open()
    assert [one.data for one in await everything(disk.log)] == [b"a", b"b"]


# The whole write path over it.


@pytest.mark.parametrize("seed", range(6))
async def test_every_answer_given_before_the_disk_failed_is_in_the_store_after_it(disk: Disk, seed: int) -> None:
    draw = random.Random(seed)
    ring = KeyRing(bytes(KEY_BYTES), disk.log)
    values = Values()
    runner = Runner(disk.log, ring, FactTypes([Set]), [values])
    sequencer = Sequencer(disk.log, ring, runner, ManualClock(), random.Random(seed).randbytes)
    running = asyncio.create_task(sequencer.run())
    answered: list[str] = []
    codes: set[str] = set()

    async def writer(number: int) -> None:
        for turn in range(TURNS):
            name = f"{number}-{turn}"

            def decide(tx: Tx, name: str = name) -> str:
                tx.append(ACME, Set(name=name, value=b"v"), streams=(f"name/{name}",))
                return name

            try:
                answered.append((await sequencer.submit(ACTOR, (ACME,), decide)).answer)
            except HubError as refused:
                codes.add(refused.code)

    await writer(0)
    assert len(answered) == TURNS
    # A sync does not say "full" on any Unix: it errs.
    call, error = draw.choice(((Call.SYNC, apsw.IOError), (Call.WRITE, apsw.IOError), (Call.WRITE, apsw.FullError)))
    disk.faults.set(call, WAL, error, after=draw.randint(0, 20))
    await asyncio.wait_for(asyncio.gather(*(writer(number) for number in range(1, 5))), 30)
    sequencer.close()
    await running
    assert codes <= {"outcome_unknown", "store_unavailable", "storage_full"}
    assert codes
    assert set(values.of[ACME]) == set(answered), "the view shows what was acknowledged and nothing else"
    await disk.reopened()
    assert set(answered) <= await _names(disk.log)


async def _names(log: SqliteLog) -> set[str]:
    """What the store holds, opened with keys read back from it."""
    ring = KeyRing(bytes(KEY_BYTES), log)
    await ring.load()
    runner = Runner(log, ring, FactTypes([Set]), [])
    facts = [applied.fact for one in await everything(log) if (applied := runner.opened(one)) is not None]
    return {fact.name for fact in facts if isinstance(fact, Set)}
