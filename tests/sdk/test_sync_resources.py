"""The blocking faces of capacity and budgets against the real hub as a process: from many threads, and exact."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from central_hub import (
    HubError,
    ResourceHandle,
    SyncHubClient,
    SyncResourceHandle,
    SyncTenantBudget,
    SyncTenantResourceManager,
    TenantBudget,
    TenantResourceLimitExceeded,
    TenantResourceManager,
)
from tests.sdk.test_real_hub import HubProcess

REQUESTS, CALLS = "concurrent_requests", "api_calls_per_hour"
HELD_MAX, CALLS_MAX = 10, 1_000
"""Of the free tier, which a tenant without a record has in open mode."""
THREADS = 8


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SyncHubClient]:
    while 3_600 - time.time() % 3_600 < 20:  # a test must not see two hours
        time.sleep(1)
    process = HubProcess(tmp_path, "--open")
    with asyncio.Runner() as runner:
        runner.run(process.start())
        try:
            with SyncHubClient(process.url, tenant_id="acme", cache_dir="") as client:
                yield client
        finally:
            runner.run(process.kill())


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [
        (SyncResourceHandle, ResourceHandle), (SyncTenantResourceManager, TenantResourceManager),
        (SyncTenantBudget, TenantBudget),
    ],
)  # fmt: skip
def test_both_faces_have_the_same_names_and_take_the_same(blocking: type, asynchronous: type) -> None:
    names = {name for name, _ in inspect.getmembers(asynchronous) if not name.startswith("_")}
    assert names <= {name for name, _ in inspect.getmembers(blocking)}
    for name in names:
        theirs = getattr(asynchronous, name)
        if inspect.isfunction(theirs):
            meant, found = inspect.signature(theirs), inspect.signature(getattr(blocking, name))
            assert [str(one) for one in meant.parameters.values()] == [str(one) for one in found.parameters.values()]


def test_what_is_held_is_missing_for_others_until_it_is_released(hub: SyncHubClient) -> None:
    resources = SyncTenantResourceManager(hub)
    with resources.allocate_resource(REQUESTS, 8, ttl_s=1) as held:
        with pytest.raises(TenantResourceLimitExceeded) as refused:
            resources.allocate_resource(REQUESTS, 3)
        assert (refused.value.used, refused.value.limit) == (8, HELD_MAX)
        time.sleep(1.5)  # renewed by the client's own thread
        assert (held.held, held.lost, held.released) == (True, False, False)
        assert not resources.check_resource_availability(REQUESTS, 3).available
    held.release()
    assert (held.held, held.released) == (False, True)
    assert resources.check_resource_availability(REQUESTS, HELD_MAX).available


def test_a_handle_learns_that_it_was_ended(hub: SyncHubClient) -> None:
    held = SyncTenantResourceManager(hub).allocate_resource(REQUESTS, ttl_s=1)
    hub.command("DELETE", f"/tenants/acme/allocations/{held.lease_id}")
    deadline = time.monotonic() + 5
    while not held.lost:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not held.held


def test_of_many_threads_as_many_get_in_as_fit(hub: SyncHubClient) -> None:
    resources = SyncTenantResourceManager(hub)
    barrier = threading.Barrier(THREADS)

    def take(_: int) -> list[SyncResourceHandle]:
        barrier.wait(10)
        found: list[SyncResourceHandle] = []
        for _ in range(5):
            try:
                found.append(resources.allocate_resource(REQUESTS))
            except TenantResourceLimitExceeded:
                continue
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        held = [one for taken in pool.map(take, range(THREADS)) for one in taken]
        assert len(held) == HELD_MAX
        list(pool.map(SyncResourceHandle.release, held))
    assert resources.check_resource_availability(REQUESTS, HELD_MAX).available


def test_exactly_the_limit_is_spent_by_many_threads(hub: SyncHubClient) -> None:
    with SyncTenantBudget(hub, CALLS) as budget:

        def spend_all(_: int) -> int:
            count = 0
            while True:
                try:
                    budget.admit()
                except TenantResourceLimitExceeded:
                    return count
                count += 1

        with ThreadPoolExecutor(THREADS) as pool:
            assert sum(pool.map(spend_all, range(THREADS))) == CALLS_MAX
        assert not budget.spend()
        assert (budget.admitted, budget.in_hand) == (CALLS_MAX, 0)
        assert budget.hub_calls <= 30
        assert isinstance(budget.refusal, TenantResourceLimitExceeded)


def test_a_budget_gives_back_what_it_did_not_spend(hub: SyncHubClient) -> None:
    with SyncTenantBudget(hub, CALLS) as budget:
        assert budget.spend(3)
        assert budget.in_hand > 0
    (used,) = [one["used"] for one in hub.ask("/tenants/acme/usage")["limits"] if one["name"] == CALLS]
    assert used == 3


def test_a_limit_that_is_not_there_is_said_by_name(hub: SyncHubClient) -> None:
    with pytest.raises(HubError) as refused:
        SyncTenantBudget(hub, "moonbeams").open()
    assert refused.value.code == "unknown_limit"


def test_closing_the_client_leaves_nothing_running(hub: SyncHubClient, caplog: pytest.LogCaptureFixture) -> None:
    with SyncHubClient(hub.base_url, tenant_id="acme", cache_dir="") as other:
        SyncTenantResourceManager(other).allocate_resource(REQUESTS, ttl_s=1)
        changes = other.config_changes()
        next(changes)
        loop = other._loop
    assert asyncio.all_tasks(loop) == set()
    assert "was destroyed" not in caplog.text
