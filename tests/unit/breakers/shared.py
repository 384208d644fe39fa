"""Shared verdicts on a memory log, with services, plans and callers that a test can turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.breakers.schemas import CallsSeen
from central_hub.breakers.telling import BreakerStreams
from central_hub.breakers.usecases import Granted, SharedBreakers
from central_hub.breakers.verdicts import FACTS, state_of
from central_hub.breakers.view import BreakersView
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import SHARED, DomainId, TenantId
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer

RISK = ("risk", "")
PLAN = {"breaker_failure_rate": 0.5, "breaker_open_s": 30}


def ctx_of(tenant: str | None) -> TenantContext:
    """Return a context of a tenant's own key, or of nobody's tenant."""
    principal = Principal(
        id="key:k", kind=PrincipalKind.KEY, home=DomainId(tenant or SHARED), key_id="k",
        scopes=frozenset({"breakers:read", "breakers:write"}),
    )  # fmt: skip
    return TenantContext(
        principal=principal, tenant_id=None if tenant is None else TenantId(tenant), tier="pro", rank=2
    )


class SomeServices:
    """`risk` is shared, `own` is its asker's; `hidden` from everyone."""

    def __init__(self) -> None:
        self.blind: set[str] = set()
        self.shadowing: set[str] = set()

    def home_of(self, ctx: TenantContext, name: str) -> DomainId | None:
        if name == "own" or ctx.domain in self.shadowing:
            return ctx.domain
        return SHARED if name == "risk" and ctx.domain not in self.blind else None

    def require(self, ctx: TenantContext, name: str) -> DomainId:
        home = self.home_of(ctx, name)
        if home is None:
            raise HubError("service_not_found", Kind.NOT_FOUND, "There is none.")
        return home


class SomePlans:
    """One plan for all, and what was agreed with some."""

    def __init__(self) -> None:
        self.agreed: dict[str, Mapping[str, object]] = {}

    def words(self, domain: DomainId, tier: str) -> Mapping[str, object]:
        return self.agreed.get(domain, PLAN)


class SomeOwner:
    """Owns everything, or nothing."""

    def __init__(self) -> None:
        self.owning = True

    def owns(self, work: str, key: str) -> bool:
        return self.owning

    def owner(self, work: str, key: str) -> str | None:
        return None

    def on_change(self, told: Callable[[], None]) -> None:
        pass


class Doorkeeper:
    """Lets everyone on, unless a test says otherwise."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    def current(self, ctx: TenantContext) -> TenantContext:
        if ctx.domain in self.refused:
            raise HubError("invalid_credential", Kind.UNAUTHENTICATED, "It was revoked.")
        return ctx


class Fleet:
    """Everything of shared verdicts, and the log under it."""

    def __init__(self, log: MemoryLog | None = None, keys: KeyRing | None = None) -> None:
        self.clock = ManualClock()
        self.log = log or MemoryLog()
        self.keys = keys or KeyRing(bytes(32), MemoryKeys())
        self.view = BreakersView()
        self.runner = Runner(self.log, self.keys, FactTypes(FACTS), [self.view])
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, os.urandom)
        self.services, self.access = SomeServices(), Doorkeeper()
        self.plans, self.ownership, self.facts = SomePlans(), SomeOwner(), list[Fact]()
        self.shared = SharedBreakers(
            self.view, self.sequencer, self.services, self.plans, self.clock, self.ownership
        )  # fmt: skip
        self.runner.listen(lambda batch: self.facts.extend(one.fact for one in batch if one.fact is not None))
        self.streams = BreakerStreams(self.view, self.shared, self.services, self.access, self.clock)
        self.shared.on_named = self.streams.named
        self.runner.listen(self.shared.applied)
        self.runner.listen(self.streams.applied)

    async def seen(self, tenant: str | None, caller: str, calls: int, failures: int, **more: Any) -> bool:
        """Report calls of one process and make durable what follows."""
        service = more.pop("service", "risk")
        said = CallsSeen(service_name=service, calls=calls, failures=failures, **more)
        taken = self.shared.report(ctx_of(tenant), caller, said)
        await self.shared.settle()
        return taken

    async def lease(self, tenant: str | None, wanted: int = 1, service: str = "risk") -> Granted:
        """Ask for probes."""
        return await self.shared.lease(ctx_of(tenant), service, "", wanted)

    async def trip(self, tenant: str = "acme", service: str = "risk") -> None:
        """Have a tenant's breaker open, on what three of its processes saw."""
        for caller in ("p-1", "p-2", "p-3"):
            await self.seen(tenant, caller, 6, 6, service=service)

    def state(self, domain: str, key: tuple[str, str] = RISK) -> str:
        """Return what the hub says to a domain."""
        return state_of(self.view.verdict(DomainId(domain), key), self.clock.now_ms()).value


@asynccontextmanager
async def opened(log: MemoryLog | None = None, keys: KeyRing | None = None) -> AsyncIterator[Fleet]:
    """Run a fleet's sequencer for the length of a test."""
    fleet = Fleet(log, keys)
    await fleet.runner.catch_up()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(fleet.sequencer.run())
        try:
            yield fleet
        finally:
            fleet.sequencer.close()
            await asyncio.wait({running}, timeout=2)
            running.cancel()
