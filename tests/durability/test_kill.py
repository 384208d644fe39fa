"""The hub's process is killed under a load of writes: what it acknowledged is there when it is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.durability.killing import kill_again_and_again

SHORT_KILLS = 8
FULL_KILLS = 300
KILLS_A_STORE = 25


@pytest.mark.timing
@pytest.mark.timeout(240)
async def test_no_kill_loses_what_was_acknowledged(tmp_path: Path) -> None:
    outcome = await kill_again_and_again(tmp_path, kills=SHORT_KILLS, seed=1)
    assert outcome.violations == []
    assert outcome.kills == SHORT_KILLS
    assert outcome.acknowledged > 50, "there was hardly a load"


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(FULL_KILLS // KILLS_A_STORE))
async def test_no_kill_of_many_loses_what_was_acknowledged(tmp_path: Path, seed: int) -> None:
    outcome = await kill_again_and_again(tmp_path, kills=KILLS_A_STORE, seed=1_000 + seed)
    assert outcome.violations == []
