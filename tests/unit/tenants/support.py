"""A tenants feature on a memory log: what `app` wires, with a clock that a test moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.edge.guard import Claims
from central_hub.edge.operations import Headers
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import PLATFORM, RESERVED_WORDS, DomainId, TenantId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.plans.book import PlanBook
from central_hub.plans.document import default_catalogue
from central_hub.plans.view import PlansView
from central_hub.tenants.audit import AuditTrail
from central_hub.tenants.authentication import Authentication
from central_hub.tenants.denials import DenialLog
from central_hub.tenants.lifecycle import LifeCycle
from central_hub.tenants.model import FACTS, TENANT_SCOPES, Gateway, Key, TenantCreated
from central_hub.tenants.secrets import digest_of, format_key, mint_secret
from central_hub.tenants.usecases import NewKey, NewTenant, Tenants
from central_hub.tenants.view import TenantsView

PEPPER = b"p" * 32
ACME, GLOBEX = DomainId("acme"), DomainId("globex")
TIERS = PlanBook(PlansView(default_catalogue()), ManualClock())
NOBODY = Claims()


def principal(**fields: Any) -> Principal:
    """Return a principal: acme's own key with every scope of a tenant unless told otherwise."""
    given: dict[str, Any] = {"id": "key:k", "kind": PrincipalKind.KEY, "home": ACME, "scopes": TENANT_SCOPES}
    return Principal(**{**given, **fields})


def ctx_of(tenant: str | None = "acme", **fields: Any) -> TenantContext:
    """Return a context of a principal for a tenant."""
    tenant_id = None if tenant is None else TenantId(tenant)
    return TenantContext(principal=principal(**fields), tenant_id=tenant_id, tier="pro", rank=2, origin="10.0.0.1")


OPERATOR = ctx_of(None, id="operator", home=PLATFORM, scopes=frozenset({"platform:admin"}), assertable=None)


def told(view: TenantsView, *facts: tuple[DomainId, Fact]) -> TenantsView:
    """Let a view fold facts, each at the next position of its domain."""
    for seq, (domain, fact) in enumerate(facts, start=1):
        view.apply(
            Applied(
                pos=seq, domain=domain, domain_seq=seq, streams=("s",), category=Category.FACT,
                type=type(fact).__name__, id=str(seq), time_ms=1_000 + seq, actor=HUB_ACTOR, fact=fact,
            )
        )  # fmt: skip
    return view


def created(tenant: str, tier: str = "pro") -> tuple[DomainId, Fact]:
    """Return the fact of a tenant's beginning, with its domain."""
    return DomainId(tenant), TenantCreated(tenant_id=tenant, name=tenant, tier=tier)


def key_and_text(key_id: str = "k", *, domain: DomainId = ACME, **fields: Any) -> tuple[Key, str]:
    """Return a key and what its holder was given."""
    padded, secret = key_id.rjust(12, "0"), mint_secret(key_id.encode().rjust(32, b"\x07"))
    given: dict[str, Any] = {
        "name": key_id, "scopes": ("registry:read",), "digest": digest_of(PEPPER, secret), "created_at_ms": 1,
        "created_by": "operator",
    }  # fmt: skip
    return Key(id=padded, domain=domain, **{**given, **fields}), format_key(padded, secret)


def gateway(**fields: Any) -> Gateway:
    """Return a gateway that may assert acme."""
    given: dict[str, Any] = {
        "id": "edge", "issuer": "https://edge", "audience": "hub", "algorithm": "EdDSA", "public_key": "",
        "tenants": ("acme",), "scopes": ("registry:read",), "created_at_ms": 1,
    }  # fmt: skip
    return Gateway(**{**given, **fields})


class Desk:
    """Authentication over a view that a test tells what to know."""

    def __init__(self, *facts: tuple[DomainId, Fact], open_mode: bool = False) -> None:
        self.clock = ManualClock()
        self.view = told(TenantsView(), *facts)
        self.authentication = Authentication(self.view, TIERS, self.clock, PEPPER, open_mode=open_mode)

    def ask(
        self,
        key: str | None = None,
        *,
        headers: Iterable[tuple[str, str]] = (),
        origin: str = "10.0.0.1",
        method: str = "GET",
        **claims: Any,
    ) -> TenantContext:
        """Authenticate one request."""
        lines = [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in headers)]
        if key is not None:
            lines.append((b"authorization", b"Bearer " + key.encode()))
        return self.authentication.authenticate(Headers(lines), Claims(**claims), origin=origin, method=method)

    def refused(self, key: str | None = None, **more: Any) -> str:
        """Return the code a request is refused with."""
        with pytest.raises(HubError) as caught:
            self.ask(key, **more)
        return caught.value.code


class Office:
    """Everything of the tenants feature, and the log under it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog()
        keys = self.keys = KeyRing(bytes(32), MemoryKeys())
        self.view = TenantsView()
        self.runner = Runner(self.log, keys, FactTypes(FACTS), [self.view])
        self.random = random.Random(1).randbytes
        self.sequencer = Sequencer(self.log, keys, self.runner, self.clock, self.random)
        self.administered = 0
        self.tenants = Tenants(
            self.view, self.sequencer, TIERS, PEPPER,
            reserved=RESERVED_WORDS | {"register"}, administered=self._note_administered,
        )  # fmt: skip
        self.life = LifeCycle(self.view, self.sequencer, keys)
        self.denials = DenialLog(bytes(32), self.sequencer, self.clock, self.random)
        self.audit = AuditTrail(self.log, self.runner)

    def _note_administered(self) -> None:
        self.administered += 1

    async def tenant(self, name: str = "acme", tier: str = "pro") -> None:
        """Create a tenant."""
        await self.tenants.create(OPERATOR, NewTenant(id=name, name=name, tier=tier))

    async def key(self, domain: DomainId = ACME, *scopes: str, **more: Any) -> str:
        """Create a key; returns its id."""
        wanted = NewKey(name="k", scopes=scopes or ("registry:read",), **more)
        return (await self.tenants.create_key(OPERATOR, domain, wanted)).key_id


@asynccontextmanager
async def opened() -> AsyncIterator[Office]:
    """Run an office's sequencer for the length of a test."""
    office = Office()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(office.sequencer.run())
        try:
            yield office
        finally:
            office.sequencer.close()
            await asyncio.wait({running}, timeout=2)
            running.cancel()
