"""The hub is killed while it is published to: every acknowledged event is there, once, and in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.durability.event_kills import kill_while_publishing, violations_of

SHORT_KILLS = 5
FULL_KILLS = 200
KILLS_A_STORE = 25


@pytest.mark.timing
@pytest.mark.timeout(240)
async def test_no_kill_loses_or_doubles_an_event(tmp_path: Path) -> None:
    outcome = await kill_while_publishing(tmp_path, kills=SHORT_KILLS, seed=1)
    assert outcome.violations == []
    assert outcome.acknowledged > 50, "there was hardly a load"
    assert outcome.in_doubt > 0, "no kill met a write"


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", range(FULL_KILLS // KILLS_A_STORE))
async def test_no_kill_of_many_loses_or_doubles_an_event(tmp_path: Path, seed: int) -> None:
    outcome = await kill_while_publishing(tmp_path, kills=KILLS_A_STORE, seed=100 + seed)
    assert outcome.violations == []


def test_the_checker_finds_what_it_looks_for() -> None:
    sent = ["t-0-0-0", "t-0-0-1", "t-1-0-0"]
    assert violations_of("t", ["t-0-0-0", "t-1-0-0", "t-0-0-1"], sent) == []
    assert "lost" in violations_of("t", sent[:2], sent)[0]
    assert "twice" in violations_of("t", [*sent, sent[0]], sent)[0]
    assert "nobody" in violations_of("t", [*sent, "other-0-0-0"], sent)[0]
    assert "order" in violations_of("t", [sent[1], sent[0], sent[2]], sent)[0]
