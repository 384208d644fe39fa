"""The hub is killed while it delivers webhooks: nothing acknowledged is lost, and order and ids hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.durability.webhook_kills import kill_while_delivering, violations_of

SHORT_KILLS = 5
FULL_KILLS = 100
KILLS_A_STORE = 25


@pytest.mark.timing
@pytest.mark.timeout(240)
async def test_no_kill_loses_or_reorders_what_endpoints_are_told(tmp_path: Path) -> None:
    outcome = await kill_while_delivering(tmp_path, kills=SHORT_KILLS, seed=1)
    assert outcome.violations == []
    assert outcome.acknowledged > 50, "there was hardly a load"
    assert outcome.delivered >= 2 * outcome.acknowledged


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", range(FULL_KILLS // KILLS_A_STORE))
async def test_no_kill_of_many_loses_or_reorders(tmp_path: Path, seed: int) -> None:
    outcome = await kill_while_delivering(tmp_path, kills=KILLS_A_STORE, seed=100 + seed)
    assert outcome.violations == []


def told(name: str, seq: int, message_id: str, tenant: str = "t") -> dict[str, Any]:
    event = {"id": message_id, "hubseq": f"i.{seq}", "tenantid": tenant, "data": {"name": name}}
    return {"path": "/t/0", "id": message_id, "event": event}


def test_the_checker_finds_what_it_looks_for() -> None:
    first, second = told("a", 1, "1"), told("b", 2, "2")
    assert violations_of("/t/0", [first, second], ["a", "b"]) == []
    assert violations_of("/t/0", [first, first, second, first], ["a", "b"]) == []
    assert violations_of("/t/0", [first], ["a", "b"]) == ["/t/0: 'b' was acknowledged and never told"]
    assert violations_of("/t/0", [second, first], ["a", "b"])
    assert violations_of("/t/0", [first, told("a", 2, "2")], ["a"])
    assert violations_of("/t/0", [told("a", 1, "1", "other")], ["a"])
