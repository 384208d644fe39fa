"""Relays on a memory log: what `app` wires, with brokers, secrets and ownership that a test can turn."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from central_hub.adapters.clock import SystemClock
from central_hub.adapters.cursor_store import MemoryCursors
from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.app.telling import EVENT_TYPES
from central_hub.events.model import EventPublished
from central_hub.events.reading import EventReading
from central_hub.events.usecases import Publishing
from central_hub.events.validating import Validating
from central_hub.events.view import EventsView
from central_hub.kernel.brokers import BrokerError, BrokerKind, Brokers, BrokerTarget, Link, Message, Sent, Trouble
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.kernel.records import HUB_ACTOR, Category
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.relays.following import Following
from central_hub.relays.line import Line
from central_hub.relays.model import FACTS, Relay, Server, Settings, Start
from central_hub.relays.outcomes import Outcomes
from central_hub.relays.taking import Taking
from central_hub.relays.usecases import Relays
from central_hub.relays.view import RelaysView
from central_hub.tenants.model import FACTS as TENANTS_FACTS
from central_hub.tenants.model import TenantCreated

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
SETTINGS = Settings(kind=BrokerKind.NATS, servers=(Server(host="broker.example", port=4222),), destination="HUB")


def ctx() -> TenantContext:
    """Return the operator."""
    principal = Principal(
        id="key:root", kind=PrincipalKind.KEY, home=PLATFORM, scopes=frozenset({"platform:admin"})
    )  # fmt: skip
    return TenantContext(principal=principal, tenant_id=None, tier="", rank=0)


class Held:
    """A link to nowhere: keeps what it is given, and answers as it is told."""

    def __init__(self, broker: Broker, target: BrokerTarget) -> None:
        self.broker = broker
        self.target = target
        self.closed = False

    async def resume_after(self) -> int | None:
        return self.broker.reached

    async def send(self, messages: Sequence[Message]) -> Sent:
        assert not self.closed
        await asyncio.sleep(0)
        self.broker.batches.append(len(messages))
        stored = 0
        for message in messages:
            trouble = self.broker.answer(message)
            if trouble is not None:
                return Sent(stored=stored, trouble=trouble)
            self.broker.got.append(message)
            stored += 1
        return Sent(stored=stored)

    async def close(self) -> None:
        self.closed = True


class Broker:
    """Implements `Brokers` without a network."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.targets: list[BrokerTarget] = []
        self.batches: list[int] = []
        self.answer: Callable[[Message], Trouble | None] = lambda _message: None
        self.away = False
        self.reached: int | None = None

    async def connect(self, target: BrokerTarget) -> Link:
        self.targets.append(target)
        if self.away:
            raise BrokerError(Trouble.UNREACHABLE)
        return Held(self, target)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events it was given, in order."""
        return [json.loads(one.body)["data"]["n"] for one in self.got]


class Owned:
    """Says what is this hub's, as a test has it."""

    def __init__(self) -> None:
        self.ours = True
        self._told: list[Callable[[], None]] = []

    def owns(self, work: str, key: str) -> bool:
        assert work == "relay"
        return self.ours

    def owner(self, work: str, key: str) -> str | None:
        return None

    def on_change(self, told: Callable[[], None]) -> None:
        self._told.append(told)

    def turn(self, *, ours: bool) -> None:
        """Give the work away, or take it."""
        self.ours = ours
        for told in self._told:
            told()


class House:
    """Everything of relays, and the log under it.

    Args:
        before: one whose log, keys and cursors this one goes on with.
        brokers: opens links; a broker without a network by default.
    """

    def __init__(self, *, before: House | None = None, brokers: Brokers | None = None, parked_max: int = 3) -> None:
        self.clock = SystemClock()
        self.log = before.log if before else MemoryLog()
        self.keys = before.keys if before else KeyRing(bytes(32), MemoryKeys())
        self.cursors = before.cursors if before else MemoryCursors()
        self.secrets: dict[str, str] = before.secrets if before else {}
        self.broker = before.broker if before else Broker()
        self.view = RelaysView()
        self.there: set[str] = {"acme", "globex"}
        self.owned = Owned()
        types = FactTypes((*FACTS, *TENANTS_FACTS, EventPublished))
        self.runner = Runner(self.log, self.keys, types, [self.view])
        self.runner.incarnation = "inc1"
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, os.urandom)
        self.relays = Relays(self.view, self.sequencer, self.secrets.__contains__, self.there.__contains__)
        self.reading = EventReading(self.log, self.runner, EVENT_TYPES)
        self.following = Following(
            self.view, self.reading, self.log, self.runner, brokers or self.broker, self,
            Taking(Publishing(self.sequencer, self, EVENT_TYPES, Validating(EventsView())), self),
            Outcomes(self.view, self.sequencer, self.clock, parked_max=parked_max), self.cursors, self.owned, self.keys,
            self.clock, lambda _bits: 0,
        )  # fmt: skip
        self.runner.listen(self.following.applied)

    def context(self, domain: DomainId, principal: Principal) -> TenantContext:
        """Implement `Bindings`."""
        if domain not in self.there:
            raise HubError("tenant_suspended", Kind.DENIED, "The tenant is suspended.")
        return TenantContext(principal=principal, tenant_id=TenantId(domain), tier="pro", rank=1)

    def current(self, ctx: TenantContext) -> TenantContext:
        """Implement the publishing's `Access`."""
        return self.context(ctx.domain, ctx.principal)

    async def told(self, tenant: str = "acme") -> list[dict[str, Any]]:
        """Return the events that were published in a tenant's domain, in order."""
        records = await self.log.read_domain(DomainId(tenant), 0, 10_000)
        opened = [applied for record in records if (applied := self.runner.opened(record)) is not None]
        told = [one for applied in opened if (one := self.reading.told(applied)) is not None]
        return [json.loads(one.body) for one in told]

    def value(self, path: str) -> str | None:
        """Implement `Credentials`."""
        return self.secrets.get(path)

    async def create(self, name: str = "out", settings: Settings = SETTINGS, start: Start = Start.NOW) -> Relay:
        return await self.relays.create(ctx(), name, settings, start)

    async def publish(
        self, *numbers: int, tenant: str = "acme", subject: str = "orders", type_: str = "com.example.placed",
        size: int = 0, named: str = "",
    ) -> None:  # fmt: skip
        """Record published events, all in one command."""

        def decide(tx: Tx) -> None:
            for number in numbers:
                data = json.dumps({"n": number, "pad": "x" * size} if size else {"n": number}).encode()
                fact = EventPublished(id=named, source="/services/shop", type=type_, subject=subject, data=data)
                tx.append(DomainId(tenant), fact, streams=(f"event/{subject}",), category=Category.EVENT)

        await self.sequencer.submit(HUB_ACTOR, (DomainId(tenant),), decide)

    async def tell(self, tenant: str = "acme") -> None:
        """Record a fact that the hub itself tells as an event."""

        def decide(tx: Tx) -> None:
            fact = TenantCreated(tenant_id=tenant, name="Acme", tier="pro")
            tx.append(DomainId(tenant), fact, streams=("tenant",))

        await self.sequencer.submit(HUB_ACTOR, (DomainId(tenant),), decide)

    def line(self, name: str = "out") -> Line:
        relay = self.view.named(PLATFORM, name)
        line = None if relay is None else self.following.line(relay.id)
        assert line is not None
        return line

    async def settled(self, name: str = "out", *, seconds: float = 20.0) -> None:
        """Wait until a relay has handed everything over."""
        async with asyncio.timeout(seconds):
            while True:
                await asyncio.sleep(0.002)
                relay = self.view.named(PLATFORM, name)
                line = None if relay is None else self.following.line(relay.id)
                if line is not None and line.connected and not line.pending and line.done == self.runner.pos:
                    return

    async def until(self, condition: Callable[[], Any], *, seconds: float = 20.0) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def opened(build: Callable[[], House] = House, *, orderly: bool = False) -> AsyncIterator[House]:
    """Run a house for the length of a test; unless it is orderly it ends as if it had been killed."""
    house = build()
    await house.runner.catch_up()
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(house.sequencer.run())
        following = group.create_task(house.following.run())
        try:
            yield house
            if orderly:
                await house.following.flush()
        finally:
            house.sequencer.close()
            await asyncio.wait({committing}, timeout=2)
            committing.cancel()
            following.cancel()
