"""Capacity through the SDK against the real hub as a process: held, refused, lost, and given back by the dead."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from central_hub import HubClient, HubError, TenantResourceLimitExceeded, TenantResourceManager
from tests.sdk.conftest import until
from tests.sdk.test_real_hub import HubProcess

REQUESTS = "concurrent_requests"
LIMIT = 10
"""Of the free tier, which a tenant without a record has in open mode."""

HOLDER = """
import asyncio, sys
from central_hub import HubClient, TenantResourceManager

async def main():
    async with HubClient(sys.argv[1], tenant_id="acme", cache_dir="") as hub:
        await TenantResourceManager(hub).allocate_resource("concurrent_requests", 7, ttl_s=2)
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[HubProcess]:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    yield process
    await process.kill()


@pytest.fixture
async def client(process: HubProcess) -> AsyncIterator[HubClient]:
    async with HubClient(process.url, tenant_id="acme", cache_dir="") as client:
        yield client


async def test_what_is_held_is_missing_for_others_until_it_is_released(client: HubClient) -> None:
    resources = TenantResourceManager(client)
    async with await resources.allocate_resource(REQUESTS, 8) as held:
        assert held.held
        there = await resources.check_resource_availability(REQUESTS, 3)
        assert (there.available, there.used, there.limit, there.remaining) == (False, 8, LIMIT, 2)
        with pytest.raises(TenantResourceLimitExceeded) as refused:
            await resources.allocate_resource(REQUESTS, 3)
        assert (refused.value.used, refused.value.limit) == (8, LIMIT)
        assert refused.value.resets_at is not None
        other = await resources.allocate_resource(REQUESTS, 2)
        assert other.fencing_token > held.fencing_token
        await other.release()
        await other.release()
    assert not held.held
    assert (await resources.check_resource_availability(REQUESTS, LIMIT)).available


async def test_of_many_at_once_as_many_get_in_as_fit(client: HubClient) -> None:
    resources = TenantResourceManager(client)
    tried = await asyncio.gather(*(resources.allocate_resource(REQUESTS) for _ in range(40)), return_exceptions=True)
    assert sum(isinstance(one, TenantResourceLimitExceeded) for one in tried) == 40 - LIMIT
    await asyncio.gather(*(one.release() for one in tried if not isinstance(one, BaseException)))


async def test_what_the_plan_does_not_grant_is_said_by_name(client: HubClient) -> None:
    resources = TenantResourceManager(client)
    for call in (resources.allocate_resource, resources.check_resource_availability):
        with pytest.raises(HubError) as refused:
            await call("moonbeams")
        assert refused.value.code == "unknown_resource"


async def test_a_handle_outlives_its_ttl_and_learns_that_it_was_ended(client: HubClient) -> None:
    resources = TenantResourceManager(client)
    held = await resources.allocate_resource(REQUESTS, LIMIT, ttl_s=1)
    await asyncio.sleep(2.5)
    assert held.held
    assert not (await resources.check_resource_availability(REQUESTS)).available
    await client.command("DELETE", f"/tenants/acme/allocations/{held.lease_id}")
    async with asyncio.timeout(3):
        await held.lost.wait()
    assert not held.held
    await held.release()


async def test_a_hub_that_is_killed_and_comes_back_still_holds_it(process: HubProcess, client: HubClient) -> None:
    resources = TenantResourceManager(client)
    held = await resources.allocate_resource(REQUESTS, LIMIT, ttl_s=10)
    await process.kill()
    await process.start()
    with pytest.raises(TenantResourceLimitExceeded):
        await resources.allocate_resource(REQUESTS)
    assert held.held
    await held.release()
    assert (await (await resources.allocate_resource(REQUESTS, LIMIT)).release()) is None


async def test_a_handle_whose_hub_stays_away_is_lost_after_its_ttl(process: HubProcess, client: HubClient) -> None:
    held = await TenantResourceManager(client).allocate_resource(REQUESTS, ttl_s=1)
    await process.kill()
    began = time.monotonic()
    async with asyncio.timeout(5):
        await held.lost.wait()
    assert time.monotonic() - began <= 1.5
    await held.release()


async def test_what_a_killed_process_held_comes_back(process: HubProcess, client: HubClient) -> None:
    resources = TenantResourceManager(client)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, process.url, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    await asyncio.sleep(3)
    assert (await resources.check_resource_availability(REQUESTS)).used == 7  # it has been renewed
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    killed_s = time.monotonic()
    async with asyncio.timeout(10):
        while (await resources.check_resource_availability(REQUESTS)).used:
            await asyncio.sleep(0.05)
    assert time.monotonic() - killed_s <= 3.0


async def test_a_credential_without_a_tenant_has_to_name_one(process: HubProcess) -> None:
    async with HubClient(process.url, cache_dir="") as client:
        with pytest.raises(HubError) as refused:
            await TenantResourceManager(client).allocate_resource(REQUESTS)
        assert refused.value.code == "tenant_required"
        named = await TenantResourceManager(client, "globex").allocate_resource(REQUESTS)
        await named.release()
        await until(lambda: named.released)
