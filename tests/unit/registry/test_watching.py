"""The watch: who is told what, when, in how many bytes, and who is told nothing any more."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED
from central_hub.registry.model import ServiceDrainChanged, ServiceRegistered, ServiceUnregistered
from central_hub.registry.routes import watched_names
from central_hub.registry.view import TOMBSTONES_PER_DOMAIN_MAX
from central_hub.registry.watching import MERGE_MS, SERVICES_PER_WATCH_MAX
from tests.unit.registry.house import House, opened
from tests.unit.registry.support import ACME, ctx_of, instance
from tests.unit.registry.test_watch_model import Client, MemorySink, World, settle

RISK = frozenset({"risk"})


class TickingClock(ManualClock):
    """A clock on which every look takes half a millisecond, so that every slice ends early."""

    def monotonic_ms(self) -> float:
        self.advance(0.5)
        return super().monotonic_ms()


def events_of(sink: MemorySink) -> list[tuple[str, dict[str, Any], str]]:
    found: list[tuple[str, dict[str, Any], str]] = []
    for block in b"".join(sink.frames).decode().strip("\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
        if fields:
            found.append((fields["event"], json.loads(fields["data"]), fields.get("id", "")))
    return found


def registered(name: str = "risk", instance_id: str = "i-1", **fields: Any) -> ServiceRegistered:
    return ServiceRegistered(instance=instance(name, instance_id, **fields))


async def test_a_watch_begins_with_a_snapshot_and_sync_under_one_id() -> None:
    world = World()
    world.apply(registered())
    sink = MemorySink()
    world.watch.open(ctx_of(), frozenset({"risk", "nope"}), sink)
    (snapshot, data, position), (sync, _, sync_position) = events_of(sink)
    assert (snapshot, sync) == ("snapshot", "sync")
    assert position == sync_position == "inc1.0.1.0"
    assert data["services"]["nope"] is None
    assert data["services"]["risk"]["domain"] == "shared"
    assert data["services"]["risk"]["revision"] == 1
    assert data["services"]["risk"]["instances"][0]["instance_id"] == "i-1"


async def test_the_first_change_is_told_at_once_and_the_next_ones_merge() -> None:
    world = World()
    world.clock.advance(1_000)
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    world.apply(registered())
    await asyncio.sleep(0)
    assert len(sink.frames) == 2
    for port in (1, 2, 3):
        world.apply(registered(port=port))
    await asyncio.sleep(0)
    assert len(sink.frames) == 2
    world.clock.advance(MERGE_MS)
    await asyncio.sleep(MERGE_MS / 1000 * 2)
    assert len(sink.frames) == 3
    event, data, position = events_of(sink)[-1]
    assert (event, data["upsert"][0]["port"], position) == ("delta", 3, "inc1.0.4.0")


async def test_what_did_not_change_wakes_nobody() -> None:
    async with opened() as house:
        await house.register()
        sink = MemorySink()
        house.watch.open(ctx_of(), RISK, sink)
        await house.register()  # identical
        await house.register(name="another")
        await house.register(ctx_of("other"))
        house.clock.advance(100)  # type: ignore[attr-defined]
        await asyncio.sleep(0.03)
        assert len(sink.frames) == 1
        assert house.watch.told == 1


async def test_one_change_among_a_thousand_instances_costs_less_than_a_kilobyte() -> None:
    world = World()
    for number in range(1_000):
        world.apply(registered(instance_id=f"i-{number}"))
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    world.apply(registered(instance_id="i-500", port=9))
    await settle(world)
    assert len(sink.frames) == 2
    assert len(sink.frames[-1]) < 1_000


async def test_watchers_that_see_alike_share_the_bytes() -> None:
    world = World()
    world.apply(registered())
    sinks = [MemorySink() for _ in range(3)]
    for sink in sinks:
        world.watch.open(ctx_of(), RISK, sink)
    world.apply(registered(port=9))
    await settle(world)
    assert sinks[0].frames[-1] is sinks[1].frames[-1] is sinks[2].frames[-1]


async def test_losing_sight_of_a_service_is_a_gone() -> None:
    world = World()
    world.apply(registered())
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    world.apply(registered(instance_id="i-2", subscription_requirements=("pro",)))
    await settle(world)
    event, data, _ = events_of(sink)[-1]
    assert (event, data["gone"], data["upsert"], data["remove"]) == ("delta", True, [], [])
    assert data["domain"] == "shared"
    world.apply(registered(port=9))
    await settle(world)
    assert len(sink.frames) == 2


async def test_a_service_above_the_tier_never_reaches_the_stream_in_life_or_death() -> None:
    world = World()
    world.apply(registered())
    sink, later = MemorySink(), MemorySink()
    world.watch.open(ctx_of(), None, sink)
    last_id = events_of(sink)[-1][2]
    world.apply(registered("secret", subscription_requirements=("pro",)))
    world.apply(ServiceUnregistered(service="secret", instance_id="i-1"))
    world.apply(registered("secret-too", subscription_requirements=("pro",)))
    await settle(world)
    world.watch.open(ctx_of(), None, later, last_id=last_id)
    assert b"secret" not in b"".join(sink.frames + later.frames)


async def test_a_resumed_watch_gets_only_what_changed() -> None:
    world = World()
    for name in ("a", "b"):
        world.apply(registered(name))
        world.apply(registered(name, "i-2"))
    sink, again = MemorySink(), MemorySink()
    watcher = world.watch.open(ctx_of(), None, sink)
    world.watch.close(watcher)
    world.apply(ServiceUnregistered(service="b", instance_id="i-1"))
    world.watch.open(ctx_of(), None, again, last_id=events_of(sink)[-1][2])
    (event, data, _), (sync, _, _) = events_of(again)
    assert (event, sync) == ("delta", "sync")
    assert (data["service"], data["upsert"], data["remove"]) == ("b", [], ["i-1"])


@pytest.mark.parametrize(
    "last_id", ["nonsense", "old.0.1.0", "inc1.0.1.7", "inc1.0.99.0", "inc1.9.1.0", "inc1.0.1.0.0"]
)
async def test_an_id_that_cannot_be_resumed_from_gets_a_snapshot(last_id: str) -> None:
    world = World()
    world.apply(registered())
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink, last_id=last_id)
    assert events_of(sink)[0][0] == "snapshot"


async def test_an_id_before_the_tombstone_horizon_gets_a_snapshot() -> None:
    world = World()
    for number in range(TOMBSTONES_PER_DOMAIN_MAX + 1):
        world.apply(registered(f"s-{number}"))
        world.apply(ServiceUnregistered(service=f"s-{number}", instance_id="i-1"))
    sink = MemorySink()
    world.watch.open(ctx_of(), None, sink, last_id="inc1.0.1.0")
    assert events_of(sink)[0][0] == "snapshot"


async def test_a_revoked_keys_stream_is_cut_and_carries_nothing_after() -> None:
    world = World()
    world.apply(registered())
    sink, kept = MemorySink(), MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    world.watch.open(ctx_of(principal="key-2"), RISK, kept)
    world.apply(registered(port=9))
    world.access.refused["key-1"] = HubError("invalid_credential", Kind.UNAUTHENTICATED, "revoked")
    world.watch.access_changed(ACME)
    await settle(world)
    assert sink.closed
    assert len(sink.frames) == 1
    assert not kept.closed
    assert len(kept.frames) == 2
    assert world.watch.watchers == 1


async def test_access_that_ends_by_time_is_found_by_the_sweep() -> None:
    world = World()
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    world.access.refused["key-1"] = HubError("invalid_credential", Kind.UNAUTHENTICATED, "expired")
    await world.watch.sweep()
    assert sink.closed


async def test_access_lost_before_the_stream_opens_opens_nothing() -> None:
    world = World()
    world.access.refused["key-1"] = HubError("invalid_credential", Kind.UNAUTHENTICATED, "revoked")
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    assert sink.closed
    assert (sink.frames, world.watch.watchers) == ([], 0)


async def test_a_changed_tier_begins_the_watch_anew_under_the_new_epoch() -> None:
    world = World()
    world.apply(registered(subscription_requirements=("pro",)))
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    assert events_of(sink)[0][1] == {"services": {"risk": None}}
    world.access.replaced["key-1"] = ctx_of(tier="pro", epoch=1)
    world.watch.access_changed(ACME)
    event, data, position = events_of(sink)[2]
    assert (event, position) == ("snapshot", "inc1.0.1.1")
    assert data["services"]["risk"]["revision"] == 1
    world.apply(registered(port=9, subscription_requirements=("pro",)))
    await settle(world)
    assert events_of(sink)[-1][1]["upsert"][0]["port"] == 9


async def test_a_sink_that_gives_up_is_forgotten() -> None:
    world = World()
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    sink.cut()
    world.apply(registered())
    await settle(world)
    assert world.watch.watchers == 0


async def test_watches_per_tenant_have_a_limit() -> None:
    async with opened() as house:
        for _ in range(4):
            house.watch.admit(ctx_of())
            house.watch.open(ctx_of(), RISK, MemorySink())
        with pytest.raises(HubError, match="too_many_watchers"):
            house.watch.admit(ctx_of())
        house.watch.admit(ctx_of("other"))


def test_what_may_be_watched() -> None:
    assert watched_names("*") is None
    assert watched_names("a,b") == frozenset({"a", "b"})
    for bad in ("", "a,,b", "A", ",".join(f"s{n}" for n in range(SERVICES_PER_WATCH_MAX + 1))):
        with pytest.raises(HubError, match="invalid_query"):
            watched_names(bad)


async def test_load_events_go_to_those_who_asked_without_an_id() -> None:
    async with opened() as house:
        await house.register()
        plain, curious = MemorySink(), MemorySink()
        house.watch.open(ctx_of(), RISK, plain)
        house.watch.open(ctx_of(), RISK, curious, load=True)
        house.loads.report(ACME, "risk", "i-1", at_ms=house.clock.monotonic_ms(), in_flight=3, latency_ms_p95=12.0)
        await house.watch.sweep()
        assert len(curious.frames) == 1
        await house.watch.sweep()
        assert events_of(curious)[-1] == (
            "load", {"service": "risk", "loads": {"i-1": {"in_flight": 3, "latency_ms_p95": 12.0}}}, ""
        )  # fmt: skip
        for _ in range(4):
            await house.watch.sweep()
        assert len(curious.frames) == 2
        assert len(plain.frames) == 1


async def test_a_drain_is_acknowledged_by_those_who_were_told() -> None:
    world = World()
    world.apply(registered())
    for _ in range(2):
        world.watch.open(ctx_of(), RISK, MemorySink())
    world.apply(ServiceDrainChanged(service="risk", instance_id="i-1", draining=True))
    assert world.watch.acknowledged(SHARED, "risk", 2) == (0, 2)
    await settle(world)
    assert world.watch.acknowledged(SHARED, "risk", 2) == (2, 2)


async def test_a_long_snapshot_comes_in_parts_and_is_whole_at_sync_whatever_happens_meanwhile() -> None:
    world = World()
    world.clock = TickingClock()
    world.watch._clock = world.clock
    for number in range(60):
        world.apply(registered(f"s-{number:02}"))
    sink, client = MemorySink(), Client()
    world.watch.open(ctx_of(), None, sink)
    assert "sync" not in [event for event, _, _ in events_of(sink)]
    for number in range(0, 60, 7):
        world.apply(registered(f"s-{number:02}", "i-2"))
        world.apply(ServiceUnregistered(service=f"s-{59 - number:02}", instance_id="i-1"))
        await asyncio.sleep(0)
    while not client.live:
        await asyncio.sleep(0.002)
        for frame in sink.frames:
            client.take(frame)
        sink.frames.clear()
    await settle(world)
    for frame in sink.frames:
        client.take(frame)
    assert client.services == world.map_for(ctx_of(), None)
    assert client.last_id.startswith("inc1.0.")


async def test_no_part_of_a_snapshot_before_sync_carries_an_id() -> None:
    world = World()
    world.clock = TickingClock()
    world.watch._clock = world.clock
    for number in range(30):
        world.apply(registered(f"s-{number:02}"))
    sink = MemorySink()
    world.watch.open(ctx_of(), None, sink)
    world.apply(registered("s-00", "i-2"))
    for _ in range(50):
        await asyncio.sleep(0.002)
    events = events_of(sink)
    synced = next(index for index, (event, _, _) in enumerate(events) if event == "sync")
    last_full = max(index for index, (event, _, _) in enumerate(events) if event == "snapshot")
    assert all(not position for event, _, position in events[last_full : synced - 1])
    assert events[synced][2]


async def test_a_house_that_restarts_hands_the_watch_on() -> None:
    """The id a client kept is good at a hub that rebuilt its view from the log."""
    async with opened() as house:
        await house.register()
        sink = MemorySink()
        house.watch.open(ctx_of(), RISK, sink)
        last_id = events_of(sink)[-1][2]
        await house.register(port=9)
        successor = House()
        successor.log, successor.keys = house.log, house.keys
        successor.runner._log, successor.runner._sealer = house.log, house.keys
        await successor.runner.catch_up()
        again = MemorySink()
        successor.watch.open(ctx_of(), RISK, again, last_id=last_id)
        assert events_of(again)[0][1]["upsert"][0]["port"] == 9


async def test_a_hub_that_goes_away_ends_every_stream_in_good_order() -> None:
    world = World()
    sinks = [MemorySink(), MemorySink()]
    for sink in sinks:
        world.watch.open(ctx_of(), RISK, sink)
    world.watch.close_all()
    assert all(sink.closed for sink in sinks)
    assert world.watch.watchers == 0
