"""A small hub for health's tests: memory log, sequencer, registry view, a clock that stands still, scripted probes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.health.journal import Journal
from central_hub.health.keeper import Keeper
from central_hub.health.model import FACTS as HEALTH_FACTS
from central_hub.health.view import Kept
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.kernel.probing import ProbeOutcome, ProbeResult, ProbeTarget
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.registry.model import FACTS, Instance, ServiceRegistered, ServicesRegistered, instance_stream
from central_hub.registry.signals import Loads
from central_hub.registry.view import RegistryView

RANKS = {"free": 0, "pro": 1, "enterprise": 2}
ACME = DomainId("acme")
OTHER = DomainId("other")
STEP_MS = 100.0


class ScriptedProbe:
    """A probe adapter that answers what a test says, by port; `ungranted` ports are not granted."""

    def __init__(self) -> None:
        self.results: dict[int, ProbeResult] = {}
        self.default = ProbeResult.PASSED
        self.ungranted: set[int] = set()
        self.asked: list[tuple[float, ProbeTarget]] = []
        self.clock: ManualClock | None = None

    async def probe(self, target: ProbeTarget) -> ProbeOutcome:
        self.asked.append((0.0 if self.clock is None else self.clock.monotonic_ms(), target))
        await asyncio.sleep(0)
        return ProbeOutcome(result=self.results.get(target.port, self.default), latency_ms=7)

    def granted(self, domain: DomainId, host: str, port: int) -> bool:
        return port not in self.ungranted


class World:
    """Everything wired, nothing running but the sequencer."""

    def __init__(self, view: RegistryView | None = None) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog()
        self.view = view or RegistryView(RANKS.get)
        ring = KeyRing(os.urandom(32), MemoryKeys())
        self.runner = Runner(self.log, ring, FactTypes((*FACTS, *HEALTH_FACTS)), [self.view])
        self.sequencer = Sequencer(self.log, ring, self.runner, self.clock, os.urandom)
        self.probe = ScriptedProbe()
        self.probe.clock = self.clock
        self.loads = Loads()
        self.changed: list[tuple[DomainId, str]] = []
        self.keeper = Keeper(
            self.probe, self.loads, self.clock, lambda domain, name: self.changed.append((domain, name))
        )
        self.journal = Journal(self.keeper, self.view, self.sequencer)
        self.runner.listen(self.keeper.applied)

    async def register(self, *instances: Instance, domain: DomainId = ACME) -> None:
        def decide(tx: Tx) -> None:
            if len(instances) == 1:
                name = instance_stream(instances[0].service_name, instances[0].instance_id)
                tx.append(domain, ServiceRegistered(instance=instances[0]), streams=(name,))
            else:
                tx.append(domain, ServicesRegistered(instances=instances), streams=("bulk",))

        await self.sequencer.submit(HUB_ACTOR, (domain,), decide)

    def kept(self, instance_id: str = "i-1", service: str = "risk", domain: DomainId = ACME) -> Kept:
        found = self.keeper.population.find(domain, service, instance_id)
        assert found is not None
        return found

    def beat(self, *instance_ids: str, service: str = "risk", domain: DomainId = ACME) -> None:
        for instance_id in instance_ids:
            self.keeper.renew(self.kept(instance_id, service, domain), self.clock.monotonic_ms(), self.clock.now_ms())

    def look(self) -> None:
        while self.keeper.look(limit=256):
            pass

    def pass_time(self, milliseconds: float) -> None:
        """Let time pass in steps small enough not to look like a pause of the hub."""
        left = milliseconds
        while left > 0:
            step = min(STEP_MS, left)
            self.clock.advance(step)
            left -= step
            self.look()


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.sequencer.run())
    try:
        yield world
    finally:
        world.sequencer.close()
        await asyncio.wait_for(task, 5)


def instance(instance_id: str = "i-1", service: str = "risk", **fields: object) -> Instance:
    given: dict[str, object] = {"host": "10.0.0.1", "port": 8080, "owner": "key-1", "lease_ttl_s": 3.0, **fields}
    return Instance(service_name=service, instance_id=instance_id, **given)  # type: ignore[arg-type]


__all__ = ["ACME", "OTHER", "SHARED", "ScriptedProbe", "World", "instance", "running"]
