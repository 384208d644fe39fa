"""A shredded tenant's records open nowhere any more, and the hub starts over them as if they were not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from central_hub.adapters.stores import open_directory
from central_hub.app import Hub, build
from central_hub.edge.operations import Headers
from central_hub.edge.pipeline import Request
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import associated_data
from central_hub.settings import Settings

ACME, GLOBEX = DomainId("acme"), DomainId("globex")


@asynccontextmanager
async def started(directory: Path) -> AsyncIterator[Hub]:
    hub = build(Settings(data=directory, open=True), await open_directory(directory, incarnation="i"))
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


async def ask(
    hub: Hub, method: str, path: str, body: Any = None, *, tenant: str = "", if_match: str = ""
) -> tuple[int, Any]:
    data = b"" if body is None else msgspec.json.encode(body)

    async def read(limit: int) -> bytes:
        return data

    lines = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    if if_match:
        lines.append((b"if-match", if_match.encode()))
    if tenant:
        lines.append((b"x-tenant-id", tenant.encode()))
    answer = await hub.pipeline.answer(Request(method, path, path.encode(), b"", Headers(lines), "127.0.0.1", read))
    return answer.status, msgspec.json.decode(answer.body) if answer.body else None


async def furnish(hub: Hub) -> None:
    for name in ("acme", "globex"):
        made = {"id": name, "name": name, "tier": "pro", "first_key": {"name": "k"}}
        assert (await ask(hub, "POST", "/tenants", made))[0] == 201
        service = {"name": "risk", "host": "10.0.0.1", "port": 80, "lease_ttl_s": 3_600}
        assert (await ask(hub, "POST", "/services/register", service, tenant=name))[0] == 201
        held = {"resource": "concurrent_requests", "amount": 3, "ttl_s": 600}
        assert (await ask(hub, "POST", f"/tenants/{name}/allocations", held))[0] == 201
        assert (await ask(hub, "PUT", f"/tenants/{name}/overrides/advanced_ai", {"value": True}))[0] == 200
        layer = {"rate_limits": {"api_calls_per_hour": 7}}
        answer = await ask(hub, "PUT", f"/config/layers/tenant/{name}", layer, if_match="*")
        assert answer[0] == 200, answer
        flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
        await ask(hub, "PUT", "/flags/beta", flag)
        assert (await ask(hub, "PUT", f"/tenants/{name}/flags/beta", {"variant": "on"}))[0] == 200


async def check_gone(hub: Hub) -> None:
    assert (await ask(hub, "GET", "/tenants/acme"))[0] == 404
    assert (await ask(hub, "POST", "/tenants", {"id": "acme", "name": "acme", "tier": "pro"}))[0] == 409
    assert (await ask(hub, "GET", "/tenants/globex"))[0] == 200
    assert (await ask(hub, "GET", "/services/risk", tenant="globex"))[0] == 200
    assert hub.core.plans.above(ACME).is_empty
    assert (not hub.core.configuration.layers(ACME), not hub.core.flags.overrides(ACME)) == (True, True)
    assert hub.core.configuration.layers(GLOBEX)
    assert hub.core.flags.overrides(GLOBEX)
    assert hub.core.registry.count_instances(ACME) == 0
    assert hub.core.quotas.count_leases(ACME) == 0
    records = await hub.core.stores.log.read_domain(ACME, 0, 1_000)
    assert records
    for record in records:
        with pytest.raises(HubError):
            hub.core.stores.sealer.open(ACME, record.key_id, record.data, associated_data(ACME, record.id, record.type))
    assert (await hub.core.stores.log.verify(ACME)).broken_at is None
    assert (await hub.core.stores.log.verify(GLOBEX)).broken_at is None


@pytest.mark.parametrize("snapshot_before", [False, True], ids=["from the log", "over a snapshot"])
async def test_the_hub_starts_over_what_was_shredded(tmp_path: Path, *, snapshot_before: bool) -> None:
    async with started(tmp_path) as hub:
        await furnish(hub)
    if not snapshot_before:
        for file in (tmp_path / "snapshots").glob("*"):
            file.unlink()
    async with started(tmp_path) as hub:
        assert (await ask(hub, "DELETE", "/tenants/acme"))[0] == 200
        assert hub.core.registry.count_instances(ACME) == 0
        assert (await ask(hub, "POST", "/tenants/acme/shred", {"confirm": "acme"}))[0] == 204
        await check_gone(hub)
        await hub._snapshot()  # pyright: ignore[reportPrivateUsage]  # as it is taken by and by
        await ask(hub, "GET", "/tenants")
    for _ in range(2):
        async with started(tmp_path) as hub:
            await check_gone(hub)
            assert (await ask(hub, "POST", "/tenants", {"id": "initech", "name": "n", "tier": "free"}))[0] == 201
        (list((tmp_path / "snapshots").glob("*")) or [tmp_path / "none"])[-1].unlink(missing_ok=True)


async def test_refusals_of_a_shredded_tenant_do_not_hold_up_the_journal(tmp_path: Path) -> None:
    async with started(tmp_path) as hub:
        await furnish(hub)
        assert (await ask(hub, "GET", "/tenants", tenant="acme"))[0] == 403
        assert (await ask(hub, "GET", "/tenants", tenant="globex"))[0] == 403
        await ask(hub, "DELETE", "/tenants/acme")
        await ask(hub, "POST", "/tenants/acme/shred", {"confirm": "acme"})
        assert await hub.core.denials.flush(before_ms=hub.core.clock.now_ms()) == 2
        await asyncio.sleep(0)
        records = await hub.core.stores.log.read_domain(GLOBEX, 0, 1_000)
        assert records[-1].type == "AccessDenied"
