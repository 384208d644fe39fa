"""A rollouts feature on a memory log: what `app` wires, with instances that a test registers, breaks and lets speak."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.configuration.defaults import PlanDefaults
from central_hub.configuration.effective import Effective
from central_hub.configuration.in_force import InForce
from central_hub.configuration.merging import merge_patch
from central_hub.configuration.model import FACTS as CONFIGURATION_FACTS
from central_hub.configuration.model import Layer
from central_hub.configuration.sections import Sections
from central_hub.configuration.usecases import Configuration, Wish
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ownership import Alone
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.plans.document import default_catalogue
from central_hub.plans.view import PlansView
from central_hub.rollouts.exposing import Exposing
from central_hub.rollouts.followers import FollowerBook
from central_hub.rollouts.model import FACTS, Gates, Rollout, Stage, Unit
from central_hub.rollouts.observing import Observing
from central_hub.rollouts.rules import Move
from central_hub.rollouts.schemas import Report
from central_hub.rollouts.stepping import GRACE_MS, Stepping
from central_hub.rollouts.usecases import Plan, Rollouts, Step
from central_hub.rollouts.view import RolloutsView
from tests.unit.configuration.support import OPERATOR, RISK, Known, Tenants, ctx_of

CANARY = (Stage(percent=10, bake_s=5), Stage(percent=100, bake_s=5))
QUICK = Gates(acknowledged_within_s=4)


class Fleet:
    """Registered instances by (domain, service, instance), with their owner; some of them unhealthy."""

    def __init__(self) -> None:
        self.owners: dict[tuple[str, str, str], str] = {}
        self.unhealthy: set[tuple[str, str, str]] = set()

    def owner(self, domain: DomainId, service: str, instance: str) -> str | None:
        return self.owners.get((domain, service, instance))

    def is_unhealthy(self, domain: DomainId, service: str, instance: str) -> bool:
        return (domain, service, instance) in self.unhealthy

    def any(self, domain: DomainId) -> bool:
        return any(domain in (PLATFORM, key[0]) for key in self.owners)


class House:
    """Everything of rollouts, and the log under it."""

    def __init__(self, tiers: dict[str, str] | None = None) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog()
        self.keys = KeyRing(bytes(32), MemoryKeys())
        self.layers, self.view = ConfigurationView(), RolloutsView()
        self.runner = Runner(self.log, self.keys, FactTypes((*CONFIGURATION_FACTS, *FACTS)), [self.layers, self.view])
        self.runner.incarnation = "inc1"
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, os.urandom)
        self.tenants = Tenants(tiers or {"acme": "pro", "globex": "enterprise", "idle": "free"})
        self.defaults = PlanDefaults(PlansView(default_catalogue()), self.clock.now_ms)
        self.effective = Effective(self.layers, self.defaults, self.tenants)
        self.in_force = InForce(self.effective)
        self.configuration = Configuration(
            self.layers,
            self.sequencer,
            Sections(self.defaults.sections),
            self.defaults,
            self.tenants,
            secrets=Known(),
            held=self.view,
        )
        self.fleet = Fleet()
        self.book = FollowerBook(self.fleet, self.clock)
        self.exposing = Exposing(self.view, self.layers, self.defaults, self.tenants, self.in_force)
        self.observing = Observing(self.book, self.exposing, self.in_force, self.fleet, self.clock)
        self.rollouts = Rollouts(self.view, self.sequencer, self.configuration, self.layers)
        self.stepping = Stepping(
            self.view, self.rollouts, self.observing, self.book, self.fleet, self.tenants, self.clock, Alone()
        )
        self.runner.listen(lambda _: self._refreshed())
        self.clock.advance(GRACE_MS + 1)

    def _refreshed(self) -> None:
        self.exposing.refresh()

    def instance(self, name: str, tenant: str = "acme", service: str = "risk") -> None:
        """Register an instance that follows its tenant's configuration by a stream."""
        self.fleet.owners[(tenant, service, name)] = f"key:{tenant}"
        self.book.opened(ctx_of(tenant), service, "", name)

    def gone(self, name: str, tenant: str = "acme", service: str = "risk") -> None:
        """Break an instance's stream."""
        self.book.closed(DomainId(tenant), service, "", name)

    def value(self, name: str, tenant: str = "acme", service: str = "risk") -> Any:
        """Return what an instance is told about /risk/depth."""
        return self.in_force.of(DomainId(tenant), service, instance=name).leaves.get("/risk/depth")

    def says(
        self, name: str, tenant: str = "acme", service: str = "risk", *, refused: str = "", ok: int = 0, errors: int = 0
    ) -> None:
        """Let an instance speak of the value that is in force for it."""
        etag = self.in_force.of(DomainId(tenant), service, instance=name).etag
        report = Report(etag=etag, state="refused" if refused else "applied", reason=refused, ok=ok, errors=errors)
        self.book.report(ctx_of(tenant), service, name, report)

    async def change(self, depth: int, layer: Layer | None = None) -> None:
        """Change /risk/depth of a layer without a rollout."""
        wish = self.wish({"risk": {"depth": depth}}, layer)
        await self.configuration.change(OPERATOR, [wish])

    def wish(self, patch: dict[str, Any], layer: Layer | None = None) -> Wish:
        return Wish(layer=layer or Layer(), if_match="*", edit=lambda document: merge_patch(document, patch))

    async def start(
        self,
        depth: int = 9,
        stages: tuple[Stage, ...] = CANARY,
        *,
        unit: Unit = Unit.INSTANCE,
        gates: Gates = QUICK,
        layer: Layer | None = None,
    ) -> Rollout:
        """Begin to roll out another /risk/depth."""
        layer = layer or Layer()
        plan = Plan(unit=unit, stages=stages, gates=gates)
        return await self.rollouts.start(OPERATOR, layer.domain, [self.wish({"risk": {"depth": depth}}, layer)], plan)

    async def do(self, rollout: Rollout, move: Move, domain: DomainId = PLATFORM, **more: Any) -> Rollout:
        """Do something to a rollout as the operator."""
        return await self.rollouts.step(domain, rollout.id, Step(move=move, **more), actor=OPERATOR.actor)

    async def look(self, rollout: Rollout, after_ms: float = 0, domain: DomainId = PLATFORM) -> Rollout:
        """Let time pass, look once, and return the rollout as it is then."""
        self.clock.advance(after_ms)
        await self.stepping.look()
        return self.rollouts.get(domain, rollout.id)

    def exposed(self, names: list[str], depth: int = 9, tenant: str = "acme") -> list[str]:
        """Return who has the new value."""
        return [name for name in names if self.value(name, tenant) == depth]


@asynccontextmanager
async def opened(tiers: dict[str, str] | None = None) -> AsyncGenerator[House]:
    """Run a house's sequencer for the length of a test, with one section described."""
    house = House(tiers)
    running = asyncio.create_task(house.sequencer.run())
    try:
        await house.configuration.describe(OPERATOR, "risk", RISK)
        await house.change(1)
        yield house
    finally:
        house.sequencer.close()
        await asyncio.wait_for(running, 2)
