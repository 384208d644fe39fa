"""Subscriptions on a memory log: what `app` wires, with consumers that a test can turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from central_hub.adapters.cursor_store import MemoryCursors
from central_hub.events.envelope import published, read
from central_hub.events.model import EventPublished
from central_hub.events.reading import EventReading
from central_hub.kernel.clock import Clock, ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.events import EventTypes
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import DomainId, TenantId
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.records import HUB_ACTOR, Category
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.subscriptions.book import LineBook
from central_hub.subscriptions.consumers import Consumer, Given
from central_hub.subscriptions.crowd import Crowd
from central_hub.subscriptions.events import EVENTS
from central_hub.subscriptions.following import Following
from central_hub.subscriptions.giving import Giving
from central_hub.subscriptions.keeping import PlaceKeeper
from central_hub.subscriptions.lapses import Lapses
from central_hub.subscriptions.model import FACTS, Filter, Subscription, Terms
from central_hub.subscriptions.outcomes import Outcomes
from central_hub.subscriptions.settling import NotDone, Said, Settled, Settling
from central_hub.subscriptions.starting import Starting
from central_hub.subscriptions.usecases import Subscriptions, Wish
from central_hub.subscriptions.view import SubscriptionsView
from central_hub.tenants.model import FACTS as TENANTS_FACTS
from tests.unit.events.house import House as EventHouse
from tests.unit.events.house import event
from tests.unit.registry.support import OpenAccess

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
PLACED = Filter(types=("com.*",))


def ctx_of(tenant: str = "acme") -> TenantContext:
    """Return a tenant's own caller."""
    principal = Principal(
        id=f"key:{tenant}", kind=PrincipalKind.KEY, home=DomainId(tenant),
        scopes=frozenset({"subscriptions:read", "subscriptions:admin", "subscriptions:consume"}),
    )  # fmt: skip
    return TenantContext(principal=principal, tenant_id=TenantId(tenant), tier="pro", rank=20)


class Taken:
    """A consumer that keeps what it is given."""

    def __init__(self, *, room: bool = True) -> None:
        self.given: list[Given] = []
        self.room = room
        self.ended: list[HubError | None] = []
        self.gone = False

    def can_take(self) -> bool:
        return self.room

    def take(self, given: Given) -> bool:
        if self.gone:
            return False
        self.given.append(given)
        return True

    def end(self, reason: HubError | None) -> None:
        self.ended.append(reason)

    @property
    def ids(self) -> list[str]:
        """The events' own ids, in the order in which they came."""
        return [event_id(one) for one in self.given]


def event_id(given: Given) -> str:
    return msgspec.json.decode(given.told.body)["id"]


class House:
    """Everything of subscriptions, and the log under it."""

    def __init__(
        self, before: House | None = None, *, clock: Clock | None = None, ownership: Ownership | None = None,
        crowd: Crowd | None = None, dead_letters_max: int = 3,
    ) -> None:  # fmt: skip
        made = EventHouse()
        self.clock = clock or (before.clock if before else ManualClock())
        self.log = before.log if before else made.log
        self.keys = before.keys if before else made.keys
        self.cursors = before.cursors if before else MemoryCursors()
        self.view = SubscriptionsView()
        self.runner = Runner(self.log, self.keys, FactTypes((*FACTS, *TENANTS_FACTS, EventPublished)), [self.view])
        self.runner.incarnation = "inc1"
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, os.urandom)
        self.access = OpenAccess()
        self.reading = EventReading(self.log, self.runner, EventTypes(EVENTS))
        self.subscriptions = Subscriptions(self.view, self.sequencer, Starting(self.reading))
        self.keeper = PlaceKeeper(self.cursors)
        self.book = LineBook(self.view, self.keeper, self.runner, ownership or Alone(), self.clock)
        outcomes = Outcomes(self.view, self.sequencer, self.clock, dead_letters_max=dead_letters_max)
        self.lapses = Lapses(outcomes, self.keeper, self.clock)
        self.crowd = crowd or Crowd()
        self.giving = Giving(self.crowd, self.lapses, self.keeper, self.reading, self.clock)
        self.following = Following(
            self.view, self.book, self.crowd, self.giving, self.lapses, self.reading, self.access
        )  # fmt: skip
        self.settling = Settling(self.book, self.lapses, self.keeper, outcomes, self.view)
        self.runner.listen(self.following.applied)

    async def create(
        self, name: str = "orders", tenant: str = "acme", *, terms: Terms | None = None, **fields: Any
    ) -> Subscription:
        wish = Wish(name=name, terms=terms or Terms(), **{"filter": PLACED, **fields})
        return await self.subscriptions.create(ctx_of(tenant), DomainId(tenant), wish)

    async def publish(self, *numbers: int | str, tenant: str = "acme", **more: object) -> None:
        domain = DomainId(tenant)
        body = msgspec.json.encode([event(one, **more) for one in numbers])
        facts = [published(*one, tenant) for one in read(body, ((b"content-type", b"application/json"),))]

        def decide(tx: Tx) -> None:
            for fact in facts:
                tx.append(domain, fact, streams=("event/x",), category=Category.EVENT)

        await self.sequencer.submit(HUB_ACTOR, (domain,), decide)

    async def follow(self, name: str = "orders", tenant: str = "acme", *, room: int = 1_000) -> tuple[Taken, Consumer]:
        domain = DomainId(tenant)
        line = await self.following.opened(domain, self.subscriptions.get(domain, name))
        taken = Taken()
        return taken, self.following.attach(ctx_of(tenant), line, taken, room)

    async def pull(
        self, name: str = "orders", tenant: str = "acme", *, limit: int = 10, seconds: float = 0
    ) -> Sequence[Given]:
        domain = DomainId(tenant)
        found = self.subscriptions.get(domain, name)
        return await self.following.pull(ctx_of(tenant), domain, found, limit=limit, seconds=seconds)

    async def settle(self, name: str = "orders", tenant: str = "acme", **said: Any) -> Settled:
        domain = DomainId(tenant)
        return await self.settling.settle(domain, self.subscriptions.get(domain, name), Said(**said), "inc1")

    async def ack(self, *given: Given, name: str = "orders") -> Settled:
        return await self.settle(name, ack=[one.id for one in given])

    async def nack(self, *given: Given, delay_s: float | None = None, reject: bool = False) -> Settled:
        return await self.settle(nack=[NotDone(id=one.id, delay_s=delay_s, reject=reject) for one in given])

    async def settled(self) -> None:
        """Let everything run that is ready to."""
        for _ in range(60):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, and let what is due happen."""
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(seconds * 1_000)
        self.lapses.look()
        await self.lapses.park()
        await self.settled()


@asynccontextmanager
async def opened(build: Callable[[], House] = House) -> AsyncIterator[House]:
    """Run a house for the length of a test; it ends as if it had been killed."""
    house = build()
    await house.runner.catch_up()
    await house.book.prime()
    committing = asyncio.create_task(house.sequencer.run())
    try:
        yield house
    finally:
        await house.giving.end()
        house.sequencer.close()
        await asyncio.wait({committing}, timeout=2)
        committing.cancel()


async def refusal(attempt: Any) -> str:
    try:
        await attempt
    except HubError as error:
        return error.code
    return ""
