"""Flags on a memory log, with the ports a test can turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.flags.evaluation import Asker, FlagSets
from central_hub.flags.model import FACTS, Condition, Definition, FlagType, Operator, Override, Rule, Segment
from central_hub.flags.telling import FlagStreams
from central_hub.flags.usecases import Flags
from central_hub.flags.view import FlagsView
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.plans.ports import Entitlement, EntitlementKind

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
ASKER = Asker(ACME, "pro", "production")
ON_OFF = {"on": True, "off": False}


def flag(key: str = "search", **fields: Any) -> Definition:
    """Return a flag: a boolean that is off."""
    given: dict[str, Any] = {"type": FlagType.BOOLEAN, "variants": ON_OFF, "default": "off"}
    return Definition(key=key, **{**given, **fields})


def rule(variant: str = "on", **fields: Any) -> Rule:
    """Return a rule; lists become what the model has."""
    return Rule(variant=variant, **{name: tuple(one) if isinstance(one, list) else one for name, one in fields.items()})


def condition(attribute: str, operator: str, *values: Any) -> Condition:
    """Return a condition."""
    return Condition(attribute=attribute, operator=Operator(operator), values=values)


def told(view: FlagsView, *facts: tuple[DomainId, Fact]) -> FlagsView:
    """Let a view fold facts, each at the next position."""
    for seq, (domain, fact) in enumerate(facts, start=1):
        view.apply(applied(domain, fact, seq))
    return view


def applied(domain: DomainId, fact: Fact, seq: int = 1) -> Applied:
    """Return a fact as views see it."""
    return Applied(
        pos=seq, domain=domain, domain_seq=seq, streams=("s",), category=Category.FACT, type=type(fact).__name__,
        id=str(seq), time_ms=1_000 + seq, actor=HUB_ACTOR, fact=fact,
    )  # fmt: skip


def ctx_of(tenant: str | None = "acme", *scopes: str, home: str | None = None, **fields: Any) -> TenantContext:
    """Return a context of a tenant's own key; of the platform's without a tenant."""
    given: dict[str, Any] = {
        "id": "key:k", "kind": PrincipalKind.KEY, "home": DomainId(home or tenant or PLATFORM), "key_id": "k",
        "scopes": frozenset(scopes or ("flags:read", "flags:write")), "proof": b"12345678",
    }  # fmt: skip
    principal = Principal(**{**given, **fields})
    return TenantContext(
        principal=principal, tenant_id=None if tenant is None else TenantId(tenant), tier="pro", rank=2
    )


OPERATOR = ctx_of(None, "platform:admin", assertable=None)


class SomeFeatures:
    """Entitlements that a test grants."""

    def __init__(self) -> None:
        self.features: tuple[str, ...] = ("advanced_ai",)
        self.granted = {(ACME, "advanced_ai")}

    def names(self) -> Sequence[str]:
        return self.features

    def ask(self, domain: DomainId, tier: str, feature: str) -> Entitlement:
        allowed = (domain, feature) in self.granted
        return Entitlement(
            feature=feature, kind=EntitlementKind.BOOLEAN, allowed=allowed, source=f"plan:{tier}",
            upgrade_to=None if allowed else "enterprise",
        )  # fmt: skip


class SomeNames:
    """Three tiers, two tenants."""

    def tier_names(self) -> Sequence[str]:
        return ("free", "pro", "enterprise")

    def is_tenant(self, tenant_id: str) -> bool:
        return tenant_id in (ACME, GLOBEX)


class Doorkeeper:
    """Lets everyone on, as it is, unless a test says otherwise."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.now: dict[str, TenantContext] = {}

    def current(self, ctx: TenantContext) -> TenantContext:
        if ctx.principal.key_id in self.refused:
            raise HubError("invalid_credential", Kind.UNAUTHENTICATED, "It was revoked.")
        return self.now.get(str(ctx.tenant_id), ctx)


class House:
    """Everything of flags, and the log under it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog()
        self.keys = keys = KeyRing(bytes(32), MemoryKeys())
        self.view = FlagsView()
        self.runner = Runner(self.log, keys, FactTypes(FACTS), [self.view])
        self.sequencer = Sequencer(self.log, keys, self.runner, self.clock, os.urandom)
        self.features = SomeFeatures()
        self.sets = FlagSets(self.view, self.features)
        self.access = Doorkeeper()
        concerning = frozenset({*(fact.__name__ for fact in FACTS), "TenantChanged"})
        self.streams = FlagStreams(self.sets, self.access, self.clock, concerning, per_tenant_max=3, in_all_max=4)
        self.runner.listen(self.streams.applied)
        self.flags = Flags(self.view, self.sequencer, SomeNames(), self.features)

    async def define(self, key: str = "search", *, if_match: str | None = None, **fields: Any) -> Definition:
        """Define a flag as the operator."""
        return (await self.flags.define(OPERATOR, flag(key, **fields), if_match=if_match))[0]

    async def segment(self, name: str, *, if_match: str | None = None, **fields: Any) -> Segment:
        """Define a segment as the operator."""
        return (await self.flags.define_segment(OPERATOR, Segment(name=name, **fields), if_match=if_match))[0]

    async def override(self, variant: str, *, key: str = "search", domain: DomainId = ACME, **fields: Any) -> Override:
        """Override a flag as the operator."""
        return await self.flags.override(OPERATOR, domain, Override(key=key, variant=variant, **fields))

    def says(self, key: str = "search", asker: Asker = ASKER, **context: Any) -> Any:
        """Return (value, reason, source) of a flag."""
        outcome = self.sets.evaluate(asker, key, context)
        assert outcome is not None
        return outcome.value, outcome.reason, outcome.source


@asynccontextmanager
async def opened() -> AsyncIterator[House]:
    """Run a house's sequencer for the length of a test."""
    house = House()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(house.sequencer.run())
        try:
            yield house
        finally:
            house.sequencer.close()
            await asyncio.wait({running}, timeout=2)
            running.cancel()
