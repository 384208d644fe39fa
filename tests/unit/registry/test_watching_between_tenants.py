"""The watch between tenants: shadows, resuming, leaving, and whose access is looked at."""

from __future__ import annotations

import pytest

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId
from central_hub.registry.model import ServiceUnregistered
from tests.unit.registry.house import opened
from tests.unit.registry.support import ACME, ctx_of
from tests.unit.registry.test_watch_model import Client, MemorySink, World, settle
from tests.unit.registry.test_watching import RISK, events_of, registered


async def test_instances_of_a_service_that_left_sight_are_not_named_by_what_takes_its_place() -> None:
    world = World()
    world.apply(registered())
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    world.apply(registered(instance_id="secret", subscription_requirements=("pro",)))
    world.apply(registered(instance_id="own"), ACME)
    await settle(world)
    shown = Client()
    for frame in sink.frames:
        shown.take(frame)
    assert set(shown.services["risk"]["instances"]) == {"own"}
    assert b"secret" not in b"".join(sink.frames)


async def test_what_left_the_shared_service_as_it_was_shadowed_is_taken_away() -> None:
    world = World()
    for one in ("i-1", "i-2"):
        world.apply(registered(instance_id=one))
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    world.apply(ServiceUnregistered(service="risk", instance_id="i-1"))
    world.apply(registered(instance_id="own"), ACME)
    await settle(world)
    shown = Client()
    for frame in sink.frames:
        shown.take(frame)
    assert set(shown.services["risk"]["instances"]) == {"own"}


async def test_who_leaves_takes_nobody_along() -> None:
    world = World()
    leaving, staying = MemorySink(), MemorySink()
    first = world.watch.open(ctx_of(), RISK, leaving)
    world.watch.open(ctx_of(tier="pro"), RISK, staying)
    world.watch.close(first)
    world.apply(registered(), ACME)
    await settle(world)
    assert [event for event, _, _ in events_of(staying)] == ["snapshot", "sync", "delta"]


async def test_a_resumed_watch_learns_that_nothing_stands_before_the_shared_service_any_more() -> None:
    world = World()
    world.apply(registered(host="10.9.9.9"))
    world.apply(registered(), ACME)
    sink, again = MemorySink(), MemorySink()
    world.watch.close(world.watch.open(ctx_of(), RISK, sink))
    world.apply(ServiceUnregistered(service="risk", instance_id="i-1"), ACME)
    world.watch.open(ctx_of(), RISK, again, last_id=events_of(sink)[-1][2])
    shown = Client()
    for frame in (*sink.frames, *again.frames):
        shown.take(frame)
    assert shown.services["risk"]["domain"] == "shared"
    assert [one["host"] for one in shown.services["risk"]["instances"].values()] == ["10.9.9.9"]


async def test_a_resumed_watch_without_a_tenant_is_not_told_of_what_it_could_never_see() -> None:
    world = World()
    world.apply(registered())
    sink, again = MemorySink(), MemorySink()
    world.watch.close(world.watch.open(ctx_of(None), None, sink))
    world.apply(registered("secret", subscription_requirements=("pro",)))
    world.watch.open(ctx_of(None), None, again, last_id=events_of(sink)[-1][2])
    assert b"secret" not in b"".join(again.frames)
    assert [(event, position) for event, _, position in events_of(again)] == [("sync", "inc1.0.2.0")]


async def test_what_ends_in_a_tenants_own_domain_is_said_to_end_there() -> None:
    world = World()
    world.apply(registered(), ACME)
    sink = MemorySink()
    world.watch.open(ctx_of(), RISK, sink)
    world.apply(ServiceUnregistered(service="risk", instance_id="i-1"), ACME)
    await settle(world)
    event, data, _ = events_of(sink)[-1]
    assert (event, data["gone"], data["domain"]) == ("delta", True, "tenant")


async def test_watchers_of_another_tenant_count_for_nothing_in_a_tenants_own_domain() -> None:
    world = World()
    world.apply(registered(), ACME)
    world.watch.open(ctx_of("globex"), RISK, MemorySink())
    world.watch.open(ctx_of("globex"), None, MemorySink())
    assert world.watch.acknowledged(ACME, "risk", 0) == (0, 0)
    world.watch.open(ctx_of(), RISK, MemorySink())
    assert world.watch.acknowledged(ACME, "risk", 0) == (1, 1)


@pytest.mark.parametrize("domain", [None, PLATFORM, SHARED, ACME])
async def test_whose_access_changed_decides_whose_streams_are_looked_at(domain: DomainId | None) -> None:
    world = World()
    sinks = {tenant: MemorySink() for tenant in ("acme", "globex")}
    for tenant, sink in sinks.items():
        world.watch.open(ctx_of(tenant, principal="gateway"), RISK, sink)
    world.access.refused["gateway"] = HubError("invalid_credential", Kind.UNAUTHENTICATED, "removed")
    world.watch.access_changed(domain)
    assert sinks["acme"].closed
    assert sinks["globex"].closed == (domain != ACME)


async def test_nothing_is_kept_of_watchers_that_have_left() -> None:
    world = World()
    for ctx in (ctx_of(), ctx_of("globex"), ctx_of(None)):
        for names in (RISK, None):
            world.watch.close(world.watch.open(ctx, names, MemorySink()))
    watch = world.watch
    assert [watch._groups, watch._by_domain, watch._by_name, watch._star_groups] == [{}, {}, {}, {}]


async def test_the_load_of_a_shadowed_service_goes_to_those_who_see_it() -> None:
    async with opened() as house:
        await house.share(instance_id="shared-1")
        await house.register()
        own, other = MemorySink(), MemorySink()
        for tenant, sink in (("acme", own), ("globex", other)):
            house.watch.open(ctx_of(tenant), RISK, sink, load=True)
        house.loads.report(SHARED, "risk", "shared-1", at_ms=house.clock.monotonic_ms(), in_flight=3)
        house.watch.load_changed(SHARED, "risk")
        for _ in range(4):
            await house.watch.sweep()
        assert b"event: load" in b"".join(other.frames)
        assert b"event: load" not in b"".join(own.frames)
