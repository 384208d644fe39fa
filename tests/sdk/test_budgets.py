"""Budgets spent by services themselves, against the real hub as a process: exact, cheap, and safe while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from central_hub import HubClient, HubError, TenantBudget, TenantResourceLimitExceeded
from central_hub.sdk import budgets
from tests.sdk.conftest import until
from tests.sdk.test_real_hub import HubProcess

CALLS = "api_calls_per_hour"
LIMIT = 1_000
"""Of the free tier, which a tenant without a record has in open mode."""


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[HubProcess]:
    while 3_600 - time.time() % 3_600 < 20:  # a test must not see two hours
        await asyncio.sleep(1)
    process = HubProcess(tmp_path, "--open")
    await process.start()
    yield process
    await process.kill()


@pytest.fixture
async def client(process: HubProcess) -> AsyncIterator[HubClient]:
    async with HubClient(process.url, tenant_id="acme", cache_dir="") as client:
        yield client


async def used(client: HubClient) -> int:
    usage = await client.ask("/tenants/acme/usage")
    (found,) = [limit["used"] for limit in usage["limits"] if limit["name"] == CALLS]
    return found


async def spend_all(budget: TenantBudget) -> int:
    """Spend until the limit is used up; returns how much that was."""
    count = 0
    while True:
        try:
            await budget.admit()
        except TenantResourceLimitExceeded:
            return count
        count += 1


async def test_exactly_the_limit_is_spent_by_all_together(client: HubClient) -> None:
    spenders = [TenantBudget(client, CALLS) for _ in range(4)]
    await asyncio.gather(*(one.open() for one in spenders))
    counts = await asyncio.gather(*(spend_all(one) for one in spenders))
    assert sum(counts) == LIMIT
    assert sum(one.hub_calls for one in spenders) <= 60
    assert await used(client) == LIMIT
    refusal = spenders[0].refusal
    assert isinstance(refusal, TenantResourceLimitExceeded)
    assert (refusal.used, refusal.limit) == (LIMIT, LIMIT)
    await asyncio.gather(*(one.close() for one in spenders))


async def test_a_decision_asks_nobody(client: HubClient) -> None:
    async with TenantBudget(client, CALLS) as budget:
        for _ in range(30):
            assert budget.spend()
        assert budget.hub_calls == 1
        assert budget.in_hand == budgets.WANTED_FIRST - 30


async def test_a_large_amount_is_spent_across_slices(client: HubClient) -> None:
    async with TenantBudget(client, CALLS) as budget:
        await budget.admit(budgets.WANTED_FIRST - 10)
        await until(lambda: budget.in_hand > 80)
        before = budget.in_hand
        assert budget.spend(60)
        assert budget.in_hand == before - 60
        assert not budget.spend(LIMIT)


async def test_what_is_not_needed_comes_back(client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "IDLE_S", 0.2)
    async with TenantBudget(client, CALLS) as idle:
        assert idle.spend(50)
        await until(lambda: idle.in_hand == 0)
        assert await used(client) == 50
        await idle.admit()
    assert await used(client) == 51


async def test_while_the_hub_is_away_what_is_in_hand_is_spent_and_no_more(
    process: HubProcess, client: HubClient
) -> None:
    budget = TenantBudget(client, CALLS)
    await budget.open()
    await process.kill()
    assert sum(budget.spend() for _ in range(LIMIT)) == budgets.WANTED_FIRST
    with pytest.raises(HubError) as refused:
        await budget.admit(wait_s=0.5)
    assert refused.value.code == "hub_unreachable"
    await process.start()
    await asyncio.sleep(budgets.AWAY_RETRY_S)
    rest = 0
    async with asyncio.timeout(15):
        while not isinstance(budget.refusal, TenantResourceLimitExceeded) or budget.in_hand:
            rest += budget.spend()
            await asyncio.sleep(0)
    # The rest of the block that the hub held when it died is lost: a hundredth of the limit at most.
    assert LIMIT - LIMIT // 100 <= budgets.WANTED_FIRST + rest <= LIMIT
    await budget.close()


async def test_a_slice_is_not_spent_after_its_time(client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async with TenantBudget(client, CALLS) as budget:
        assert budget.spend()
        later_s = time.monotonic() + 3_601
        monkeypatch.setattr(budgets, "time", SimpleNamespace(monotonic=lambda: later_s))
        assert not budget.spend()
        assert budget.in_hand == 0


async def test_a_limit_that_is_none_is_said_at_once(client: HubClient) -> None:
    with pytest.raises(HubError) as refused:
        await TenantBudget(client, "moonbeams_per_hour").open()
    assert refused.value.code == "unknown_limit"


async def test_while_the_limit_is_used_up_the_hub_is_hardly_asked(client: HubClient) -> None:
    async with TenantBudget(client, CALLS) as budget:
        await spend_all(budget)
        calls = budget.hub_calls
        for _ in range(50_000):
            budget.spend()
            if _ % 100 == 0:
                await asyncio.sleep(0)
        assert budget.hub_calls <= calls + 1
