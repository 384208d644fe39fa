"""Webhooks on a memory log: what `app` wires, with a transport, values and tenants that a test can turn."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf
from typing import Any

from central_hub.adapters.cursor_store import MemoryCursors
from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.app.hooking import EVENT_TYPES
from central_hub.app.telling import EVENT_TYPES as TOLD_TYPES
from central_hub.events.model import EventPublished
from central_hub.events.reading import EventReading
from central_hub.kernel.clock import Clock, ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import DomainId, TenantId
from central_hub.kernel.messaging import Outcome, Result, Target
from central_hub.kernel.records import HUB_ACTOR, Category
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.kernel.signatures import verify
from central_hub.quotas.model import FACTS as QUOTAS_FACTS
from central_hub.quotas.model import TenantQuotaLevelReached
from central_hub.subscriptions.starting import Starting
from central_hub.tenants.model import FACTS as TENANTS_FACTS
from central_hub.webhooks.delivering import Deliveries
from central_hub.webhooks.model import FACTS, ValueKey
from central_hub.webhooks.noticing import Noticing
from central_hub.webhooks.outcomes import Outcomes
from central_hub.webhooks.sending import Sending
from central_hub.webhooks.usecases import Minted, NewWebhook, Webhooks
from central_hub.webhooks.view import WebhooksView

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
URL = "https://hooks.example/in"
LEVEL = "io.centralhub.quota.level-reached.v1"
TYPES = EVENT_TYPES


def ctx_of(tenant: str = "acme", *, environment: str = "") -> TenantContext:
    """Return a tenant's own caller."""
    principal = Principal(
        id=f"key:{tenant}", kind=PrincipalKind.KEY, home=DomainId(tenant), environment=environment,
        scopes=frozenset({"webhooks:read", "webhooks:admin"}),
    )  # fmt: skip
    return TenantContext(principal=principal, tenant_id=TenantId(tenant), tier="pro", rank=20)


class Receiver:
    """A transport that keeps what it is given and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, str], dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[str, int], Outcome | None] = lambda _host, _count: None
        self.hanging = asyncio.Event()
        self.hang: set[str] = set()
        self.denied: set[str] = set()
        self.under_way: dict[str, int] = {}
        self.most: dict[str, int] = {}

    async def send(self, domain: DomainId, target: Target, headers: Mapping[str, str], body: bytes) -> Outcome:
        self.under_way[domain] = self.under_way.get(domain, 0) + 1
        self.most[domain] = max(self.most.get(domain, 0), self.under_way[domain])
        try:
            if target.host in self.hang:
                await self.hanging.wait()
            await asyncio.sleep(0)
            self.got.append((domain, target.host, dict(headers), json.loads(body)))
            self.bodies.append(body)
            return self.answer(target.host, len(self.got)) or Outcome(result=Result.DELIVERED, status=200)
        finally:
            self.under_way[domain] -= 1

    def granted(self, domain: DomainId, host: str, port: int) -> bool:
        return host not in self.denied

    def names(self, host: str = "hooks.example") -> list[str]:
        """What a host was told of limits, in order."""
        return [event["data"]["limit_name"] for _, at, _, event in self.got if at == host and event["type"] == LEVEL]


def refused(status: int, retry_after_s: int = 0) -> Outcome:
    return Outcome(result=Result.REFUSED, status=status, retry_after_s=retry_after_s)


class World:
    """Tenants and their values."""

    def __init__(self) -> None:
        self.there: set[str] = {"acme", "globex"}
        self.values: dict[tuple[str, ValueKey], str] = {}
        self.ends_at_ms: dict[str, float] = {}

    def is_told(self, domain: DomainId) -> bool:
        return domain in self.there

    def fresh_until_ms(self, domain: DomainId) -> float:
        return self.ends_at_ms.get(domain, inf)

    def fingerprint(self, domain: DomainId, key: ValueKey) -> str | None:
        return self.values.get((domain, key), "v1")


class House:
    """Everything of webhooks, and the log under it."""

    def __init__(self, *, before: House | None = None, clock: Clock | None = None, draw: int = 0) -> None:
        self.clock = clock or (before.clock if before else ManualClock())
        self.log = before.log if before else MemoryLog()
        self.keys = before.keys if before else KeyRing(bytes(32), MemoryKeys())
        self.cursors = before.cursors if before else MemoryCursors()
        self.receiver = before.receiver if before else Receiver()
        self.world = before.world if before else World()
        self.view = WebhooksView()
        types = FactTypes((*FACTS, *QUOTAS_FACTS, *TENANTS_FACTS, EventPublished))
        self.runner = Runner(self.log, self.keys, types, [self.view])
        self.runner.incarnation = "inc1"
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, os.urandom)
        self.reading = EventReading(self.log, self.runner, TOLD_TYPES)
        self.sending = Sending(self.receiver, self.keys, self.clock)
        self.webhooks = Webhooks(
            self.view,
            self.sequencer,
            self.keys,
            TOLD_TYPES.names,
            self.world,
            self.receiver,
            self.world,
            Starting(self.reading),
            plain=False,
        )
        self.deliveries = Deliveries(
            self.view, self.reading.told, TYPES.names, self.log, self.runner, self.sending,
            Outcomes(self.view, self.sequencer, self.clock),
            self.cursors, self.world, self.clock, lambda _bits: draw, dead_letters_max=3,
        )  # fmt: skip
        self.noticing = Noticing(
            self.view, self.webhooks, self.world, self.sequencer, self.clock,
            frozenset({"TenantChanged", "TenantShredded"}),
        )  # fmt: skip
        self.runner.listen(self.deliveries.applied)
        self.runner.listen(self.noticing.applied)

    async def create(self, tenant: str = "acme", *, url: str = URL, **fields: Any) -> Minted:
        wanted = NewWebhook(url=url, **{"events": (LEVEL,), **fields})
        return await self.webhooks.create(ctx_of(tenant), DomainId(tenant), wanted)

    async def reach(self, name: str, tenant: str = "acme") -> None:
        """Record that a level was reached."""
        fact = TenantQuotaLevelReached(name=name, period_start_ms=0, level=80, reserved=8, limit=10)

        def decide(tx: Tx) -> None:
            tx.append(DomainId(tenant), fact, streams=("quota",), category=Category.EVENT)

        await self.sequencer.submit(HUB_ACTOR, (DomainId(tenant),), decide)

    async def settled(self, *, seconds: float = 2.0) -> None:
        """Wait until nothing is under way or waits for a turn."""
        async with asyncio.timeout(seconds):
            quiet = 0
            while quiet < 5:
                await asyncio.sleep(0.001)
                quiet = 0 if self.deliveries.in_flight else quiet + 1

    async def pass_time(self, milliseconds: float) -> None:
        """Move the clock and let what is due happen."""
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(milliseconds)
        self.deliveries.applied(())
        self.deliveries.wake()
        await self.settled()


@asynccontextmanager
async def opened(build: Callable[[], House] = House) -> AsyncIterator[House]:
    """Run a house for the length of a test; it ends as if it had been killed."""
    house = build()
    await house.runner.catch_up()
    await house.deliveries.prime()
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(house.sequencer.run())
        delivering = group.create_task(house.deliveries.run())
        try:
            yield house
        finally:
            house.sequencer.close()
            await asyncio.wait({committing}, timeout=2)
            committing.cancel()
            delivering.cancel()


def verified(house: House, secret: bytes, at: int) -> str:
    """Verify the message at a place among those that were received."""
    return verify(house.receiver.got[at][2], house.receiver.bodies[at], [secret], now_s=house.clock.now_ms() / 1_000)
