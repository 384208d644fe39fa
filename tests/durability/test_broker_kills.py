"""Brokers are killed while a hub relays to them: nothing acknowledged is lost, and order and ids hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import MAKERS, Got, KafkaPlace, Place, started
from tests.durability.broker_kills import Ledger, kill_brokers, violations_of
from tools.broker_servers import KafkaServer

SHORT_KILLS = 5
FULL_KILLS = 100
KAFKA: dict[str, Callable[[], Place]] = {"kafka": lambda: KafkaPlace(KafkaServer())}


@pytest.mark.timing
@pytest.mark.timeout(240)
@pytest.mark.parametrize("broker", ["nats-current", "redis"])
async def test_no_kill_of_a_broker_loses_or_reorders_events(broker: str, tmp_path: Path) -> None:
    for place in started(MAKERS[broker]):
        outcome = await kill_brokers(tmp_path, place, kills=SHORT_KILLS, seed=1)
        assert outcome.violations == []
        assert outcome.acknowledged > 50, "there was hardly a load"
        assert outcome.hub_kills == 1


@pytest.mark.slow
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("broker", [*MAKERS, *KAFKA])
async def test_no_kill_of_many_loses_or_reorders_events(broker: str, tmp_path: Path) -> None:
    for place in started((MAKERS | KAFKA)[broker]):
        outcome = await kill_brokers(tmp_path, place, kills=FULL_KILLS, seed=100)
        print(outcome)
        assert outcome.violations == []
        assert outcome.kills == FULL_KILLS


def there(number: int, record: str, tenant: str = "t") -> Got:
    return Got(record, "", "", {"tenantid": tenant, "subject": "s", "data": {"n": number}})


def test_the_checker_finds_what_it_looks_for() -> None:
    ledger = Ledger(acknowledged={("t", "s"): [1, 2]}, sent={("t", "s"): 3})
    assert violations_of([there(1, "a"), there(2, "b")], ledger) == []
    assert violations_of([there(1, "a"), there(2, "b"), there(1, "a"), there(3, "c")], ledger) == []
    assert violations_of([there(1, "a")], ledger) == ["('t', 's'): [2] were acknowledged and are not there"]
    assert violations_of([there(2, "b"), there(1, "a")], ledger) == ["('t', 's'): what is there is not in order"]
    assert violations_of([there(1, "a"), there(2, "b"), there(1, "c")], ledger)
    assert violations_of([there(1, "a"), there(2, "a")], ledger) == ["two events have one id"]
    assert violations_of([there(1, "a"), there(2, "b"), there(4, "d")], ledger) == ["('t', 's'): 4 was never sent"]
    assert violations_of([there(1, "a"), there(2, "b"), there(1, "c", "other")], ledger)
