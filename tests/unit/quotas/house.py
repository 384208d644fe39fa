"""Quotas on a memory log: what `app` wires, with a clock that a test moves and limits that it sets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import SHARED, DomainId, TenantId
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.quotas.budgets import Budgets
from central_hub.quotas.ending import Endings
from central_hub.quotas.keeper import LeaseKeeper
from central_hub.quotas.metered import MeteredView
from central_hub.quotas.metering import Metering
from central_hub.quotas.model import FACTS, LEASES_PER_TENANT_MAX
from central_hub.quotas.ports import Allowance
from central_hub.quotas.reading import UsageReading
from central_hub.quotas.usecases import Allocations, Held
from central_hub.quotas.view import QuotasView
from tests.unit.registry.support import OpenAccess

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
REQUESTS = "concurrent_requests"


class LimitTable:
    """Limits by name: a domain's own, or those of everyone; the shared domain has none."""

    def __init__(self, **limits: int | None) -> None:
        self.found = {name: Allowance(name=name, limit=limit, source="plan:pro") for name, limit in limits.items()}
        self.found["api_calls_per_hour"] = Allowance(name="api_calls_per_hour", limit=1_000, period="hour")

        self.leases = LEASES_PER_TENANT_MAX
        self.own: dict[DomainId, dict[str, Allowance]] = {SHARED: {}}

    def put(self, allowance: Allowance, domain: DomainId | None = None) -> None:
        found = self.found if domain is None else self.own.setdefault(domain, {})
        found[allowance.name] = allowance

    def allowance(self, domain: DomainId, tier: str, name: str) -> Allowance | None:
        return self.own.get(domain, self.found).get(name)

    def allowances(self, domain: DomainId, tier: str) -> tuple[Allowance, ...]:
        found = self.own.get(domain, self.found)
        return tuple(found[name] for name in sorted(found))

    def leases_max(self, domain: DomainId, tier: str) -> int:
        return self.leases


def ctx_of(
    tenant: str = "acme", principal: str = "key:1", scopes: frozenset[str] = frozenset({"quota:read", "quota:write"})
) -> TenantContext:
    home = DomainId(tenant)
    return TenantContext(
        principal=Principal(id=principal, kind=PrincipalKind.KEY, home=home, scopes=scopes),
        tenant_id=TenantId(tenant),
        tier="pro",
        rank=2,
    )


class House:
    """Everything of quotas, and the log under it. `log` and `keys` of another house make a restart of it."""

    def __init__(self, clock: ManualClock, log: MemoryLog, keys: KeyRing, limits: LimitTable) -> None:
        self.clock, self.log, self.keys, self.limits = clock, log, keys, limits
        self.access = OpenAccess()
        self.view, self.metered = QuotasView(), MeteredView()
        self.runner = Runner(log, keys, FactTypes(FACTS), [self.view, self.metered])
        self.sequencer = Sequencer(log, keys, self.runner, clock, os.urandom)
        self.keeper = LeaseKeeper(clock)
        self.endings = Endings(self.keeper, self.view, self.sequencer)
        self.allocations = Allocations(self.view, self.keeper, self.sequencer, limits, self.access, clock)
        self.budgets = Budgets(self.view, self.sequencer, limits, self.access, clock)
        self.metering = Metering(self.metered, self.sequencer, self.access, clock)
        self.reading = UsageReading(self.view, self.budgets, limits)

    async def hold(
        self,
        amount: int = 1,
        *,
        ctx: TenantContext | None = None,
        resource: str = REQUESTS,
        ttl_s: float = 10.0,
        key: str | None = None,
    ) -> Held:
        return await self.allocations.allocate(ctx or ctx_of(), resource=resource, amount=amount, ttl_s=ttl_s, key=key)

    async def pass_time(self, milliseconds: float) -> None:
        """Let time pass as a running hub sees it: in looks, with what is due recorded."""
        while milliseconds > 0:
            step = min(100.0, milliseconds)
            self.clock.advance(step)
            milliseconds -= step
            while self.keeper.look(1_000):
                pass
            await self.endings.write()

    def used(self, domain: DomainId = ACME, resource: str = REQUESTS) -> int:
        return self.view.used(domain, resource)


@asynccontextmanager
async def opened(before: House | None = None, **limits: int | None) -> AsyncIterator[House]:
    """Run a house, on the log of another one if that is given."""
    table = LimitTable(**(limits or {"max_concurrent_requests": 10}))
    if before is None:
        house = House(ManualClock(), MemoryLog(), KeyRing(bytes(32), MemoryKeys()), table)
    else:
        house = House(before.clock, before.log, before.keys, before.limits)
    house.runner.listen(house.keeper.applied)  # as in a hub: before the log is read
    await house.runner.catch_up()
    await house.endings.prime()
    committing = asyncio.create_task(house.sequencer.run())
    try:
        yield house
    finally:
        house.sequencer.close()
        await asyncio.wait_for(committing, 5)
