"""Snapshot files: a whole one at every moment, sealed, and passed over when they do not check."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from central_hub.adapters.keyring import KEY_BYTES, KeyRing, MemoryKeys
from central_hub.adapters.snapshot_files import KEPT, FileSnapshots
from central_hub.kernel.errors import HubError
from central_hub.kernel.ports import Section
from tests.adapters.logs import ACME, OTHER

CANARY = b"canary-7f3a"


async def snapshots_in(directory: Path) -> FileSnapshots:
    ring = KeyRing(bytes(KEY_BYTES), MemoryKeys())
    await ring.ensure(ACME)
    await ring.ensure(OTHER)
    return FileSnapshots(directory / "snapshots", ring)


def sections(mark: bytes = CANARY) -> list[Section]:
    return [
        Section(view="names", domain=ACME, domain_seq=7, chunks=(mark, b"", mark * 50)),
        Section(view="names", domain=OTHER, domain_seq=3, chunks=()),
    ]


def files(directory: Path) -> list[Path]:
    return sorted((directory / "snapshots").iterdir())


async def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    assert await kept.load() is None
    await kept.save(41, "i", sections())
    assert await kept.load() == (41, "i", sections())


async def test_an_empty_snapshot_is_one(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    await kept.save(0, "i", [])
    assert await kept.load() == (0, "i", [])


async def test_the_newest_is_loaded_and_only_the_last_two_stay(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    oldest = [await kept.save(pos, "i", sections(b"%d" % pos)) for pos in (5, 10, 1_000)]
    assert oldest == [0, 5, 10], "what the log must still reach back to"
    assert len(files(tmp_path)) == KEPT
    loaded = await kept.load()
    assert loaded is not None
    assert loaded[0] == 1_000


async def test_one_that_is_cut_short_anywhere_is_passed_over_for_the_older(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    await kept.save(5, "i", sections())
    await kept.save(6, "i", sections(b"newer"))
    newest = files(tmp_path)[-1]
    content = newest.read_bytes()
    for length in range(len(content)):
        newest.write_bytes(content[:length])
        assert await kept.load() == (5, "i", sections()), length
    newest.write_bytes(content + b"\0")
    assert await kept.load() == (5, "i", sections()), "longer than it says"


async def test_one_with_any_altered_byte_is_passed_over(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    await kept.save(5, "i", sections())
    await kept.save(6, "i", sections(b"newer"))
    newest = files(tmp_path)[-1]
    content = newest.read_bytes()
    for index in range(len(content)):
        altered = bytearray(content)
        altered[index] ^= 1 << random.Random(index).randrange(8)
        newest.write_bytes(bytes(altered))
        assert await kept.load() == (5, "i", sections()), index


async def test_where_none_is_whole_there_is_none(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    await kept.save(5, "i", sections())
    files(tmp_path)[0].write_bytes(b"central-hub snapshot 1\n\xff\xff\xff\xff")
    assert await kept.load() is None


async def test_what_a_crash_leaves_unfinished_is_not_looked_at(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    await kept.save(5, "i", sections())
    whole = files(tmp_path)[0]
    whole.with_name(f"{9:020d}.new").write_bytes(whole.read_bytes()[:40])
    assert await kept.load() == (5, "i", sections())
    await kept.save(9, "i", sections(b"nine"))
    loaded = await kept.load()
    assert loaded is not None
    assert loaded[0] == 9


async def test_a_failed_save_leaves_the_old_one(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    await kept.save(5, "i", sections())
    unsealable = Section(view="names", domain=type(ACME)("nobody"), domain_seq=1, chunks=(b"x",))
    with pytest.raises(HubError):
        await kept.save(6, "i", [*sections(), unsealable])
    assert await kept.load() == (5, "i", sections())


async def test_the_file_holds_nothing_that_can_be_read(tmp_path: Path) -> None:
    kept = await snapshots_in(tmp_path)
    await kept.save(5, "i", sections())
    assert all(CANARY not in path.read_bytes() for path in files(tmp_path))


async def test_under_another_key_it_is_passed_over(tmp_path: Path) -> None:
    await (await snapshots_in(tmp_path)).save(5, "i", sections())
    other = KeyRing(os.urandom(KEY_BYTES), MemoryKeys())
    await other.ensure(ACME)
    assert await FileSnapshots(tmp_path / "snapshots", other).load() is None
