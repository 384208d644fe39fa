"""The event of a dependency that was seen for the first time."""

from __future__ import annotations

import asyncio

import pytest

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.records import Category
from central_hub.registry import first_lookups
from central_hub.registry.first_lookups import WAITING_MAX, FirstLookups
from tests.unit.registry.house import opened
from tests.unit.registry.support import ACME


async def test_a_pair_becomes_one_event_and_changes_no_view() -> None:
    async with opened() as house:
        lookups = FirstLookups(house.sequencer)
        running = asyncio.create_task(lookups.run())
        lookups.seen(ACME, "gateway", "risk")
        while not house.log.records:
            await asyncio.sleep(0.001)
        running.cancel()
        (record,) = house.log.records
        assert (record.type, record.category, record.domain) == ("ServiceDependencyResolved", Category.EVENT, ACME)
        assert house.view.take_changes() == {}


async def test_while_the_store_is_away_pairs_wait_and_past_the_limit_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(first_lookups, "RETRY_S", 0.01)
    async with opened() as house:
        house.log.fail_with = HubError("store_unavailable", Kind.UNAVAILABLE, "away")
        lookups = FirstLookups(house.sequencer)
        running = asyncio.create_task(lookups.run())
        for number in range(WAITING_MAX + 1):
            lookups.seen(ACME, f"s-{number}", "risk")
        await asyncio.sleep(0.03)
        assert lookups.dropped == 1
        assert not house.log.records
        house.log.fail_with = None
        while not house.log.records:
            await asyncio.sleep(0.001)
        running.cancel()
