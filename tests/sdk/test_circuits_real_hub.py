"""Breakers beside a real hub: what the tenant's plan says holds, and the hub's death changes nothing about that."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web

from central_hub import BaseService, BreakerOpen, HubClient, ServiceConfig
from tests.sdk.conftest import until
from tests.sdk.test_real_hub import HubProcess


@pytest.mark.parametrize(("tier", "open_s"), [("free", 60), ("pro", 30), ("enterprise", 10)])
async def test_a_real_service_that_fails_slows_down_and_recovers(tmp_path: Path, tier: str, open_s: float) -> None:
    hub = HubProcess(tmp_path, "--open")
    await hub.start()
    risk = BaseService(
        ServiceConfig("risk", port=0, instance_id="risk-1"), HubClient(hub.url, cache_dir=tmp_path / "risk")
    )
    mood = {"status": 200, "delay_s": 0.0}

    @risk.handle("GET", "/limits")
    async def limits(_: web.Request) -> web.Response:
        await asyncio.sleep(mood["delay_s"])
        return web.json_response({"limit": 5}, status=int(mood["status"]))

    serving = asyncio.create_task(risk.serve())
    client = HubClient(hub.url, tenant_id="acme", tier=tier, cache_dir=tmp_path / "client")
    try:
        async with client:
            assert await client.ready("risk", timeout=10)
            assert (await client.request("risk", "GET", "/limits")).status == 200
            await until(lambda: "acme" in client._circuits._plans)
            await hub.kill()
            # It fails.
            mood["status"] = 500
            for _ in range(6):
                assert (await client.request("risk", "GET", "/limits")).status == 500
            with pytest.raises(BreakerOpen):
                await client.request("risk", "GET", "/limits")
            (circuit,) = client.circuit_states()
            assert circuit.since is not None
            assert circuit.until is not None
            assert (circuit.until - circuit.since).total_seconds() == pytest.approx(open_s, abs=0.01)
            # It recovers, and is slow.
            client.tune_circuit("risk", open_s=0.2, slow_call_s=0.05)
            client.force_circuit("risk", "OPEN")
            mood.update(status=200, delay_s=0.1)
            await asyncio.sleep(0.25)
            while client.get_circuit_state("risk") == "HALF_OPEN":
                await client.request("risk", "GET", "/limits")
            assert client.get_circuit_state("risk") == "OPEN"
            # It recovers altogether.
            mood["delay_s"] = 0.0
            until_s = time.monotonic() + 10
            while client.get_circuit_state("risk") != "CLOSED" and time.monotonic() < until_s:
                if client.get_circuit_state("risk") == "HALF_OPEN":
                    await client.request("risk", "GET", "/limits")
                await asyncio.sleep(0.02)
            assert client.get_circuit_state("risk") == "CLOSED"
    finally:
        risk.config = ServiceConfig("risk", drain_s=0.1)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await risk.hub.close()
        await hub.kill()
