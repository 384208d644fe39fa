"""Events on a memory log: what `app` wires, with a sink that keeps what it is given."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from central_hub.adapters.clock import SystemClock
from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.edge.streams import Frame, Sink
from central_hub.events.describing import OwnTypes
from central_hub.events.envelope import read
from central_hub.events.model import FACTS as EVENTS_FACTS
from central_hub.events.reading import EventReading, Wanted
from central_hub.events.reported import REPORTED
from central_hub.events.streaming import EventStreams
from central_hub.events.usecases import Outcome, Publishing
from central_hub.events.validating import Validating
from central_hub.events.view import EventsView
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.events import EventTypes
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.registry.events import EVENTS
from central_hub.registry.model import FACTS, ServiceUnregistered
from tests.unit.registry.support import OpenAccess, ctx_of

ACME = DomainId("acme")
SCOPES = frozenset({"events:read", "events:write"})
JSON = ((b"content-type", b"application/json"),)


def caller(tenant: str = "acme", principal: str = "key-1") -> TenantContext:
    return ctx_of(tenant, scopes=SCOPES, principal=principal)


def event(number: int | str = 1, **more: object) -> dict[str, object]:
    made = {"specversion": "1.0", "type": "com.acme.placed", "source": "/services/orders", "id": f"e-{number}", **more}
    return {name: value for name, value in made.items() if value is not None}


class KeptSink(Sink):
    """Keeps frames; `room` is how many it takes before it is cut off."""

    def __init__(self, room: int = 1_000_000) -> None:
        super().__init__()
        self.frames: list[bytes] = []
        self.room = room
        self.full = 0

    @property
    def buffered(self) -> int:
        return self.full

    def write(self, frame: Frame | bytes) -> bool:
        if self.closed or len(self.frames) >= self.room:
            self.closed = True
            return False
        self.frames.append(frame if isinstance(frame, bytes) else frame.data)
        return True

    def close(self) -> None:
        self.closed = True

    def cut(self) -> None:
        self.closed = True

    @property
    def ids(self) -> list[str]:
        """The events' own ids, in the order in which they came."""
        lines = [line for frame in self.frames for line in frame.split(b"\n") if line.startswith(b'data: {"spec')]
        return [msgspec.json.decode(line[6:])["id"] for line in lines]

    @property
    def last(self) -> str:
        """The id to resume from."""
        return next(line[4:].decode() for line in self.frames[-1].split(b"\n") if line.startswith(b"id: "))


class House:
    """Everything of events, and the log under it."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.view = EventsView()
        self.keys = KeyRing(bytes(32), MemoryKeys())
        self.runner = Runner(self.log, self.keys, FactTypes((*FACTS, *EVENTS_FACTS)), [self.view])
        self.runner.incarnation = "inc1"
        self.clock = ManualClock()
        self.sequencer = Sequencer(self.log, self.keys, self.runner, self.clock, os.urandom)
        self.access = OpenAccess()
        self.types = EventTypes(EVENTS, REPORTED)
        self.reading = EventReading(self.log, self.runner, self.types, self.view.purged)
        self.streams = EventStreams(self.reading, self.access, SystemClock(), per_tenant_max=4)
        self.publishing = Publishing(self.sequencer, self.access, self.types, Validating(self.view))
        self.own = OwnTypes(self.view, self.sequencer, self.access)
        self.runner.listen(self.streams.applied)

    async def publish(
        self, *events: dict[str, object], ctx: TenantContext | None = None, key: str | None = None
    ) -> Outcome:
        body = msgspec.json.encode(events[0] if len(events) == 1 else list(events))
        return await self.publishing.publish(ctx or caller(), read(body, JSON), key=key)

    async def fact(self, service: str, domain: DomainId = ACME) -> None:
        """Have the hub itself tell something."""
        gone = ServiceUnregistered(service=service, instance_id="i-1")
        await self.sequencer.submit(HUB_ACTOR, (domain,), lambda tx: tx.append(domain, gone, streams=("x",)))

    def open(
        self, sink: Sink, *, after: int = 0, wanted: Wanted | None = None, ctx: TenantContext | None = None
    ) -> None:
        ctx = ctx or caller()
        self.streams.open(ctx, ctx.domain, sink, wanted or Wanted(), after)


@asynccontextmanager
async def opened() -> AsyncGenerator[House]:
    house = House()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(house.sequencer.run())
        try:
            yield house
        finally:
            house.sequencer.close()
            await asyncio.wait({running}, timeout=2)
            running.cancel()


async def settled() -> None:
    """Let everything that waits for nothing but its turn have it."""
    for _ in range(50):
        await asyncio.sleep(0)
