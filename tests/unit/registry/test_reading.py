"""Discovery and listings: who sees what, which answer, which bytes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from central_hub.kernel.context import PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.registry.catalogue import SIGNAL_REBUILD_MS
from central_hub.registry.model import ServiceHealthChanged, Status
from central_hub.registry.ports import Verdict
from central_hub.registry.schemas import DiscoverQuery, Filters
from central_hub.registry.visibility import viewer_of
from central_hub.registry.waiting import WAIT_S_MAX, WAITERS_PER_TENANT_MAX, Waiters
from tests.unit.registry.house import House, opened
from tests.unit.registry.support import ACME, ctx_of


async def refused(house: House, ctx: TenantContext, name: str = "risk", **query: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        await house.discover(ctx, name, **query)
    return caught.value


async def listed(house: House, ctx: TenantContext, filters: Filters | None = None, **more: Any) -> dict[str, Any]:
    return json.loads(b"".join((await house.reading.services(ctx, filters or Filters(), **more)).body))


async def judge(house: House, instance_id: str, status: Status) -> None:
    fact = ServiceHealthChanged(service="risk", instance_id=instance_id, status=status)
    await house.sequencer.submit(
        ctx_of().actor, (ACME,), lambda tx: tx.append(ACME, fact, streams=(f"instance/risk/{instance_id}",))
    )


async def test_the_contracts_answer() -> None:
    async with opened() as house:
        await house.register()
        await house.register(instance_id="i-2", port=8081)
        answer = await house.discover()
        assert answer["service_name"] == "risk"
        assert answer["recommended_endpoint"] in answer["all_healthy_endpoints"]
        assert answer["all_healthy_endpoints"] == ["http://10.0.0.1:8080", "http://10.0.0.1:8081"]
        assert set(answer["confidence"]) == set(answer["all_healthy_endpoints"])
        assert all(0 <= value <= 1 for value in answer["confidence"].values())
        assert answer["connection_type"] == "direct_call"
        assert [one["instance_id"] for one in answer["instances"]] == ["i-1", "i-2"]


async def test_the_draw_decides_between_candidates() -> None:
    async with opened() as house:
        await house.register()
        await house.register(instance_id="i-2", port=8081)
        house.slot = 0
        assert (await house.discover())["recommended_instance"] == "i-1"
        house.slot = 255
        assert (await house.discover())["recommended_instance"] == "i-2"


@pytest.mark.parametrize("name", ["risk", "never-heard-of"])
async def test_a_foreign_service_is_as_missing_as_an_unknown_one(name: str) -> None:
    async with opened() as house:
        await house.register()
        error = await refused(house, ctx_of("other"), name)
        assert (error.code, error.kind) == ("service_not_found", Kind.NOT_FOUND)
        assert error.message == f"There is no service '{name}'."


async def test_a_shared_service_above_the_tier_is_named_as_such_and_absent_from_lists() -> None:
    async with opened() as house:
        await house.share(subscription_requirements=("pro", "enterprise"))
        error = await refused(house, ctx_of())
        assert (error.code, error.kind, error.fields["upgrade_to"]) == ("tier_too_low", Kind.DENIED, "pro")
        assert (await listed(house, ctx_of()))["services"] == {}
        assert (await house.discover(ctx_of(tier="pro")))["domain"] == "shared"


async def test_legacy_callers_see_shared_services_without_requirements_in_their_shape() -> None:
    async with opened() as house:
        await house.share(metadata={"type": "x"})
        await house.share(name="paid", subscription_requirements=("free",))
        await house.share(name="pro-only", subscription_requirements=("pro",))
        await house.register(name="private")
        legacy = ctx_of(None, kind=PrincipalKind.LEGACY, principal="legacy", tier="enterprise")
        services = (await listed(house, legacy))["services"]
        assert set(services) == {"risk", "paid"}
        assert {"host", "port", "protocol", "health_endpoint", "metadata", "instances"} == set(services["risk"])
        assert (await refused(house, legacy, "pro-only")).code == "service_not_found"
        assert set((await listed(house, ctx_of(tier="pro"), legacy_mode=True))["services"]) == {"risk", "paid"}


async def test_a_tenants_own_service_shadows_the_shared_one_entirely() -> None:
    async with opened() as house:
        await house.share(instance_id="theirs", port=1)
        await house.share(instance_id="theirs-2", port=2)
        await house.register(instance_id="mine", port=3)
        answer = await house.discover()
        assert answer["domain"] == "tenant"
        assert answer["all_healthy_endpoints"] == ["http://10.0.0.1:3"]
        assert (await house.discover(ctx_of("other")))["domain"] == "shared"
        before = answer["revision"]
        await house.registry.deregister(ctx_of(), "risk", "mine")
        back = await house.discover()
        assert back["domain"] == "shared"
        assert back["revision"] > before


async def test_known_without_an_eligible_instance_says_why() -> None:
    async with opened() as house:
        await house.register()
        await judge(house, "i-1", Status.UNHEALTHY)
        answer = await house.discover()
        assert (answer["recommended_endpoint"], answer["all_healthy_endpoints"]) == (None, [])
        assert answer["reason"] == "all_unhealthy"
        await house.register(instance_id="i-2")
        await house.registry.drain(ctx_of(), "risk", "i-2", draining=True)
        assert (await house.discover())["reason"] == "no_eligible_instance"
        assert (await house.discover(version="9"))["reason"] == "no_instance_matches"


async def test_the_hubs_own_verdict_overlays_the_journaled_status_and_changes_the_etag() -> None:
    async with opened() as house:
        await house.register()
        before = await house.reading.discover(ctx_of(), "risk", DiscoverQuery())
        house.verdicts.by_instance[ACME, "risk", "i-1"] = Verdict(
            status=Status.UNKNOWN, protected=True, reason="mass silence"
        )
        house.catalogue.signal(ACME, "risk")
        house.clock.advance(SIGNAL_REBUILD_MS)  # type: ignore[attr-defined]
        after = await house.reading.discover(ctx_of(), "risk", DiscoverQuery())
        shown = json.loads(after.body)["instances"][0]
        assert (shown["protected"], shown["status_reason"]) == (True, "mass silence")
        assert before.etag != after.etag


async def test_the_etag_is_weak_and_moves_with_facts_not_with_load() -> None:
    async with opened() as house:
        await house.register()
        await house.register(instance_id="i-2", port=2)
        first = await house.reading.discover(ctx_of(), "risk", DiscoverQuery())
        for name, in_flight in (("i-1", 50), ("i-2", 1)):
            house.loads.report(ACME, "risk", name, at_ms=house.clock.monotonic_ms(), in_flight=in_flight)
        house.clock.advance(SIGNAL_REBUILD_MS)  # type: ignore[attr-defined]
        loaded = await house.reading.discover(ctx_of(), "risk", DiscoverQuery())
        assert first.etag == loaded.etag
        assert first.etag.startswith('W/"')
        assert json.loads(first.body)["confidence"] != json.loads(loaded.body)["confidence"]
        await house.register(instance_id="i-3", port=3)
        assert (await house.reading.discover(ctx_of(), "risk", DiscoverQuery())).etag != first.etag


async def test_signals_rebuild_an_entry_at_most_every_hundred_milliseconds() -> None:
    async with opened() as house:
        house.clock.advance(60_000)  # type: ignore[attr-defined]
        await house.register()
        house.clock.advance(60_000)  # type: ignore[attr-defined]
        await house.discover()
        built = house.catalogue.rebuilds
        for in_flight in range(10):
            house.loads.report(ACME, "risk", "i-1", at_ms=house.clock.monotonic_ms(), in_flight=in_flight)
            house.clock.advance(SIGNAL_REBUILD_MS / 10)  # type: ignore[attr-defined]
            await house.discover()
        assert house.catalogue.rebuilds == built + 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"tag": ["gpu"]}, {"a", "b"}),
        ({"tag": ["gpu", "eu"]}, {"a"}),
        ({"version": "2.0"}, {"b"}),
        ({"zone": "z1"}, {"a"}),
        ({"metadata": {"type": "x"}}, {"a"}),
        ({"metadata": {"deep.key": "3"}}, {"b"}),
        ({"metadata": {"flag": "true"}}, {"b"}),
        ({"metadata": {"absent": "null"}}, set()),
        ({"healthy": True}, {"a"}),
        ({"healthy": False}, {"b", "c"}),
    ],
)
async def test_filters(filters: dict[str, Any], expected: set[str]) -> None:
    async with opened() as house:
        await house.register(instance_id="a", tags=("gpu", "eu"), zone="z1", metadata={"type": "x"})
        await house.register(instance_id="b", tags=("gpu",), version="2.0", metadata={"deep": {"key": 3}, "flag": True})
        await house.register(instance_id="c")
        await judge(house, "a", Status.HEALTHY)
        answer = await house.discover(**filters)
        assert {one["instance_id"] for one in answer["instances"]} == expected
        services = (await listed(house, ctx_of(), Filters(**filters)))["services"]
        assert set(services) == ({"risk"} if expected else set())


async def test_explain_shows_the_parts_and_who_was_left_out() -> None:
    async with opened() as house:
        await house.register(instance_id="a")
        await house.register(instance_id="b", port=2, zone="z")
        await house.register(instance_id="c")
        await house.registry.drain(ctx_of(), "risk", "c", draining=True)
        why = (await house.discover(explain=True, near="z"))["explain"]
        assert why["excluded"] == {"c": "draining"}
        assert why["near"] == "z"
        assert {one["instance_id"]: one["probability"] for one in why["candidates"]} == {"a": 0.0, "b": 1.0}


async def test_a_blocking_read_wakes_for_its_service_and_for_nothing_else() -> None:
    async with opened() as house:
        answer = await house.register()
        waiting = asyncio.create_task(house.discover(wait_seq=answer.seq, wait_s=20))
        await asyncio.sleep(0.01)
        await house.register(name="another")
        await house.register(ctx_of("other"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        assert house.waiters.woken == 0
        await house.register(instance_id="i-2")
        assert len((await asyncio.wait_for(waiting, 1))["instances"]) == 2


async def test_a_blocking_read_of_a_missing_service_wakes_when_it_comes() -> None:
    async with opened() as house:
        waiting = asyncio.create_task(house.discover(wait_seq=0, wait_s=20))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await house.share()
        assert (await asyncio.wait_for(waiting, 1))["domain"] == "shared"


async def test_a_blocking_read_past_its_time_answers_what_is() -> None:
    async with opened() as house:
        answer = await house.register()
        assert (await house.discover(wait_seq=answer.seq, wait_s=0.01))["revision"] == answer.seq
        assert house.waiters.waiting(ACME) == 0


async def test_a_position_beyond_the_head_is_gone_and_bad_waits_are_refused() -> None:
    async with opened() as house:
        await house.register()
        assert (await refused(house, ctx_of(), wait_seq=2)).kind is Kind.GONE
        assert (await refused(house, ctx_of(), wait_seq=-1)).code == "invalid_query"
        assert (await refused(house, ctx_of(), wait_seq=0, wait_s=WAIT_S_MAX + 1)).code == "invalid_query"


async def test_a_service_above_the_tier_cannot_be_waited_for() -> None:
    async with opened() as house:
        await house.share(subscription_requirements=("pro",))
        assert (await refused(house, ctx_of(), wait_seq=1, wait_s=20)).code == "tier_too_low"


async def test_access_lost_while_waiting_is_a_refusal() -> None:
    async with opened() as house:
        answer = await house.register()
        caller = ctx_of(principal="key-2")
        waiting = asyncio.create_task(house.discover(caller, wait_seq=answer.seq, wait_s=20))
        await asyncio.sleep(0.01)
        house.access.refused["key-2"] = HubError("invalid_credential", Kind.UNAUTHENTICATED, "revoked")
        await house.register(instance_id="i-2")
        with pytest.raises(HubError, match="invalid_credential"):
            await asyncio.wait_for(waiting, 1)


async def test_who_loses_access_does_not_wait_on_and_others_do() -> None:
    async with opened() as house:
        answer = await house.register()
        caller, colleague = ctx_of(principal="key-2"), ctx_of(principal="key-3")
        waiting = [
            asyncio.create_task(house.discover(ctx, wait_seq=answer.seq, wait_s=20)) for ctx in (caller, colleague)
        ]
        await asyncio.sleep(0.01)
        house.access.refused["key-2"] = HubError("invalid_credential", Kind.UNAUTHENTICATED, "revoked")
        house.waiters.access_changed(DomainId("other"))
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        house.waiters.access_changed(ACME)
        with pytest.raises(HubError, match="invalid_credential"):
            await asyncio.wait_for(waiting[0], 1)
        assert not waiting[1].done()
        assert house.waiters.waiting(ACME) == 1
        house.access.refused["key-3"] = HubError("tenant_suspended", Kind.DENIED, "suspended")
        house.waiters.access_changed(PLATFORM)
        with pytest.raises(HubError, match="tenant_suspended"):
            await asyncio.wait_for(waiting[1], 1)
        assert house.waiters.waiting(ACME) == 0


async def test_waiting_has_a_limit_per_tenant() -> None:
    waiters = Waiters()
    waiting = [asyncio.create_task(waiters.wait(ACME, ((ACME, "risk"),), 5)) for _ in range(WAITERS_PER_TENANT_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(HubError, match="too_many_waiters"):
        await waiters.wait(ACME, ((ACME, "risk"),), 5)
    waiters.wake((ACME, "risk"))
    assert all(await asyncio.gather(*waiting))


async def test_a_listing_has_a_cap_and_says_so() -> None:
    async with opened(lambda: House(listed_max=2)) as house:
        for name in ("a", "b"):
            await house.share(name=name)
        assert not (await listed(house, ctx_of()))["truncated"]
        await house.share(name="c")
        shown = await listed(house, ctx_of())
        assert shown["truncated"]
        assert len(shown["services"]) == 2


async def test_one_instance_and_what_is_not_there() -> None:
    async with opened() as house:
        await house.register()
        shown = json.loads((await house.reading.instance(ctx_of(), "risk", "i-1")).body)
        assert (shown["instance_id"], shown["service_name"], shown["domain"]) == ("i-1", "risk", "tenant")
        with pytest.raises(HubError, match="instance_not_found"):
            await house.reading.instance(ctx_of(), "risk", "i-9")


async def test_lookups_and_declarations_make_the_dependency_graph_of_the_caller_alone() -> None:
    async with opened() as house:
        await house.share(name="risk", depends_on=("data",))
        await house.discover(ctx_of(caller="gateway"))
        await house.discover(ctx_of(caller="gateway"))
        await house.discover(ctx_of("other", caller="spy"))
        edges = house.dependencies.graph(viewer_of(ctx_of())).edges
        assert [(one.caller, one.service, one.declared, one.lookups, one.known) for one in edges] == [
            ("gateway", "risk", False, 2, True),
            ("risk", "data", True, 0, False),
        ]
        assert house.seen == [(ACME, "gateway", "risk"), ("other", "spy", "risk")]


async def test_a_lookup_that_is_refused_is_no_dependency() -> None:
    async with opened() as house:
        await house.register()
        await refused(house, ctx_of("other", caller="spy"))
        assert house.seen == []


async def test_the_lane_answers_the_frameworks_bytes_and_leaves_refusals_to_it() -> None:
    async with opened() as house:
        await house.share()
        await house.share(instance_id="i-2", port=2)
        await house.register(name="mine")
        await house.share(name="paid", subscription_requirements=("pro",))
        for ctx in (ctx_of(), ctx_of("other"), ctx_of(None)):
            for slot in (0, 100, 255):
                house.slot = slot
                entry = house.lane.entry("risk", ctx)
                assert entry is not None
                read = await house.reading.discover(ctx, "risk", DiscoverQuery())
                assert entry.body(slot) == read.body
                assert entry.etag == read.etag
        assert house.lane.entry("mine", ctx_of()) is not None
        assert house.lane.entry("mine", ctx_of("other")) is None
        assert house.lane.entry("paid", ctx_of()) is None
        assert house.lane.entry("paid", ctx_of(tier="pro")) is not None
        assert house.lane.entry("risk", ctx_of(scopes=frozenset())) is None
        assert house.lane.entry("nothing", ctx_of()) is None


async def test_the_lane_leaves_a_name_with_history_in_both_domains_to_the_framework() -> None:
    async with opened() as house:
        await house.share()
        await house.register(instance_id="mine")
        assert house.lane.entry("risk", ctx_of()) is None
        assert house.lane.entry("risk", ctx_of("other")) is not None


async def test_the_lanes_counter_is_the_graphs() -> None:
    async with opened() as house:
        await house.share()
        house.lane.lookups(ctx_of(caller="gateway"), "risk").count += 3
        await house.discover(ctx_of(caller="gateway"))
        assert house.lane.lookups(ctx_of(caller="gateway"), "risk").count == 4
        assert house.lane.lookups(ctx_of(), "risk").count == 0
