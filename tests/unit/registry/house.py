"""A whole registry on a memory log: what `app` wires, with the ports a test can turn."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.kernel.clock import Clock, ManualClock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import RESERVED_WORDS
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.changes import Changes
from central_hub.registry.dependencies import Dependencies
from central_hub.registry.lane_entries import RegistryLane
from central_hub.registry.model import FACTS
from central_hub.registry.reading import Reading
from central_hub.registry.rules import Registration
from central_hub.registry.schemas import DiscoverQuery, Registered
from central_hub.registry.signals import Loads
from central_hub.registry.usecases import Limits, Registry
from central_hub.registry.view import RegistryView
from central_hub.registry.waiting import Waiters
from central_hub.registry.watch_wire import WatchWire
from central_hub.registry.watching import WatchHub
from tests.unit.registry.support import FixedAdvice, OpenAccess, TierTable, Verdicts, ctx_of

SHARING = frozenset({"registry:read", "registry:write", "registry:shared"})


class House:
    """Everything of the registry, and the log under it."""

    def __init__(self, *, clock: Clock | None = None, limits: Limits | None = None, listed_max: int = 10_000) -> None:
        self.clock = clock or ManualClock()
        self.log = MemoryLog()
        self.keys = KeyRing(bytes(32), MemoryKeys())
        self.tiers = TierTable()
        self.access = OpenAccess()
        self.verdicts = Verdicts()
        self.view = RegistryView(self.tiers.rank_of)
        self.runner = Runner(self.log, self.keys, FactTypes(FACTS), [self.view])
        self.runner.incarnation = "inc1"
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, os.urandom)
        self.loads = Loads()
        self.catalogue = Catalogue(self.verdicts, self.loads, self.clock, "inc1")
        self.waiters = Waiters()
        self.seen: list[tuple[str, str, str]] = []
        self.dependencies = Dependencies(self.view, lambda *pair: self.seen.append(pair))
        self.slot = 0
        self.reading = Reading(
            self.view, self.catalogue, self.waiters, self.dependencies, self.tiers, self.access, self.runner,
            self.clock, lambda: self.slot, listed_max=listed_max,
        )  # fmt: skip
        wire = WatchWire(self.view, self.catalogue, self.verdicts, self.loads)
        self.watch = WatchHub(self.view, wire, self.access, self.runner, self.clock, watchers_max=4)
        self.leases = FixedAdvice()
        self.lane = RegistryLane(self.view, self.catalogue, self.dependencies)
        self.registry = Registry(
            self.view, self.sequencer, self.leases, self.tiers, self.access,
            reserved=RESERVED_WORDS | {"register", "discover"}, limits=limits,
        )  # fmt: skip
        changes = Changes(self.view, self.waiters, self.watch, self.catalogue, self.loads)
        self.batches: list[int] = []
        self.runner.listen(changes.applied)
        self.runner.listen(lambda batch: self.batches.append(len(batch)))

    async def register(self, ctx: TenantContext | None = None, key: str | None = None, **fields: Any) -> Registered:
        wanted = Registration(**{"name": "risk", "host": "10.0.0.1", "port": 8080, "instance_id": "i-1", **fields})
        return await self.registry.register(ctx or ctx_of(), wanted, key=key)

    async def share(self, **fields: Any) -> Registered:
        return await self.register(ctx_of(None, scopes=SHARING, principal="operator"), **fields)

    async def discover(self, ctx: TenantContext | None = None, name: str = "risk", **query: Any) -> dict[str, Any]:
        return json.loads((await self.reading.discover(ctx or ctx_of(), name, DiscoverQuery(**query))).body)


@asynccontextmanager
async def opened(build: Callable[[], House] = House) -> AsyncIterator[House]:
    """Run a house's sequencer for the length of a test."""
    house = build()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(house.sequencer.run())
        try:
            yield house
        finally:
            house.sequencer.close()
            await asyncio.wait({running}, timeout=2)
            running.cancel()
