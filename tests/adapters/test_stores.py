"""Log, keys and snapshots together: what is on the disk, and from what a hub starts."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from central_hub.adapters.stores import DATABASE, SNAPSHOTS, Stores, open_directory
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.records import Applied
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer, Tx
from tests.adapters.logs import ACME, ACTOR, Noted

CANARY = "canary-51c9e2"


class Texts:
    """Every text of a domain, in order."""

    name = "texts"
    facts: frozenset[type[Fact]] = frozenset({Noted})

    def __init__(self) -> None:
        self.of: dict[DomainId, list[str]] = {}

    def apply(self, applied: Applied) -> None:
        assert isinstance(applied.fact, Noted)
        self.of.setdefault(applied.domain, []).append(applied.fact.text)

    def dump(self, domain: DomainId) -> Iterable[object]:
        yield list(self.of.get(domain, []))

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            self.of.setdefault(domain, []).extend(msgspec.msgpack.decode(chunk, type=list[str]))


class House:
    """A store directory with a view on it."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.texts = Texts()
        self.runner = Runner(stores.log, stores.sealer, FactTypes([Noted]), [self.texts])
        self.sequencer = Sequencer(stores.log, stores.sealer, self.runner, ManualClock(), os.urandom)

    async def write(self, *texts: str, key: str = "") -> None:
        running = asyncio.create_task(self.sequencer.run())

        def decide(tx: Tx) -> str:
            for text in texts:
                tx.append(ACME, Noted(text=text), streams=("note/1",))
            return texts[0]

        idempotency = Idempotency(domain=ACME, source="s", id=key) if key else None
        await self.sequencer.submit(ACTOR, (ACME,), decide, idempotency=idempotency)
        running.cancel()

    async def snapshot(self) -> None:
        await self.runner.snapshot(self.stores.snapshots)
        await self.stores.log.retain(behind_pos=self.runner.droppable_pos, before_ms=1 << 60, results_before_ms=0)


async def house_in(directory: Path) -> House:
    house = House(await open_directory(directory, incarnation="i"))
    try:
        await house.runner.start(house.stores.snapshots)
    except BaseException:
        await house.stores.log.close()
        raise
    return house


async def test_nothing_that_was_written_can_be_read_on_the_disk(tmp_path: Path) -> None:
    house = await house_in(tmp_path / "data")
    await house.write(CANARY, key="k")
    await house.runner.snapshot(house.stores.snapshots)
    while_open = _contents(tmp_path)
    assert any(name.endswith("-wal") for name in while_open)
    await house.stores.log.close()
    for contents in (while_open, _contents(tmp_path)):
        assert {"hub.db", "master.key"} <= set(contents)
        assert [name for name, content in contents.items() if CANARY.encode() in content] == []


async def test_what_a_directory_holds_is_its_owners_alone(tmp_path: Path) -> None:
    house = await house_in(tmp_path / "data")
    await house.stores.log.close()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    keys = list((tmp_path / "data" / "keys").iterdir())
    assert len(keys) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


async def test_a_start_is_snapshot_and_tail(tmp_path: Path) -> None:
    house = await house_in(tmp_path)
    for turn in range(3):
        await house.write(f"{turn}a", f"{turn}b")
        await house.snapshot()
    await house.write("tail")
    await house.stores.log.close()
    again = await house_in(tmp_path)
    assert again.texts.of == house.texts.of == {ACME: ["0a", "0b", "1a", "1b", "2a", "2b", "tail"]}
    assert (await again.stores.log.read(0, 1))[0].pos == 5, "what is behind the older snapshot is gone"
    await again.stores.log.close()


async def test_when_the_newest_snapshot_is_spoilt_the_older_one_and_a_longer_tail_give_the_same(tmp_path: Path) -> None:
    house = await house_in(tmp_path)
    for turn in range(3):
        await house.write(f"{turn}")
        await house.snapshot()
    await house.stores.log.close()
    newest = sorted((tmp_path / SNAPSHOTS).iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    again = await house_in(tmp_path)
    assert again.texts.of == {ACME: ["0", "1", "2"]}
    await again.stores.log.close()


async def test_without_its_snapshots_a_retired_log_does_not_start_as_if_it_were_whole(tmp_path: Path) -> None:
    house = await house_in(tmp_path)
    for turn in range(3):
        await house.write(f"{turn}")
        await house.snapshot()
    await house.stores.log.close()
    for path in (tmp_path / SNAPSHOTS).iterdir():
        path.unlink()
    with pytest.raises(HubError) as refused:
        await house_in(tmp_path)
    assert refused.value.code == "history_missing"


async def test_nor_does_one_whose_records_are_all_gone(tmp_path: Path) -> None:
    house = await house_in(tmp_path)
    await house.write("a")
    await house.stores.log.retain(behind_pos=1, before_ms=1 << 60, results_before_ms=0)
    await house.stores.log.close()
    with pytest.raises(HubError) as refused:
        await house_in(tmp_path)
    assert refused.value.code == "history_missing"


async def test_two_hubs_do_not_share_a_directory(tmp_path: Path) -> None:
    house = await house_in(tmp_path)
    with pytest.raises(HubError) as refused:
        await open_directory(tmp_path, incarnation="i")
    assert refused.value.code == "store_in_use"
    assert (tmp_path / DATABASE).exists()
    await house.stores.log.close()


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
