"""Secrets in the SDK against a real hub: read by path, put in the place of references, never on disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from central_hub import HubClient, HubError, SyncHubClient
from tests.sdk.test_real_hub import HubProcess

VALUE = "correct-horse-battery-staple"
SCHEMA = {
    "type": "object",
    "properties": {"password": {"type": "string", "x-hub-secret": True}, "host": {"type": "string"}},
}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    hub = HubProcess(tmp_path, "--open")
    await hub.start()
    async with HubClient(hub.url, cache_dir="") as operator:
        await operator.command("POST", "/tenants", {"id": "acme", "name": "Acme", "tier": "pro"})
        await operator.command("PUT", "/config/schemas/database", SCHEMA)
        await operator.command("PUT", "/tenants/acme/secrets/value?path=db/password", {"value": VALUE})
    yield hub
    with contextlib.suppress(ProcessLookupError):
        await hub.kill()


async def test_a_configuration_is_resolved_in_memory_and_nothing_of_it_is_on_disk(
    hub: HubProcess, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    async with HubClient(hub.url, cache_dir=cache, tenant_id="acme") as client:
        layer = await client.ask("/config/layers/tenant/acme")
        change = {"layer": {"tenant": "acme"}, "if_match": layer["etag"]}
        document = {"database": {"password": {"$secret": "db/password"}, "host": "db.internal"}}
        async with HubClient(hub.url, cache_dir="") as operator:
            await operator.command("POST", "/config/changes", {"changes": [{**change, "document": document}]})
        async with asyncio.timeout(10):
            while (await client.config()).get("database") != document["database"]:
                await asyncio.sleep(0.02)
        config = await client.config()
        resolved = await client.resolved(config)
        assert resolved["database"] == {"password": VALUE, "host": "db.internal"}
        assert config["database"]["password"] == {"$secret": "db/password"}
        assert await client.secret("db/password") == VALUE
        assert VALUE not in repr(client._secrets)  # pyright: ignore[reportPrivateUsage]  # what a debugger prints
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert kept
    assert all(VALUE.encode() not in path.read_bytes() for path in kept)


async def test_what_was_read_is_there_while_the_hub_is_away(hub: HubProcess) -> None:
    async with HubClient(hub.url, cache_dir="", tenant_id="acme") as client:
        assert await client.secret("db/password") == VALUE
        await hub.kill()
        assert await client.secret("db/password") == VALUE
        with pytest.raises(HubError, match="hub_unreachable"):
            await client.secret("db/other")


async def test_what_is_gone_is_not_handed_out_again(hub: HubProcess) -> None:
    async with HubClient(hub.url, cache_dir="", tenant_id="acme") as client:
        assert await client.secret("db/password") == VALUE
        await client.command("DELETE", "/tenants/acme/secrets/value?path=db/password")
        with pytest.raises(HubError, match="secret_not_found"):
            await client.secret("db/password")
        await hub.kill()
        with pytest.raises(HubError, match="hub_unreachable"):
            await client.secret("db/password")


async def test_a_client_of_no_tenant_has_to_name_one(hub: HubProcess) -> None:
    async with HubClient(hub.url, cache_dir="") as client:
        with pytest.raises(HubError, match="tenant_required"):
            await client.secret("db/password")


async def test_the_synchronous_client_reads_them_too(hub: HubProcess) -> None:
    def read() -> tuple[str, object]:
        with SyncHubClient(hub.url, cache_dir="", tenant_id="acme") as client:
            return client.secret("db/password"), client.resolved({"a": {"$secret": "db/password"}, "b": [1]})

    assert await asyncio.to_thread(read) == (VALUE, {"a": VALUE, "b": [1]})
