"""Rollouts over HTTP: begun, shown, stepped and ended; what instances are told meanwhile, and what they say of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from central_hub.app.rolling_out import RegisteredInstances
from central_hub.edge.streams import Sink
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.rollouts.stepping import GRACE_MS
from tests.isolation.world import World, running
from tests.routes.configuration.test_layers import ANY, GLOBAL, told
from tests.unit.configuration.support import Recorder

RISK = {"type": "object", "properties": {"depth": {"type": "integer"}}}
NAMES = [f"i-{number}" for number in range(10)]


@asynccontextmanager
async def furnished() -> AsyncGenerator[World]:
    """A world with two tenants, ten instances of acme's that follow its configuration, and a first value."""
    async with running() as world:
        for name, tier in (("acme", "pro"), ("globex", "enterprise")):
            await world.tenant(name, tier)
        made = await world.must("POST", "/keys", key="root", body={"name": "root", "scopes": ["platform:admin"]})
        world.keys["root"] = made["api_key"]
        await world.must("PUT", "/config/schemas/risk", key="root", body=RISK)
        await world.must("PUT", GLOBAL, key="root", body={"risk": {"depth": 1}}, headers=ANY)
        for name in NAMES:
            await world.register("risk", key="acme", instance_id=name)
            await says(world, name)
        world.clock.advance(GRACE_MS + 1)
        yield world


async def value(world: World, name: str = "", tenant: str = "acme") -> Any:
    query = f"?service=risk&instance={name}" if name else "?service=risk"
    return (await world.must("GET", f"/config/{tenant}{query}", key=tenant))["config"]["risk"]["depth"]


async def says(world: World, name: str, key: str = "acme", **more: Any) -> Any:
    answer = await world.ask("GET", f"/config/acme?service=risk&instance={name}", key="acme")
    etag = dict(answer.headers)[b"etag"].decode()
    return await world.must("PUT", f"/services/risk/instances/{name}/config", key=key, body={"etag": etag, **more})


async def start(world: World, depth: int = 9, path: str = "/rollouts", key: str = "root", **more: Any) -> Any:
    layer = {} if path == "/rollouts" else {"tenant": "acme"}
    change = {"layer": layer, "if_match": "*", "merge_patch": {"risk": {"depth": depth}}}
    return await world.must("POST", path, key=key, body={"changes": [change], **more})


async def look(world: World, after_s: float = 0) -> None:
    world.clock.advance(after_s * 1_000)
    await world.hub.features.rolling_out.stepping.look()


async def test_a_rollout_reaches_an_instance_then_everyone_then_the_layer() -> None:
    async with furnished() as world:
        one = await start(world, reason="deeper")
        assert (one["state"], one["stage"]) == ("running", 1)
        reached = [name for name in NAMES if await value(world, name) == 9]
        assert len(reached) == 1
        assert await value(world) == 1
        await says(world, reached[0])
        await look(world)
        shown = await world.must("GET", f"/rollouts/{one['rollout_id']}", key="root")
        assert (shown["evidence"]["exposed"], shown["evidence"]["acknowledged"]) == (1, 1)
        await look(world, 10)
        assert [await value(world, name) for name in NAMES] == [9] * 10
        assert (await world.must("GET", "/config/acme", key="acme"))["config"]["risk"]["depth"] == 9
        for name in NAMES:
            await says(world, name)
        await look(world)
        await look(world, 10)
        done = await world.must("GET", f"/rollouts/{one['rollout_id']}", key="root")
        assert (done["state"], done["layers"][0]["revision"]) == ("completed", 2)
        layer = await world.must("GET", GLOBAL, key="root")
        assert (layer["etag"], layer["reason"]) == (done["layers"][0]["etag"], "deeper")


async def test_the_lane_answers_what_is_in_force_and_what_it_did_before_when_it_is_over() -> None:
    async with furnished() as world:
        principal = Principal(
            id="key:k", kind=PrincipalKind.KEY, home=DomainId("acme"), scopes=frozenset({"config:read"})
        )
        ctx = TenantContext(principal=principal, tenant_id=TenantId("acme"), tier="pro", rank=20)
        in_force = world.hub.features.configuring.in_force
        idle = in_force.of_tenant

        def laned() -> bytes:
            entry = world.hub.features.configuring.lane.entry("acme", ctx)
            assert entry is not None
            return entry.body(0)

        one = await start(world, strategy={"kind": "canary", "tenants": ["acme"]})
        assert in_force.of_tenant != idle
        assert laned() == (await world.ask("GET", "/config/acme", key="acme")).body
        assert b'"depth":9' in laned()
        await world.must("POST", f"/rollouts/{one['rollout_id']}/abort", key="root", body={"reason": "no"})
        assert b'"depth":1' in laned()
        assert in_force.of_tenant == idle == world.hub.features.configuring.effective.at


async def test_streams_and_blocking_reads_of_an_instance_hear_of_it_and_no_others() -> None:
    async with furnished() as world:
        principal = Principal(
            id="key:k", kind=PrincipalKind.KEY, home=DomainId("acme"), scopes=frozenset({"config:read"})
        )
        ctx = TenantContext(principal=principal, tenant_id=TenantId("acme"), tier="pro", rank=20)
        announcements = world.hub.features.configuring.announcements
        announcements._access = type("Open", (), {"current": lambda _, ctx: ctx})()  # pyright: ignore
        sinks = {name: Recorder() for name in ["", *NAMES]}
        closing = [announcements.open(ctx, [("risk", "")], cast(Sink, sink), name) for name, sink in sinks.items()]
        etag = world.hub.features.configuring.effective.of(DomainId("acme"), "risk").etag
        waiting = {
            name: asyncio.create_task(
                world.ask(
                    "GET", f"/config/acme?service=risk&wait_s=5&instance={name}", key="acme",
                    headers={"if-none-match": etag},
                )
            )
            for name in NAMES
        }  # fmt: skip
        await asyncio.sleep(0)
        one = await start(world)
        for _ in range(20):
            await asyncio.sleep(0)
        (reached,) = [name for name in NAMES if await value(world, name) == 9]
        assert {name for name, sink in sinks.items() if len(sink.frames) > 1} == {reached}
        answer = await asyncio.wait_for(waiting[reached], 2)
        assert told(answer)["config"]["risk"]["depth"] == 9
        await asyncio.sleep(0)
        assert not any(task.done() for name, task in waiting.items() if name != reached)
        await world.must("POST", f"/rollouts/{one['rollout_id']}/abort", key="root")
        for _ in range(20):
            await asyncio.sleep(0)
        assert msgspec.json.decode(sinks[reached].frames[-1].split(b"data: ")[1])["config"]["risk"]["depth"] == 1
        assert max(len(sink.frames) for name, sink in sinks.items() if name != reached) == 1
        for task in waiting.values():
            task.cancel()
        await asyncio.gather(*waiting.values(), return_exceptions=True)
        for close in closing:
            close()


async def test_a_refusal_takes_it_back_and_is_shown_with_its_reason() -> None:
    async with furnished() as world:
        one = await start(world)
        (reached,) = [name for name in NAMES if await value(world, name) == 9]
        taken = await says(world, reached, state="refused", reason="too deep")
        assert taken["again_s"] < 1
        await look(world)
        shown = await world.must("GET", f"/rollouts/{one['rollout_id']}", key="root")
        assert (shown["state"], shown["failed_gate"]) == ("rolled_back", "refusals")
        assert shown["evidence"]["suspects"][0]["reason"] == "too deep"
        assert [await value(world, name) for name in NAMES] == [1] * 10
        assert (await says(world, reached))["again_s"] > 1


async def test_which_instances_run_what_is_one_call() -> None:
    async with furnished() as world:
        one = await start(world)
        (reached,) = [name for name in NAMES if await value(world, name) == 9]
        found = await world.must("GET", "/config/acme/instances?service=risk", key="acme")
        by_id = {each["instance_id"]: each for each in found["instances"]}
        assert (by_id[reached]["state"], by_id[reached]["rollouts"]) == ("silent", [one["rollout_id"]])
        assert {each["state"] for name, each in by_id.items() if name != reached} == {"applied"}
        assert not any("rollouts" in each for name, each in by_id.items() if name != reached)
        await says(world, reached)
        page = await world.must("GET", "/config/acme/instances?limit=3", key="root")
        assert len(page["instances"]) == 3
        rest = await world.must("GET", f"/config/acme/instances?cursor={page['next_cursor']}", key="acme")
        assert [*page["instances"], *rest["instances"]] == sorted(
            [*page["instances"], *rest["instances"]], key=lambda each: f"risk/{each['instance_id']}@"
        )
        assert len(rest["instances"]) == 7
        assert rest["next_cursor"] is None
        assert (await world.must("GET", "/config/globex/instances", key="globex"))["instances"] == []


async def test_a_tenant_rolls_out_its_own_layer_and_nobody_elses() -> None:
    async with furnished() as world:
        own = "/tenants/acme/rollouts"
        one = await start(world, 7, own, "acme", strategy={"kind": "all_at_once"})
        assert await value(world, "i-1") == 7
        assert await value(world, tenant="globex") == 1
        listed = await world.must("GET", own, key="acme")
        assert [each["rollout_id"] for each in listed["rollouts"]] == [one["rollout_id"]]
        assert (await world.must("GET", "/rollouts", key="root"))["rollouts"] == []
        foreign = await world.ask("POST", f"/tenants/globex/rollouts/{one['rollout_id']}/abort", key="globex", body={})
        assert (foreign.status, told(foreign)["code"]) == (404, "rollout_not_found")
        mixed: list[dict[str, Any]] = [
            {"layer": {"tenant": "acme"}, "if_match": "*", "document": {}},
            {"layer": {}, "if_match": "*", "document": {}},
        ]
        refused = await world.ask("POST", own, key="acme", body={"changes": mixed})
        assert (refused.status, told(refused)["code"]) == (422, "invalid_rollout")
        await world.must("POST", f"{own}/{one['rollout_id']}/abort", key="acme", body={})
        trail = await world.must("GET", "/tenants/acme/audit?limit=100", key="acme")
        assert {"RolloutStarted", "RolloutStageEntered", "RolloutEnded"} <= {each["type"] for each in trail["entries"]}


async def test_people_hold_hasten_and_end_it() -> None:
    async with furnished() as world:
        one = await start(world)
        at = f"/rollouts/{one['rollout_id']}"
        assert (await world.must("POST", at + "/pause", key="root", body={"reason": "lunch"}))["state"] == "paused"
        assert (await world.must("POST", at + "/resume", key="root"))["state"] == "running"
        moved = await world.ask("POST", at + "/promote", key="root", body={"from_stage": 0})
        assert (moved.status, told(moved)["code"]) == (409, "stage_moved")
        assert (await world.must("POST", at + "/promote", key="root", body={"from_stage": 1}))["stage"] == 2
        assert (await world.must("POST", at + "/promote", key="root"))["state"] == "completed"
        late = await world.ask("POST", at + "/pause", key="root")
        assert (late.status, told(late)["code"]) == (409, "rollout_ended")
        assert (await world.must("POST", at + "/abort", key="root"))["state"] == "aborted"
        assert await value(world) == 1


async def test_its_layer_cannot_be_changed_meanwhile() -> None:
    async with furnished() as world:
        one = await start(world)
        for method, target, body in (
            ("PATCH", GLOBAL, {"risk": {"depth": 3}}),
            ("PUT", GLOBAL, {}),
            ("POST", GLOBAL + "/rollback", {"to_revision": 0}),
        ):
            refused = await world.ask(method, target, key="root", body=body, headers=ANY)
            assert (refused.status, told(refused)["code"]) == (409, "layer_in_rollout"), target
            assert told(refused)["rollout_id"] == one["rollout_id"]


async def test_a_start_that_is_sent_again_begins_one_rollout() -> None:
    async with furnished() as world:
        change = {"layer": {}, "if_match": "*", "merge_patch": {"risk": {"depth": 9}}}
        ids = [
            (
                await world.must(
                    "POST", "/rollouts", key="root", body={"changes": [change]}, headers={"idempotency-key": "k1"}
                )
            )["rollout_id"]
            for _ in range(2)
        ]
        assert ids[0] == ids[1]
        assert len((await world.must("GET", "/rollouts", key="root"))["rollouts"]) == 1


@pytest.mark.parametrize(
    "strategy",
    [
        {"kind": "linear", "percent": 5},
        {"kind": "all_at_once", "steps": 2},
        {"kind": "canary", "stages": [{"percent": 100}]},
        {"kind": "stages", "stages": [{"percent": 50}]},
        {"kind": "stages"},
        {"kind": "canary", "tiers": ["gold"]},
        {"kind": "canary", "percent": 101},
        {"kind": "gradually"},
    ],
)
async def test_a_strategy_that_says_nothing_sensible_is_refused(strategy: dict[str, Any]) -> None:
    async with furnished() as world:
        change = {"layer": {}, "if_match": "*", "merge_patch": {"risk": {"depth": 9}}}
        refused = await world.ask("POST", "/rollouts", key="root", body={"changes": [change], "strategy": strategy})
        assert refused.status == 422


async def test_linear_is_in_equal_steps_and_a_canary_may_name_whom_it_reaches() -> None:
    async with furnished() as world:
        linear = await start(world, strategy={"kind": "linear", "steps": 5})
        assert [stage["percent"] for stage in linear["stages"]] == [20, 40, 60, 80, 100]
        assert len([name for name in NAMES if await value(world, name) == 9]) == 2
        await world.must("POST", f"/rollouts/{linear['rollout_id']}/abort", key="root")
        await start(world, strategy={"kind": "canary", "instances": ["i-3", "risk/i-4"]})
        assert [name for name in NAMES if await value(world, name) == 9] == ["i-3", "i-4"]


async def test_only_the_owner_of_an_instance_speaks_for_it() -> None:
    async with furnished() as world:
        for key, code in (("acme:other", "not_owner"), ("globex", "instance_not_found")):
            if key == "acme:other":
                body = {"name": key, "scopes": ["config:read"]}
                world.keys[key] = (await world.must("POST", "/tenants/acme/keys", key="root", body=body))["api_key"]
            refused = await world.ask("PUT", "/services/risk/instances/i-1/config", key=key, body={"etag": "e"})
            assert told(refused)["code"] == code


async def test_a_blocking_read_of_an_exposed_instance_hears_that_it_is_taken_back() -> None:
    async with furnished() as world:
        one = await start(world)
        (reached,) = [name for name in NAMES if await value(world, name) == 9]
        target = f"/config/acme?service=risk&wait_s=5&instance={reached}"
        etag = dict((await world.ask("GET", target, key="acme")).headers)[b"etag"].decode()
        waiting = asyncio.create_task(world.ask("GET", target, key="acme", headers={"if-none-match": etag}))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        await world.must("POST", f"/rollouts/{one['rollout_id']}/abort", key="root")
        answer = await asyncio.wait_for(waiting, 2)
        assert told(answer)["config"]["risk"]["depth"] == 1


async def test_what_is_registered_where() -> None:
    async with furnished() as world:
        instances = RegisteredInstances(world.hub.core.registry, world.hub.discovery.keeper)
        assert instances.any(PLATFORM)
        assert instances.any(DomainId("acme"))
        assert not instances.any(DomainId("globex"))
        await world.register("prices", key="root")
        assert instances.any(DomainId("globex"))
        assert instances.owner(DomainId("globex"), "prices", "i-1") is not None
        assert instances.owner(DomainId("globex"), "risk", "i-1") is None


async def test_explain_says_what_is_tried_out_instead() -> None:
    async with furnished() as world:
        one = await start(world)
        (reached,) = [name for name in NAMES if await value(world, name) == 9]
        for name in NAMES:
            answer = await world.must("GET", f"/config/acme/explain?service=risk&instance={name}", key="acme")
            assert answer.get("rollouts", []) == ([one["rollout_id"]] if name == reached else [])
            assert answer["values"]["/risk/depth"]["value"] == 1
