"""The hub is killed while consumers acknowledge: nothing is lost, and what was acknowledged does not come again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.durability.subscription_kills import kill_while_consuming

SHORT_KILLS = 5
FULL_KILLS = 200
KILLS_A_STORE = 25


@pytest.mark.timing
@pytest.mark.timeout(240)
async def test_no_kill_loses_an_event_or_brings_one_back(tmp_path: Path) -> None:
    outcome = await kill_while_consuming(tmp_path, kills=SHORT_KILLS, seed=1)
    assert outcome.violations == []
    assert len(outcome.acked) > 100, "there was hardly a load"
    assert outcome.in_doubt > 0, "no kill met an acknowledgement"


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", range(FULL_KILLS // KILLS_A_STORE))
async def test_no_kill_of_many_loses_an_event_or_brings_one_back(tmp_path: Path, seed: int) -> None:
    outcome = await kill_while_consuming(tmp_path, kills=KILLS_A_STORE, seed=100 + seed)
    assert outcome.violations == []
