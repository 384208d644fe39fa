"""A store of each kind, open and empty."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.logs import STORES, House, MemoryHouse, PostgresHouse, SqliteHouse


@pytest.fixture(params=STORES)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    made: House
    if request.param == "postgres":
        made = PostgresHouse(request.getfixturevalue("database"))
    else:
        made = MemoryHouse(tmp_path) if request.param == "memory" else SqliteHouse(tmp_path)
    await made.open()
    yield made
    await made.close()
