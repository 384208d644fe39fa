"""A store of each kind, open and empty."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.logs import HOUSES, House


@pytest.fixture(params=sorted(HOUSES))
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    made = HOUSES[request.param](tmp_path)
    await made.open()
    yield made
    await made.close()
