"""Catalogues and layers for tests, and a plans feature on a memory log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import RESERVED_WORDS, DomainId
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.plans.book import PlanBook
from central_hub.plans.document import default_catalogue
from central_hub.plans.model import FACTS, Above, Addon, Attached, Catalogue, Feature, Grant, Override, Period, Plan
from central_hub.plans.ports import EntitlementKind
from central_hub.plans.usecases import Plans
from central_hub.plans.view import PlansView
from central_hub.tenants.model import FACTS as TENANTS_FACTS
from central_hub.tenants.usecases import NewTenant, Tenants
from central_hub.tenants.view import TenantsView
from tests.unit.tenants.support import OPERATOR, PEPPER

NOW_MS = 1_000_000
ACME, GLOBEX = DomainId("acme"), DomainId("globex")
LIMIT, SWITCH, WORD = "calls", "ai", "model"


def catalogue(**changes: Any) -> Catalogue:
    """Return a small catalogue: a limit, a switch and a word, in three plans, and two add-ons."""
    given: dict[str, Any] = {
        "features": {
            LIMIT: Feature(kind=EntitlementKind.METERED, unit="calls", period=Period.HOUR),
            SWITCH: Feature(kind=EntitlementKind.BOOLEAN),
            WORD: Feature(kind=EntitlementKind.VALUE),
        },
        "plans": {
            "low": Plan(rank=10, entitlements={LIMIT: 10, SWITCH: False, WORD: "small"}),
            "mid": Plan(rank=20, entitlements={LIMIT: 10, SWITCH: True, WORD: "small"}),
            "top": Plan(rank=30, entitlements={LIMIT: None, SWITCH: True, WORD: "large"}),
        },
        "addons": {
            "more": Addon(entitlements={LIMIT: 50}),
            "most": Addon(entitlements={LIMIT: 90, SWITCH: True}, priority=5),
        },
    }
    return Catalogue(**{**given, **changes})


def above(*layers: Grant | Override | str) -> Above:
    """Return what stands above a plan: grants, overrides, names of add-ons."""
    found = Above(addons={}, grants={}, overrides={})
    for layer in layers:
        if isinstance(layer, Grant):
            found.grants[layer.id] = layer
        elif isinstance(layer, Override):
            found.overrides[layer.feature] = layer
        else:
            found.addons[layer] = Attached(addon=layer)
    return found


class Desk:
    """Everything of plans and tenants, and the log under it."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.clock = ManualClock()
        self.log = log or MemoryLog()
        self.keys = KeyRing(bytes(32), MemoryKeys())
        self.view, self.tenants_view = PlansView(default_catalogue()), TenantsView()
        self.book = PlanBook(self.view, self.clock)
        types = FactTypes((*FACTS, *TENANTS_FACTS))
        self.runner = Runner(self.log, self.keys, types, [self.tenants_view, self.view])
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, random.Random(1).randbytes)
        self.tenants = Tenants(
            self.tenants_view, self.sequencer, self.book, PEPPER, reserved=RESERVED_WORDS, administered=lambda: None
        )
        self.plans = Plans(self.view, self.tenants_view, self.sequencer)

    async def tenant(self, name: str = "acme", tier: str = "free") -> None:
        """Create a tenant."""
        await self.tenants.create(OPERATOR, NewTenant(id=name, name=name, tier=tier))


@asynccontextmanager
async def opened() -> AsyncIterator[Desk]:
    """Run a desk's sequencer for the length of a test, with one free tenant."""
    desk = Desk()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(desk.sequencer.run())
        try:
            await desk.tenant()
            yield desk
        finally:
            desk.sequencer.close()
            await asyncio.wait({running}, timeout=2)
            running.cancel()
