"""Cursors: one suite for both keepers, and what a file goes through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from central_hub.adapters.cursor_store import FileCursors, MemoryCursors
from central_hub.kernel.cursors import Cursor
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId


def cursor(consumer: str, seq: int, *, state: bytes = b"", domain: str = "acme") -> Cursor:
    return Cursor(consumer=consumer, domain=DomainId(domain), seq=seq, state=state)


@pytest.fixture(params=["file", "memory"])
async def cursors(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileCursors | MemoryCursors]:
    kept = FileCursors(tmp_path / "cursors.db", "inc1") if request.param == "file" else MemoryCursors()
    yield kept
    await kept.close()


async def test_what_is_kept_comes_back(cursors: FileCursors | MemoryCursors) -> None:
    assert await cursors.load() == []
    await cursors.save([cursor("a", 1), cursor("b", 2, state=b"\x00s", domain="globex")])
    await cursors.save([cursor("a", 3)])
    assert sorted(await cursors.load(), key=lambda one: one.consumer) == [
        cursor("a", 3), cursor("b", 2, state=b"\x00s", domain="globex"),
    ]  # fmt: skip


async def test_what_is_dropped_is_gone(cursors: FileCursors | MemoryCursors) -> None:
    await cursors.save([cursor("a", 1), cursor("b", 2)])
    await cursors.save([cursor("c", 3)], dropped=["a", "nobody"])
    assert {one.consumer for one in await cursors.load()} == {"b", "c"}


async def test_a_file_is_read_again_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "cursors.db"
    first = FileCursors(path, "inc1")
    await first.save([cursor("a", 1)])
    await first.close()
    again = FileCursors(path, "inc1")
    assert await again.load() == [cursor("a", 1)]
    await again.close()
    assert path.stat().st_mode & 0o077 == 0


async def test_cursors_of_another_history_are_not_shown(tmp_path: Path) -> None:
    first = FileCursors(tmp_path / "cursors.db", "inc1")
    await first.save([cursor("a", 1)])
    await first.close()
    other = FileCursors(tmp_path / "cursors.db", "inc2")
    assert await other.load() == []
    await other.save([cursor("a", 7)])
    assert await other.load() == [cursor("a", 7)]
    await other.close()


async def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "cursors.db"
    path.write_bytes(b"this is no database, and it is long enough to be taken for one" * 99)
    kept = FileCursors(path, "inc1")
    assert await kept.load() == []
    await kept.save([cursor("a", 1)])
    assert await kept.load() == [cursor("a", 1)]
    await kept.close()
    assert path.with_suffix(".damaged").exists()


async def test_a_directory_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    kept = FileCursors(tmp_path / "missing" / "cursors.db", "inc1")
    with pytest.raises(HubError) as refused:
        await kept.load()
    assert refused.value.code == "store_unavailable"
    await kept.close()
