"""The watch against a model: whatever is cut whenever, the client's map is the server's map at the client's id.

The client here is the contract of the wire and nothing else: `snapshot` replaces everything,
`delta` upserts and removes, `gone` takes a name away, an id is kept.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from central_hub.edge.streams import Frame, Sink
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.changes import Changes
from central_hub.registry.model import (
    ServiceDrainChanged,
    ServiceHealthChanged,
    ServiceRegistered,
    ServiceUnregistered,
    Status,
)
from central_hub.registry.signals import Loads
from central_hub.registry.visibility import scope_word, viewer_of, visible, visible_services
from central_hub.registry.waiting import Waiters
from central_hub.registry.watch_wire import WatchWire
from central_hub.registry.watching import WatchHub
from tests.unit.registry.support import ACME, Fold, OpenAccess, Verdicts, ctx_of, instance

NAMES = [f"svc-{number}" for number in range(6)]
IDS = [f"i-{number}" for number in range(5)]


class MemorySink(Sink):
    """Keeps what it is given."""

    __slots__ = ("frames",)

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []

    @property
    def buffered(self) -> int:
        return 0

    def write(self, frame: Frame | bytes) -> bool:
        if self.closed:
            return False
        self.frames.append(frame if isinstance(frame, bytes) else frame.data)
        return True

    def close(self) -> None:
        self._ended()

    def cut(self) -> None:
        self._ended()


class Client:
    """A map of services, maintained from the stream alone."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.revisions: dict[str, int] = {}
        self.last_id = ""
        self.live = False
        self.bytes = 0

    def take(self, frame: bytes) -> None:
        self.bytes += len(frame)
        for block in frame.decode().strip("\n").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            data = json.loads(fields["data"])
            getattr(self, fields["event"])(data)
            self.last_id = fields.get("id", self.last_id)

    def snapshot(self, data: dict[str, Any]) -> None:
        self.services = {}
        for name, service in data["services"].items():
            if service is not None:
                self._revise(name, service["revision"])
                instances = {one["instance_id"]: one for one in service["instances"]}
                self.services[name] = {"domain": service["domain"], "instances": instances}

    def delta(self, data: dict[str, Any]) -> None:
        name = data["service"]
        self._revise(name, data["revision"])
        if data.get("gone"):
            self.services.pop(name, None)
            return
        service = self.services.setdefault(name, {"domain": "", "instances": {}})
        service["domain"] = data["domain"]
        service["instances"].update({one["instance_id"]: one for one in data["upsert"]})
        for instance_id in data["remove"]:
            service["instances"].pop(instance_id, None)

    def sync(self, data: dict[str, Any]) -> None:
        self.live = True

    def _revise(self, name: str, revision: int) -> None:
        assert revision >= self.revisions.get(name, 0), f"the revision of {name} went back"
        self.revisions[name] = revision


class World:
    """A view, its watch and its history, driven by facts."""

    def __init__(self) -> None:
        self.fold = Fold()
        self.clock = ManualClock()
        loads = Loads()
        self.catalogue = Catalogue(Verdicts(), loads, self.clock, "inc1")
        self.access = OpenAccess()
        wire = WatchWire(self.fold.view, self.catalogue, Verdicts(), loads)
        self.watch = WatchHub(self.fold.view, wire, self.access, self.fold, self.clock)
        self.waiters = Waiters()
        self.changes = Changes(self.fold.view, self.waiters, self.watch, self.catalogue, loads)

    def apply(self, fact: Fact, domain: DomainId = SHARED) -> None:
        self.changes.applied([self.fold.apply(fact, domain, self.clock.now_ms())])

    def map_for(self, ctx: TenantContext, names: frozenset[str] | None) -> dict[str, dict[str, Any]]:
        """What the server shows the caller right now."""
        viewer = viewer_of(ctx)
        wanted = names if names is not None else {s.name for _, s in visible_services(self.fold.view, viewer)}
        shown: dict[str, dict[str, Any]] = {}
        for name in wanted:
            found = visible(self.fold.view, viewer, name)
            if found is not None:
                instances = {key: json.loads(one.encoded) for key, one in self.catalogue.entry(*found).shown.items()}
                shown[name] = {"domain": scope_word(found[0]), "instances": instances}
        return shown

    def random_fact(self, dice: random.Random) -> tuple[Fact, DomainId]:
        domain = dice.choice([SHARED, SHARED, ACME, DomainId("other")])
        name, instance_id = dice.choice(NAMES), dice.choice(IDS)
        held = self.fold.view.instance(domain, name, instance_id)
        kind = dice.random()
        if held is None or kind < 0.3:
            asked = dice.choice([(), (), (), ("pro",), ("enterprise",)])
            wanted = instance(name, instance_id, port=dice.randrange(1, 9_999), subscription_requirements=asked)
            return ServiceRegistered(instance=wanted), domain
        if kind < 0.7:
            return ServiceUnregistered(service=name, instance_id=instance_id), domain
        if kind < 0.85:
            return ServiceDrainChanged(service=name, instance_id=instance_id, draining=not held.draining), domain
        status = dice.choice(list(Status))
        return ServiceHealthChanged(service=name, instance_id=instance_id, status=status), domain


async def settle(world: World) -> None:
    """Let every scheduled slice run."""
    for _ in range(4):
        world.clock.advance(11)
        await asyncio.sleep(0)
    while world.watch._work is not None or world.watch._ready:
        world.clock.advance(11)
        await asyncio.sleep(0.001)


async def run_model(seed: int, changes: int, cuts: int) -> None:
    dice = random.Random(seed)
    world = World()
    contexts = [ctx_of("acme"), ctx_of("acme", tier="pro", principal="key-2"), ctx_of(None, principal="anon")]
    watched: list[frozenset[str] | None] = [None, frozenset(NAMES[:3]), frozenset({"svc-1", "never"})]
    cut_at = set(dice.sample(range(changes), cuts))
    open_now: list[tuple[TenantContext, frozenset[str] | None, Client, MemorySink, Any, int]] = []
    for ctx in contexts:
        for names in watched:
            client, sink = Client(), MemorySink()
            open_now.append((ctx, names, client, sink, world.watch.open(ctx, names, sink), 0))
    for step in range(changes):
        world.apply(*world.random_fact(dice))
        if dice.random() < 0.2:
            await settle(world)
        if step not in cut_at:
            continue
        index = dice.randrange(len(open_now))
        ctx, names, client, sink, watcher, taken = open_now[index]
        # The client got some of what was sent, and lost the rest with the connection.
        received = dice.randint(taken, len(sink.frames))
        for frame in sink.frames[taken:received]:
            client.take(frame)
        sink.cut()
        world.watch.close(watcher)
        for _ in range(dice.choice([0, 0, 1, 5, 30])):
            world.apply(*world.random_fact(dice))
        sink = MemorySink()
        watcher = world.watch.open(ctx, names, sink, last_id=client.last_id)
        for frame in sink.frames:
            client.take(frame)
        assert client.services == world.map_for(ctx, names), f"step {step}, names {names}"
        open_now[index] = (ctx, names, client, sink, watcher, len(sink.frames))
    await settle(world)
    for ctx, names, client, sink, _, taken in open_now:
        for frame in sink.frames[taken:]:
            client.take(frame)
        assert client.live
        assert client.services == world.map_for(ctx, names)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_after_random_cuts_the_clients_map_is_the_servers(seed: int) -> None:
    await run_model(seed, changes=4_000, cuts=400)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
async def test_after_ten_thousand_cuts_in_a_million_changes_the_clients_map_is_the_servers() -> None:
    await run_model(4, changes=1_000_000, cuts=10_000)
