"""Many processes and one hub: what some see protects all, few try what may be back, and nothing hangs on the hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from central_hub import BreakerOpen, HubClient
from tests.sdk.conftest import Worker, until
from tests.sdk.test_real_hub import HubProcess

FLEET = 50


@dataclass
class Platform:
    """A hub, a service, and many clients of one tenant."""

    hub: HubProcess
    risk: Worker
    clients: list[HubClient]

    def states(self) -> set[str]:
        return {client.get_circuit_state("risk") for client in self.clients}

    async def call(self, client: HubClient) -> str:
        try:
            return str((await client.request("risk", "GET", "/limits")).status)
        except BreakerOpen:
            return "refused"


@asynccontextmanager
async def platform(
    tmp_path: Path, clients: int, *, tenant: str = "acme", open_s: float = 1.0
) -> AsyncIterator[Platform]:
    async with AsyncExitStack() as stack:
        hub = HubProcess(tmp_path, "--open")
        await hub.start()
        stack.push_async_callback(hub.kill)
        risk = Worker("risk", "risk-1")
        await risk.start()
        stack.push_async_callback(risk.kill)
        admin = await stack.enter_async_context(HubClient(hub.url, cache_dir=""))
        await admin.register_service(
            name="risk", host="127.0.0.1", port=risk.port, instance_id="risk-1", lease_ttl_s=600
        )
        await admin.command("POST", "/tenants", {"id": tenant, "name": tenant, "tier": "free"})
        for feature, value in (("breaker_open_s", open_s), ("breaker_failure_rate", 0.5)):
            await admin.command("PUT", f"/tenants/{tenant}/overrides/{feature}", {"value": value})
        fleet = [
            await stack.enter_async_context(HubClient(hub.url, tenant_id=tenant, cache_dir="", watch=("risk",)))
            for _ in range(clients)
        ]
        made = Platform(hub, risk, fleet)
        for client in fleet:
            assert await client.ready("risk", timeout=10)
        await asyncio.gather(*(made.call(client) for client in fleet))
        await asyncio.sleep(1.3)  # what was answered longer than a second ago speaks against nothing
        yield made


async def test_what_some_saw_protects_all_and_few_try_what_may_be_back(tmp_path: Path) -> None:
    async with platform(tmp_path, FLEET) as made:
        made.risk.status = 500
        for client in made.clients[:4]:
            for _ in range(4):
                await made.call(client)
        began_s = time.monotonic()
        await until(lambda: made.states() == {"OPEN"})
        assert time.monotonic() - began_s < 3.0
        seen = len(made.risk.seen)
        assert [await made.call(client) for client in made.clients] == ["refused"] * FLEET
        assert len(made.risk.seen) == seen, "nothing was sent"
        shown = await made.clients[0].ask("/circuits/risk")
        assert (shown["state"], shown["reason"]) == ("OPEN", "failures")
        # It is back, and all call at once, again and again.
        made.risk.status = 200
        await until(lambda: "OPEN" not in made.states())
        answers = await asyncio.gather(*(made.call(client) for client in made.clients))
        assert 1 <= answers.count("200") <= 5, answers
        for _ in range(100):
            if made.states() == {"CLOSED"}:
                break
            await asyncio.gather(*(made.call(client) for client in made.clients))
            await asyncio.sleep(0.05)
        assert made.states() == {"CLOSED"}
        assert (await made.clients[0].ask("/circuits/risk"))["state"] == "CLOSED"


async def test_probes_that_fail_are_few_too(tmp_path: Path) -> None:
    async with platform(tmp_path, FLEET) as made:
        made.risk.status = 500
        for client in made.clients[:4]:
            for _ in range(4):
                await made.call(client)
        await until(lambda: made.states() == {"OPEN"})
        before = len(made.risk.seen)
        until_s = time.monotonic() + 3.5
        while time.monotonic() < until_s:
            await asyncio.gather(*(made.call(client) for client in made.clients))
            await asyncio.sleep(0.05)
        rounds = 4
        assert len(made.risk.seen) - before <= 5 * rounds


async def test_without_the_hub_local_rules_hold(tmp_path: Path) -> None:
    async with platform(tmp_path, 6) as made:
        made.risk.status = 500
        for client in made.clients[:4]:
            for _ in range(4):
                await made.call(client)
        await until(lambda: made.states() == {"OPEN"})
        await made.hub.kill()
        made.risk.status = 200
        client = made.clients[5]
        for _ in range(100):
            await made.call(client)
            if client.get_circuit_state("risk") == "CLOSED":
                break
            await asyncio.sleep(0.05)
        assert client.get_circuit_state("risk") == "CLOSED"
        assert await made.call(client) == "200"


async def test_a_hub_that_starts_again_says_what_it_said(tmp_path: Path) -> None:
    async with platform(tmp_path, 4, open_s=60.0) as made:
        made.risk.status = 500
        for client in made.clients[:3]:
            for _ in range(4):
                await made.call(client)
        await until(lambda: made.states() == {"OPEN"})
        await made.hub.kill()
        await made.hub.start()
        async with HubClient(made.hub.url, tenant_id="acme", cache_dir="", watch=("risk",)) as newcomer:
            assert await newcomer.ready("risk", timeout=10)
            await until(lambda: newcomer.get_circuit_state("risk") == "OPEN")
            with pytest.raises(BreakerOpen):
                await newcomer.request("risk", "GET", "/limits")
