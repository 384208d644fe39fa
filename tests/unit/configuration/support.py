"""A configuration feature on a memory log: what `app` wires, with tenants and access that a test can turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.configuration.announcing import Announcements
from central_hub.configuration.defaults import PlanDefaults
from central_hub.configuration.effective import Effective
from central_hub.configuration.in_force import InForce
from central_hub.configuration.merging import merge_patch
from central_hub.configuration.model import FACTS, Layer
from central_hub.configuration.sections import Sections
from central_hub.configuration.usecases import Configuration, Wish
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.plans.document import default_catalogue
from central_hub.plans.view import PlansView
from central_hub.secrets.rules import nearest
from tests.unit.registry.support import OpenAccess

RISK: dict[str, Any] = {
    "type": "object",
    "properties": {"mode": {"type": "string"}, "depth": {"type": "integer"}},
}


class Tenants:
    """Tenants by id, with their tier."""

    def __init__(self, tiers: dict[str, str]) -> None:
        self.tiers = tiers

    def tier_of(self, domain: DomainId) -> str | None:
        return self.tiers.get(domain)

    def after(self, cursor: str, limit: int) -> list[tuple[str, str]]:
        return [(name, self.tiers[name]) for name in sorted(self.tiers) if name > cursor][:limit]


def ctx_of(tenant: str | None = "acme", *, environment: str = "", platform: bool = False) -> TenantContext:
    """Return a context; the operator's without a tenant."""
    home = PLATFORM if platform or tenant is None else DomainId(tenant)
    principal = Principal(
        id=f"key:{tenant or 'operator'}", kind=PrincipalKind.KEY, home=home, environment=environment,
        scopes=frozenset({"config:read", "config:write"}),
    )  # fmt: skip
    tenant_id = None if tenant is None else TenantId(tenant)
    return TenantContext(principal=principal, tenant_id=tenant_id, tier="pro", rank=20)


OPERATOR = ctx_of(None)


class Known:
    """Secrets that are there, by domain; the platform's are shared."""

    def __init__(self) -> None:
        self.paths: dict[str, set[str]] = {"acme": {"db/password"}, "platform": {"stripe/key"}}

    def resolves(self, domain: DomainId, path: str) -> bool:
        return path in self.paths.get(domain, set()) | self.paths["platform"]

    def suggest(self, domain: DomainId, path: str) -> str:
        return nearest(path, self.paths.get(domain, set()) | self.paths["platform"])


class House:
    """Everything of configuration, and the log under it."""

    def __init__(self, tiers: dict[str, str] | None = None) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog()
        self.keys = KeyRing(bytes(32), MemoryKeys())
        self.view = ConfigurationView()
        self.runner = Runner(self.log, self.keys, FactTypes(FACTS), [self.view])
        self.runner.incarnation = "inc1"
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, os.urandom)
        self.tenants = Tenants(tiers or {"acme": "pro", "globex": "pro", "idle": "free"})
        self.plans = PlansView(default_catalogue())
        self.defaults = PlanDefaults(self.plans, self.clock.now_ms)
        self.effective = Effective(self.view, self.defaults, self.tenants)
        self.secrets = Known()
        self.configuration = Configuration(
            self.view,
            self.sequencer,
            Sections(self.defaults.sections),
            self.defaults,
            self.tenants,
            secrets=self.secrets,
        )
        self.access = OpenAccess()
        self.announcements = Announcements(
            InForce(self.effective), self.access, self.clock, fresh_until_ms=self.defaults.fresh_until_ms
        )
        self.runner.listen(self.announcements.applied)

    async def patch(self, layer: Layer, patch: dict[str, Any], if_match: str = "*") -> int:
        """Change a layer as the operator; returns its revision."""
        wish = Wish(layer=layer, if_match=if_match, edit=lambda document: merge_patch(document, patch))
        return (await self.configuration.change(OPERATOR, [wish]))[0].number

    def leaves(self, tenant: str, service: str = "", environment: str = "") -> dict[str, Any]:
        """Return a tenant's effective leaves."""
        return self.effective.of(DomainId(tenant), service, environment).leaves


@asynccontextmanager
async def opened(tiers: dict[str, str] | None = None) -> AsyncIterator[House]:
    """Run a house's sequencer for the length of a test, with one section described."""
    house = House(tiers)
    running = asyncio.create_task(house.sequencer.run())
    try:
        await house.configuration.describe(OPERATOR, "risk", RISK)
        yield house
    finally:
        house.sequencer.close()
        await asyncio.wait_for(running, 2)


class Recorder:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.is_cut = False

    def write(self, frame: Any) -> bool:
        self.frames.append(frame.data)
        return not self.is_cut

    def cut(self) -> None:
        self.is_cut = True
