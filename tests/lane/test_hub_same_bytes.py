"""The lane and the framework of the whole hub answer the same bytes; two hubs with the same history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from uvicorn.server import ServerState

from central_hub.adapters.stores import in_memory
from central_hub.app import Hub, build
from central_hub.edge.connection import CarrierProtocol
from central_hub.edge.lane.protocol import LaneProtocol
from central_hub.edge.server import LaneMode, configure
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.ids import PLATFORM
from central_hub.settings import Settings
from tests.lane.requests import script
from tests.lane.world import DATE, MemoryTransport

REQUESTS = int(os.environ.get("HUB_TEST_HUB_REQUESTS", "3000"))
"""The full form is 50000."""


class Side:
    """One hub, served in memory with the lane or without."""

    def __init__(self, *, lane: bool) -> None:
        self.clock = ManualClock()
        self.random = random.Random(1)
        self.bytes = random.Random(2)
        settings = Settings(reads_per_tenant_s=10_000_000.0, writes_per_tenant_s=10_000_000.0)
        self.hub: Hub = build(
            settings, in_memory(), clock=self.clock, draw=self.random.getrandbits, source=self.bytes.randbytes
        )
        mode = LaneMode.PROTOCOL if lane else LaneMode.ASGI
        self.config = configure(self.hub.edge, mode=mode, lane=self.hub.lane)
        self.config.load()
        self.state = ServerState()
        self.state.default_headers = list(DATE)
        self.lane = lane
        self.keys: dict[str, str] = {}

    async def __aenter__(self) -> Side:
        await self.hub.core.stores.sealer.ensure(PLATFORM)
        await self.hub.core.runner.start(self.hub.core.stores.snapshots)
        await self.hub.edge.load()
        self.hub.open_for_an_hour()  # without what runs by the real clock
        self._committing = asyncio.create_task(self.hub.core.sequencer.run())
        await self._fill()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hub.core.sequencer.close()
        await self._committing

    async def _fill(self) -> None:
        for tenant, tier in (("acme", "pro"), ("globex", "free"), ("initech", "enterprise")):
            await self.call("POST", "/tenants", {"id": tenant, "name": tenant, "tier": tier})
            self.keys[tenant] = (await self.call("POST", f"/tenants/{tenant}/keys", {"name": "k"}))["api_key"]
        blind = await self.call("POST", "/tenants/acme/keys", {"name": "blind", "scopes": ["config:read"]})
        self.keys["blind"] = blind["api_key"]
        root = self.hub.bootstrap_token
        for name, key, more in (
            ("risk", root, {}), ("gold", root, {"subscription_requirements": ["enterprise"]}), ("a", root, {}),
            ("own", self.keys["acme"], {}), ("risk2", self.keys["acme"], {}),
        ):  # fmt: skip
            for at in range(3):
                await self.register(name, at, key, more)

    async def register(self, name: str, at: int, key: str, more: dict[str, Any], *, must: bool = True) -> None:
        body = {
            "name": name,
            "instance_id": f"{name}-{at}",
            "host": f"10.0.0.{at + 1}",
            "port": 80,
            "lease_ttl_s": 60,
            **more,
        }
        await self.call("POST", "/services/register", body, key=key, must=must)

    async def call(
        self, method: str, path: str, body: object = None, *, key: str = "", must: bool = True, more: str = ""
    ) -> Any:  # Any: JSON
        payload = b"" if body is None else json.dumps(body).encode()
        raw = (
            f"{method} {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {key or self.hub.bootstrap_token}\r\n"
            f"Content-Type: application/json\r\n{more}Content-Length: {len(payload)}\r\n\r\n"
        ).encode() + payload
        answer = await self.run([(raw, True)])
        head, _, document = answer.partition(b"\r\n\r\n")
        assert not must or head.split(b" ", 2)[1][:1] == b"2", answer
        return json.loads(document) if document else None

    async def run(self, chunks: list[tuple[bytes, bool]]) -> bytes:
        transport = MemoryTransport()
        if self.lane:
            protocol: CarrierProtocol = LaneProtocol(self.config, self.state, {}, lane=self.hub.lane)
        else:
            protocol = CarrierProtocol(self.config, self.state, {})
        transport.protocol = protocol
        protocol.connection_made(transport)
        for chunk, wait in chunks:
            transport.feed(chunk)
            if wait:
                await self._settle()
        await self._settle()
        transport.close()
        await self._settle()
        return bytes(transport.out)

    async def _settle(self) -> None:
        quiet = 0
        for _ in range(10_000):
            await asyncio.sleep(0)
            busy = any(not self._waits(task) for task in self.state.tasks)
            quiet = 0 if busy else quiet + 1
            if quiet >= 8:
                return

    def _waits(self, task: asyncio.Task[None]) -> bool:
        """Whether a request waits for its client (not for a commit, which comes by itself)."""
        frames: list[str] = []
        current: Any = task.get_coro()  # Any: coroutines and what they await
        while current is not None and hasattr(current, "cr_frame"):
            frames.append(current.cr_code.co_name)
            current = current.cr_await
        return frames[-1] == "receive" if frames else False


@contextlib.asynccontextmanager
async def two_hubs() -> AsyncIterator[tuple[Side, Side]]:
    async with Side(lane=True) as fast, Side(lane=False) as plain:
        assert fast.keys == plain.keys
        yield fast, plain


def _with_keys(chunk: bytes, keys: dict[str, str]) -> bytes:
    return (
        chunk.replace(b"chk_acme_1", keys["acme"].encode())
        .replace(b"chk_free_1", keys["globex"].encode())
        .replace(b"chk_busy_1", keys["initech"].encode())
        .replace(b"chk_blind_1", keys["blind"].encode())
    )


def _of_configuration(chunk: bytes, rng: random.Random) -> bytes:
    """Ask for configuration instead of a service, now and then; of another tenant too."""
    tenant = rng.choice([b"acme", b"acme", b"globex", b"nobody"])
    return chunk.replace(b"/services/discover/risk ", b"/config/%b " % tenant) if rng.random() < 0.3 else chunk


async def _happen(rng: random.Random, sides: tuple[Side, Side]) -> None:
    dice, at = rng.random(), rng.randrange(5)
    for side in sides:
        if dice < 0.03:
            await side.register("risk", at, side.hub.bootstrap_token, {"version": f"1.{at}"}, must=False)
        elif dice < 0.05:
            await side.register("own", at, side.keys["acme"], {"version": f"1.{at}"}, must=False)
        elif dice < 0.07:
            tier = ["free", "pro", "enterprise"][at % 3]
            await side.call("PATCH", "/tenants/acme", {"tier": tier}, must=False)
        elif dice < 0.08:
            await side.call("POST", "/tenants/acme/suspend", {}, must=False)
        elif dice < 0.1:
            await side.call("POST", "/tenants/acme/resume", must=False)
        elif dice < 0.15:
            side.clock.advance(40)
        elif dice < 0.2:
            layer = f"/config/layers/{['global', 'tenant/acme', 'tier/pro'][at % 3]}"
            patch = {"rate_limits": {"api_calls_per_hour": at * 100}}
            await side.call("PATCH", layer, patch, must=False, more="If-Match: *\r\n")


@pytest.mark.timeout(900)
async def test_lane_and_framework_of_the_hub_answer_the_same_bytes() -> None:
    rng = random.Random(11)
    sent = 0
    async with two_hubs() as (fast, plain):
        while sent < REQUESTS:
            await _happen(rng, (fast, plain))
            # Cut where the client waits: what is in flight while the world changes is nobody's promise.
            asked = [(_of_configuration(chunk, rng), wait) for chunk, wait in script(rng)]
            chunks = [(_with_keys(chunk, fast.keys), wait) for chunk, wait in asked]
            sent += max(1, b"".join(chunk for chunk, _ in chunks).count(b"HTTP/1"))
            one, other = await fast.run(chunks), await plain.run(chunks)
            assert one == other, chunks
        assert fast.hub.lane.hits > sent // 25
        assert fast.hub.lane.signals > sent // 60
        assert fast.hub.lane.commands > sent // 60
        lane = fast.hub.lane
        print(f"{sent} requests: the lane answered {lane.hits}, took {lane.signals}, began {lane.commands}")
