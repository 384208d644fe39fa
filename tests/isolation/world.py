"""A whole hub in memory, with a clock and a randomness that repeat, asked through its pipeline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from central_hub.adapters.stores import in_memory
from central_hub.app import Hub, build
from central_hub.edge.operations import Headers
from central_hub.edge.pipeline import Answer, BodyTooLarge, Request
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.messaging import Outcome, Result, Target
from central_hub.kernel.randomness import RANDOM_STOCK_BYTES
from central_hub.settings import Settings

SCOPES = [
    "registry:read", "registry:write", "registry:admin", "health:read", "config:read", "config:write", "keys:admin",
    "breakers:read", "breakers:write",
    "audit:read",
    "quota:read", "quota:write",
    "flags:read", "flags:write",
    "secret:list", "secret:read", "secret:write",
    "webhooks:read", "webhooks:admin",
    "events:read", "events:write", "events:admin",
    "subscriptions:read", "subscriptions:admin", "subscriptions:consume", "routing:write",
]  # fmt: skip


class Endpoints:
    """A transport that keeps what it is given; every third message of a tenant is refused, at last for good."""

    def __init__(self) -> None:
        self.got: dict[str, list[tuple[Target, dict[str, str], bytes]]] = {}

    async def send(self, domain: DomainId, target: Target, headers: Mapping[str, str], body: bytes) -> Outcome:
        got = self.got.setdefault(domain, [])
        got.append((target, dict(headers), body))
        if len(got) % 3 == 0:
            return Outcome(result=Result.REFUSED, status=503 if len(got) % 2 else 422)
        return Outcome(result=Result.DELIVERED, status=204, latency_ms=1)

    def granted(self, domain: DomainId, host: str, port: int) -> bool:
        return not host.startswith("169.254.")


class World:
    """One hub and the keys of everyone in it."""

    def __init__(self, *, seed: int = 1, settings: Settings | None = None) -> None:
        self.clock = ManualClock()
        self.endpoints = Endpoints()
        self._ids = random.Random(seed)
        self._ids_fixed = False
        # Every pick draws the same slot: what one caller draws must not depend on how often others did.
        self.hub: Hub = build(
            settings or Settings(),
            in_memory(),
            clock=self.clock,
            draw=lambda bits: seed % (1 << bits),
            source=self._source,
            sender=self.endpoints,
        )
        self.pipeline = self.hub.pipeline
        self.keys: dict[str, str] = {}
        self.key_ids: dict[str, str] = {}

    def fix_ids(self) -> None:
        """From now on an id depends on its time alone, not on how many were minted before."""
        self._ids_fixed = True
        # What is in stock goes, or when it ran out would hang on how many were minted before.
        self.hub.core.sequencer._random(RANDOM_STOCK_BYTES)  # pyright: ignore[reportPrivateUsage]

    def _source(self, count: int) -> bytes:
        return bytes(count) if self._ids_fixed else self._ids.randbytes(count)

    async def ask(
        self,
        method: str,
        target: str,
        *,
        key: str = "",
        body: Any = None,
        headers: dict[str, str] | None = None,
        media: str = "application/json",
    ) -> Answer:
        """Send one request as the named caller ("" for nobody)."""
        path, _, query = target.partition("?")
        raw = [(b"host", b"127.0.0.1"), (b"content-type", media.encode())]
        raw += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        if key:
            raw.append((b"authorization", f"Bearer {self.keys[key]}".encode()))
        data = b"" if body is None else msgspec.json.encode(body)

        async def read(limit: int) -> bytes:
            if len(data) > limit:
                raise BodyTooLarge
            return data

        return await self.pipeline.answer(
            Request(method, path, target.encode(), query.encode(), Headers(raw), "127.0.0.1", read)
        )

    async def must(self, method: str, target: str, **more: Any) -> Any:
        """Send a request that has to succeed; returns its decoded body."""
        answer = await self.ask(method, target, **more)
        assert answer.status < 300, (method, target, answer.status, answer.body)
        return msgspec.json.decode(answer.body) if answer.body else None

    async def tenant(self, name: str, tier: str, *, trial: bool = False) -> None:
        """Create a tenant with three keys: `name`, `name:blind` (no useful scope) and `name:reader`."""
        await self.must("POST", "/tenants", key="root", body={"id": name, "name": name, "tier": tier, "trial": trial})
        for suffix, scopes in (("", SCOPES), (":blind", ["registry:admin"]), (":reader", ["registry:read"])):
            made = await self.must(
                "POST", f"/tenants/{name}/keys", key="root", body={"name": name + suffix, "scopes": scopes}
            )
            self.keys[name + suffix] = made["api_key"]
            self.key_ids[name + suffix] = made["key_id"]

    async def register(self, service: str, *, key: str, **more: Any) -> Any:
        """Register instance `i-1` of a service."""
        body = {"name": service, "host": "10.0.0.1", "port": 80, "instance_id": "i-1", "lease_ttl_s": 3_600, **more}
        return await self.must("POST", "/services/register", key=key, body=body)


@asynccontextmanager
async def running(*, seed: int = 1, settings: Settings | None = None) -> AsyncIterator[World]:
    """Run a world without what follows the real clock."""
    world = World(seed=seed, settings=settings)
    await world.hub.core.stores.sealer.ensure(PLATFORM)
    await world.hub.core.runner.start(world.hub.core.stores.snapshots)
    world.hub.open_for_an_hour()
    world.keys["root"] = world.hub.bootstrap_token
    committing = asyncio.create_task(world.hub.core.sequencer.run())
    try:
        yield world
    finally:
        world.hub.core.sequencer.close()
        await committing
