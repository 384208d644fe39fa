"""Events through the pipeline: statuses, forms, pages, and who is told what."""

from __future__ import annotations

from typing import Any

import msgspec

from central_hub.edge.pipeline import Answer
from tests.isolation.world import World, running

EVENT = {
    "specversion": "1.0",
    "type": "com.example.placed",
    "source": "/services/orders",
    "id": "e-1",
    "data": {"n": 1},
}


def told(answer: Answer) -> tuple[int, Any]:
    return answer.status, msgspec.json.decode(answer.body) if answer.body else None


async def page(world: World, query: str, *, key: str = "acme", path: str = "/events") -> dict[str, Any]:
    return await world.must("GET", f"{path}?{query}", key=key)


async def test_what_is_published_and_what_the_hub_tells_are_read_together() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        start = (await page(world, "after=now"))["next"]
        assert told(await world.ask("POST", "/events", key="acme", body=EVENT))[0] == 201
        await world.register("risk", key="acme")
        status, outcome = told(await world.ask("POST", "/events", key="acme", body=[EVENT, EVENT | {"id": "e-2"}]))
        assert (status, outcome["accepted"], outcome["duplicates"]) == (201, 1, 1)
        found = await page(world, f"after={start}")
        assert [one["type"] for one in found["events"]] == [
            "com.example.placed", "io.centralhub.service.registered.v1", "com.example.placed",
        ]  # fmt: skip
        assert {one["tenantid"] for one in found["events"]} == {"acme"}
        assert found["next"] == outcome["seq"] == found["events"][-1]["hubseq"]
        registered = found["events"][1]
        assert (registered["subject"], registered["data"]["endpoint"]) == ("service/risk/i-1", "http://10.0.0.1:80")
        assert [one["id"] for one in (await page(world, "types=com.*&after=start&limit=1"))["events"]] == ["e-1"]


async def test_a_tenant_s_life_is_told_to_it_and_keys_are_not() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.must("PATCH", "/tenants/acme", key="root", body={"name": "Acme", "tier": "enterprise"})
        shown = (await page(world, "after=start"))["events"]
        assert [one["type"].split(".")[2:4] for one in shown] == [["tenant", "created"], ["tenant", "updated"]]
        assert shown[1]["data"] == {"name": "Acme", "tier": "enterprise", "previous_tier": "pro"}


async def test_a_tenant_reads_its_own_events_and_nobody_else_s() -> None:
    async with running() as world:
        for name in ("acme", "globex"):
            await world.tenant(name, "pro")
            await world.must("POST", "/events", key=name, body=EVENT | {"id": name})
        shown = await page(world, "after=start&types=com.*", key="globex")
        assert [one["id"] for one in shown["events"]] == ["globex"]
        refused = told(await world.ask("POST", "/events", key="acme", body=EVENT | {"tenantid": "globex"}))
        assert (refused[0], refused[1]["code"]) == (403, "tenant_mismatch")
        theirs = told(await world.ask("GET", "/events?after=start", key="acme", headers={"x-tenant-id": "globex"}))
        assert theirs[1]["code"] == "tenant_mismatch"


async def test_the_platform_s_events_are_for_the_platform() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.must("PUT", "/flags/search", key="root", body={
            "type": "boolean", "variants": {"on": True, "off": False}, "default": "off",
        })  # fmt: skip
        shown = await page(world, "after=start&category=flag", key="root", path="/platform/events")
        assert [one["type"] for one in shown["events"]] == ["io.centralhub.flag.defined.v1"]
        assert "tenantid" not in shown["events"][0]
        assert (await world.ask("GET", "/platform/events", key="acme")).status == 403


async def test_a_position_nobody_can_go_on_from_is_410() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        head = (await page(world, "after=now"))["next"]
        incarnation, _, seq = head.rpartition(".")
        for bad, status, code in (
            (f"{incarnation}.{int(seq) + 1}", 410, "position_gone"), ("another.1", 410, "position_gone"),
            ("x", 400, "invalid_position"), (f"{head}&last=1", 400, "invalid_query"),
        ):  # fmt: skip
            answer = told(await world.ask("GET", f"/events?after={bad}", key="acme"))
            assert (answer[0], answer[1]["code"]) == (status, code), bad
        stream = await world.ask("GET", "/events/stream", key="acme", headers={"last-event-id": "another.1"})
        assert stream.status == 410


async def test_a_page_that_waits_answers_with_the_first_event() -> None:
    import asyncio

    async with running() as world:
        await world.tenant("acme", "pro")
        waiting = asyncio.create_task(page(world, "after=now&wait_s=5"))
        await asyncio.sleep(0.05)
        await world.must("POST", "/events", key="acme", body=EVENT)
        found = await asyncio.wait_for(waiting, 2)
        assert [one["id"] for one in found["events"]] == ["e-1"]
        assert (await page(world, "after=now&wait_s=0.01"))["events"] == []


async def test_events_without_an_id_are_one_under_an_idempotency_key() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        bare = {name: value for name, value in EVENT.items() if name != "id"}
        for expected in (1, 0):
            answer = await world.ask("POST", "/events", key="acme", body=bare, headers={"idempotency-key": "k-1"})
            assert told(answer)[1]["accepted"] == expected
        assert len((await page(world, "after=start&types=com.*"))["events"]) == 1


async def test_a_suspended_tenant_reads_its_events_and_publishes_none() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.must("POST", "/tenants/acme/suspend", key="root")
        assert told(await world.ask("POST", "/events", key="acme", body=EVENT))[1]["code"] == "tenant_suspended"
        assert (await page(world, "after=start"))["events"][-1]["type"] == "io.centralhub.tenant.suspended.v1"


async def test_there_is_a_list_of_what_is_told() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        types = (await world.must("GET", "/events/types", key="acme"))["types"]
        assert types == sorted(types, key=lambda one: one["type"])
        names = {one["name"] for one in types}
        assert names >= {
            "ServiceRegistered", "ServiceUnregistered", "ServiceHealthChanged", "TenantCreated",
            "TenantConfigurationChanged", "TenantResourcesAllocated", "SystemHealthChanged", "ConfigurationReloaded",
            "ServiceDependencyResolved",
        }  # fmt: skip


async def test_a_type_is_shown_with_its_schema_and_an_example() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        for name in ("io.centralhub.service.registered.v1", "ServiceRegistered"):
            shown = await world.must("GET", f"/events/types/{name}", key="acme")
            assert (shown["type"], shown["version"], shown["told_by"]) == (
                "io.centralhub.service.registered.v1",
                1,
                "hub",
            )
            assert shown["example"]["data"].keys() == shown["json_schema"]["properties"].keys()
        reported = await world.must("GET", "/events/types/CircuitBreakerTripped", key="acme")
        assert (reported["told_by"], reported["order"]) == ("services", "breaker/{caller}/{callee}")
        answer = await world.ask("GET", "/events/types/CircuitBreakerTripped/schema", key="acme")
        assert dict(answer.headers)[b"content-type"] == b"application/schema+json"
        assert msgspec.json.decode(answer.body) == reported["json_schema"]


async def test_a_type_that_is_not_there_names_the_nearest() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        for path in ("", "/schema"):
            status, problem = told(await world.ask("GET", f"/events/types/ServiceRegisterd{path}", key="acme"))
            assert (status, problem["code"]) == (404, "event_type_not_found")
            assert "Did you mean 'ServiceRegistered'?" in problem["detail"]


async def test_the_trace_of_a_request_is_that_of_events_without_one() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    own = trace.replace("4bf9", "5bf9")
    async with running() as world:
        await world.tenant("acme", "pro")
        events = [EVENT, EVENT | {"id": "e-2", "traceparent": own}]
        await world.must("POST", "/events", key="acme", body=events, headers={"traceparent": trace})
        await world.must(
            "POST", "/events", key="acme", body=EVENT | {"id": "e-3"}, headers={"traceparent": "00-x-y-01"}
        )
        found = (await page(world, "after=start&types=com.*"))["events"]
        assert [one.get("traceparent") for one in found] == [trace, own, None]


async def test_attributes_in_headers_make_an_event_too() -> None:
    attributes = {
        "ce-specversion": "1.0", "ce-type": "com.example.closed", "ce-source": "/services/orders", "ce-id": "%C3%BC-1",
        "ce-causationid": "e-0", "ce-correlationid": "c-9",
    }  # fmt: skip
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.must("POST", "/events", key="acme", body={"n": 1}, headers=attributes)
        [found] = (await page(world, "after=start&types=com.*"))["events"]
        assert (found["id"], found["causationid"], found["correlationid"]) == ("ü-1", "e-0", "c-9")
        assert (found["tenantid"], found["data"]) == ("acme", {"n": 1})
        status, problem = told(
            await world.ask("POST", "/events", key="acme", body={}, headers={**attributes, "ce-tenantid": "globex"})
        )
        assert (status, problem["code"]) == (403, "tenant_mismatch")


PLACED = {"type": "object", "required": ["symbol"], "properties": {"symbol": {"type": "string"}}}


async def test_a_tenant_describes_a_type_and_its_events_are_held_against_it() -> None:
    path = "/events/types/com.example.placed"
    async with running() as world:
        await world.tenant("acme", "pro")
        body = {"json_schema": PLACED, "description": "An order was placed."}
        tried = await world.must("PUT", f"{path}?dry_run=true", key="acme", body=body)
        assert (tried["version"], tried["is_new"], tried["dry_run"]) == (1, True, True)
        for status in (201, 200):
            assert (await world.ask("PUT", path, key="acme", body=body)).status == status
        shown = await world.must("GET", path, key="acme")
        assert (shown["told_by"], shown["version"], shown["json_schema"]) == ("tenant", 1, PLACED)
        assert (shown["summary"], shown["example"]) == ("An order was placed.", None)
        schema = await world.must("GET", f"{path}/schema?version=1", key="acme")
        assert schema["$id"] == f"{path}/schema?version=1"
        assert (await world.ask("GET", f"{path}/schema?version=2", key="acme")).status == 404
        status, problem = told(await world.ask("POST", "/events", key="acme", body=EVENT))
        assert (status, problem["code"], problem["errors"][0]["path"]) == (422, "invalid_event_data", "/")
        await world.must("POST", "/events", key="acme", body=EVENT | {"data": {"symbol": "EUR"}})
        listed = [one for one in (await world.must("GET", "/events/types", key="acme"))["types"] if not one["name"]]
        assert [one["type"] for one in listed] == ["com.example.placed"]


async def test_a_version_that_breaks_its_word_is_refused_with_every_reason() -> None:
    path = "/events/types/com.example.placed"
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.must("PUT", path, key="acme", body={"json_schema": PLACED})
        stricter = {**PLACED, "required": ["symbol", "side"]}
        status, problem = told(await world.ask("PUT", path, key="acme", body={"json_schema": stricter}))
        assert (status, problem["code"]) == (409, "incompatible_schema")
        assert [(one["version"], one["path"]) for one in problem["reasons"]] == [(1, "/side")]
        await world.must("PUT", path, key="acme", body={"json_schema": stricter, "compatibility": "none"})
        versions = (await world.must("GET", f"{path}/versions", key="acme"))["versions"]
        assert [(one["version"], one["compatibility"]) for one in versions] == [(1, "backward"), (2, "none")]


async def test_types_that_are_not_described_can_be_refused() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        assert await world.must("GET", "/events/policy", key="acme") == {"unknown_types": "allowed"}
        await world.must("PUT", "/events/types/com.example.placed", key="acme", body={"json_schema": {}})
        await world.must("PUT", "/events/policy", key="acme", body={"unknown_types": "refused"})
        status, problem = told(
            await world.ask("POST", "/events", key="acme", body=EVENT | {"type": "com.example.place"})
        )
        assert (status, problem["code"]) == (422, "undescribed_event_type")
        assert "Did you mean 'com.example.placed'?" in problem["detail"]
        assert (await world.ask("DELETE", "/events/types/com.example.placed", key="acme")).status == 204
        assert (await world.ask("POST", "/events", key="acme", body=EVENT)).status == 422


async def test_a_tenant_s_types_are_taken_along() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.must("PUT", "/events/types/com.example.placed", key="acme", body={"json_schema": PLACED})
        await world.must("PUT", "/events/policy", key="acme", body={"unknown_types": "refused"})
        document = await world.must("GET", "/tenants/acme/export", key="root")
        await world.must("POST", "/tenants/import", key="root", body={"document": document, "id": "moved"})
        made = await world.must(
            "POST", "/tenants/moved/keys", key="root", body={"name": "k", "scopes": ["events:read"]}
        )
        world.keys["moved"] = made["api_key"]
        shown = await world.must("GET", "/events/types/com.example.placed", key="moved")
        assert shown["json_schema"] == PLACED
        assert await world.must("GET", "/events/policy", key="moved") == {"unknown_types": "refused"}


async def test_a_tenant_purges_its_events_and_its_trail_stays() -> None:
    async with running() as world:
        for name in ("acme", "globex"):
            await world.tenant(name, "pro")
            await world.must("POST", "/events", key=name, body=[EVENT, EVENT | {"id": "e-2"}])
        before = (await page(world, "after=start&types=com.*&limit=1"))["events"][0]["hubseq"]
        shown = await world.must("GET", "/events/retention", key="acme")
        assert (shown["events_days"], shown["history_days"], shown["events_mb"]) == (30, 400, 1000)
        assert shown["purged_through"] is None
        gone = await world.must("POST", "/events/purge", key="acme", body={"before": before})
        assert gone["purged_through"] == before
        left = await page(world, "after=start")
        assert [one["id"] for one in left["events"]] == ["e-2"]
        status, problem = told(await world.ask("GET", "/events?last=1000", key="acme"))
        assert status == 200
        incarnation, _, seq = before.rpartition(".")
        status, problem = told(await world.ask("GET", f"/events?after={incarnation}.{int(seq) - 1}", key="acme"))
        assert (status, problem["code"]) == (410, "position_gone")
        await world.must("POST", "/events/purge", key="acme", body={"before": "2099-01-01T00:00:00Z"})
        assert (await page(world, "after=start"))["events"] == []
        assert len((await page(world, "after=start&types=com.*", key="globex"))["events"]) == 2
        trail = await world.must("GET", "/tenants/acme/audit?limit=100", key="acme")
        assert [one["type"] for one in trail["entries"]].count("EventsPurged") == 2
        assert (await world.must("GET", "/tenants/acme/audit/verify", key="acme"))["broken_at"] is None


async def test_a_plan_an_override_and_no_plan_say_how_long_events_are_kept() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        assert (await world.must("GET", "/events/retention", key="acme"))["events_days"] == 7
        await world.must("PUT", "/tenants/acme/overrides/hub_events_days", key="root", body={"value": 90})
        await world.must("PUT", "/tenants/acme/overrides/hub_events_mb", key="root", body={"value": None})
        shown = await world.must("GET", "/events/retention", key="acme")
        assert (shown["events_days"], shown["events_mb"]) == (90, None)


async def test_the_trail_is_read_over_what_has_left() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        for number in range(4):
            await world.must("POST", "/events", key="acme", body=EVENT | {"id": f"e-{number}"})
            await world.register(f"risk-{number}", key="acme")
        core = world.hub.core
        core.runner.droppable_pos = core.runner.pos
        core.clock.advance(100 * 86_400_000)  # type: ignore[attr-defined]
        await world.hub.features.telling.retention.keep()
        types: list[str] = []
        cursor = ""
        while cursor is not None:
            answer = await world.must("GET", f"/tenants/acme/audit?limit=2{cursor and f'&cursor={cursor}'}", key="acme")
            types += [one["type"] for one in answer["entries"]]
            cursor = answer["next_cursor"]
        assert (types.count("ServiceRegistered"), types.count("EventPublished")) == (4, 0)
        assert (await world.must("GET", "/tenants/acme/audit/verify", key="acme"))["broken_at"] is None
