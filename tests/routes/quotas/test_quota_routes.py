"""Quotas through the pipeline of a whole hub: status, shapes, header fields, refusals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from central_hub.edge.pipeline import Answer
from central_hub.edge.rate_limits import rate_limit_lines, rate_limit_lines_of
from tests.isolation.world import World, running

AT = "/tenants/acme/allocations"
REQUESTS = {"resource": "concurrent_requests"}
CALLS = "api_calls_per_hour"


def header(answer: Answer, name: str) -> str:
    return next((value.decode() for key, value in answer.headers if key.decode() == name), "")


def body(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def acme(world: World) -> World:
    await world.tenant("acme", "free")
    return world


async def test_an_allocation_has_the_shape_that_was_promised() -> None:
    async with running() as world:
        await acme(world)
        answer = await world.ask("POST", AT, key="acme", body=REQUESTS | {"amount": 4, "ttl_s": 30})
        assert answer.status == 201
        shown = body(answer)
        assert {name: shown[name] for name in ("resource", "amount", "ttl_s", "used", "limit")} == {
            "resource": "concurrent_requests", "amount": 4, "ttl_s": 30.0, "used": 4, "limit": 10,
        }  # fmt: skip
        assert shown["fencing_token"] > 0
        assert shown["expires_at"] == "2023-11-14T22:13:50.000Z"
        one = f"{AT}/{shown['lease_id']}"
        assert body(await world.ask("GET", one, key="acme")) == shown
        world.clock.advance(10_000)
        renewed = body(await world.ask("POST", f"{one}/renew", key="acme"))
        assert renewed["expires_at"] == "2023-11-14T22:14:00.000Z"
        for _ in range(2):
            assert (await world.ask("DELETE", one, key="acme")).status == 204
        assert (await world.ask("POST", f"{one}/renew", key="acme")).status == 404


async def test_no_room_is_429_with_where_the_limit_stands() -> None:
    async with running() as world:
        await acme(world)
        await world.must("POST", AT, key="acme", body=REQUESTS | {"amount": 8, "ttl_s": 90})
        answer = await world.ask("POST", AT, key="acme", body=REQUESTS | {"amount": 3})
        assert answer.status == 429
        problem = body(answer)
        assert {name: problem[name] for name in ("code", "used", "limit", "resets_at", "upgrade_to")} == {
            "code": "quota_exceeded", "used": 8, "limit": 10, "resets_at": "2023-11-14T22:14:50.000Z",
            "upgrade_to": "pro",
        }  # fmt: skip
        assert problem["violated-policies"] == ["max_concurrent_requests"]
        assert header(answer, "retry-after") == "90"
        assert header(answer, "ratelimit-policy") == '"max_concurrent_requests";q=10'
        assert header(answer, "ratelimit") == '"max_concurrent_requests";r=2;t=90'


async def test_a_slice_and_its_refusal_say_where_the_limit_stands() -> None:
    async with running() as world:
        await acme(world)
        taken = await world.ask("POST", "/tenants/acme/slices", key="acme", body={"limit": CALLS, "at_least": 1_000})
        assert taken.status == 201
        assert body(taken)["granted"] == 1_000
        assert header(taken, "ratelimit-policy") == f'"{CALLS}";q=1000;w=3600'
        assert header(taken, "ratelimit") == f'"{CALLS}";r=0;t=2800'
        refused = await world.ask("POST", "/tenants/acme/slices", key="acme", body={"limit": CALLS})
        assert refused.status == 429
        assert header(refused, "retry-after") == "2800"
        assert header(refused, "ratelimit-policy") == f'"{CALLS}";q=1000;w=3600'
        assert header(refused, "ratelimit") == f'"{CALLS}";r=0;t=2800'
        at = f"/tenants/acme/slices/{body(taken)['slice_id']}/return"
        for returned in (40, 0):
            back = await world.must("POST", at, key="acme", body={"limit": CALLS, "unused": 40})
            assert back == {"returned": returned}


async def test_usage_shows_every_limit_with_its_use() -> None:
    async with running() as world:
        await acme(world)
        await world.must("POST", AT, key="acme", body=REQUESTS | {"amount": 5})
        await world.must("POST", "/tenants/acme/slices", key="acme", body={"limit": CALLS, "at_least": 800})
        usage = await world.must("GET", "/tenants/acme/usage", key="acme")
        assert (usage["tenant_id"], usage["tier"]) == ("acme", "free")
        limits = {limit["name"]: limit for limit in usage["limits"]}
        assert list(limits) == sorted(limits)
        held, counted = limits["max_concurrent_requests"], limits[CALLS]
        assert (held["kind"], held["used"], held["remaining"], held["level"]) == ("capacity", 5, 5, 50)
        assert (counted["kind"], counted["used"], counted["level"]) == ("cumulative", 800, 80)
        assert counted["resets_at"] == "2023-11-14T23:00:00.000Z"
        entitlement = await world.must("GET", f"/tenants/acme/entitlements/{CALLS}", key="acme")
        assert (entitlement["used"], entitlement["remaining"]) == (800, 200)


async def test_the_trail_says_which_level_was_reached() -> None:
    async with running() as world:
        await acme(world)
        await world.must("POST", AT, key="acme", body=REQUESTS | {"amount": 8})
        await world.must("POST", "/tenants/acme/slices", key="acme", body={"limit": CALLS, "at_least": 950})
        trail = await world.must("GET", "/tenants/acme/audit?latest=true&limit=20", key="acme")
        told = [entry for entry in trail["entries"] if entry["type"] == "TenantQuotaLevelReached"]
        assert len(told) == 4


async def test_a_limit_follows_the_tier_at_once() -> None:
    async with running() as world:
        await acme(world)
        big = REQUESTS | {"amount": 50}
        assert (await world.ask("POST", AT, key="acme", body=big)).status == 429
        await world.must("PATCH", "/tenants/acme", key="root", body={"tier": "pro"})
        assert (await world.ask("POST", AT, key="acme", body=big)).status == 201
        await world.must("PATCH", "/tenants/acme", key="root", body={"tier": "free"})
        refused = body(await world.ask("POST", AT, key="acme", body=REQUESTS))
        assert (refused["used"], refused["limit"], refused["remaining"]) == (50, 10, 0)


async def test_a_repeated_key_in_body_or_header_holds_once() -> None:
    async with running() as world:
        await acme(world)
        first = await world.must("POST", AT, key="acme", body=REQUESTS | {"idempotency_key": "k"})
        again = await world.ask("POST", AT, key="acme", body=REQUESTS, headers={"idempotency-key": "k"})
        assert body(again) == first
        differing = await world.ask(
            "POST", AT, key="acme", body=REQUESTS | {"idempotency_key": "k"}, headers={"idempotency-key": "other"}
        )
        assert (differing.status, body(differing)["code"]) == (400, "invalid_idempotency_key")
        assert len((await world.must("GET", AT, key="acme"))["leases"]) == 1


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"resource": "Bad Name"},
        {"resource": "concurrent_requests", "amount": 0},
        {"resource": "concurrent_requests", "amount": -1},
        {"resource": "concurrent_requests", "amount": 1.5},
        {"resource": "concurrent_requests", "amount": 10**13},
        {"resource": "concurrent_requests", "ttl_s": 0.5},
        {"resource": "concurrent_requests", "ttl_s": 86_401},
        {"resource": "concurrent_requests", "idempotency_key": "with space"},
        {"resource": "concurrent_requests", "ammount": 1},
        {"resource": "api_calls_per_hour"},
        {"resource": "nothing"},
    ],
)
async def test_what_is_malformed_is_422_and_changes_nothing(sent: dict[str, object]) -> None:
    async with running() as world:
        await acme(world)
        answer = await world.ask("POST", AT, key="acme", body=sent)
        assert answer.status in (400, 422), answer.body
        assert (await world.must("GET", AT, key="acme"))["leases"] == []


async def test_leases_come_in_pages_of_one_resource_or_all() -> None:
    async with running() as world:
        await acme(world)
        for number in range(5):
            resource = "websocket_connections" if number % 2 else "concurrent_requests"
            await world.must("POST", AT, key="acme", body={"resource": resource})
        first = await world.must("GET", f"{AT}?limit=3", key="acme")
        rest = await world.must("GET", f"{AT}?limit=3&cursor={first['next_cursor']}", key="acme")
        assert [len(first["leases"]), len(rest["leases"]), rest["next_cursor"]] == [3, 2, None]
        only = await world.must("GET", f"{AT}?resource=websocket_connections", key="acme")
        assert {lease["resource"] for lease in only["leases"]} == {"websocket_connections"}
        assert (await world.ask("GET", f"{AT}?cursor=abc", key="acme")).status in (400, 422)


async def test_a_key_that_may_only_read_holds_and_spends_nothing() -> None:
    async with running() as world:
        await acme(world)
        made = await world.must("POST", "/tenants/acme/keys", key="root", body={"name": "r", "scopes": ["quota:read"]})
        world.keys["looks"] = made["api_key"]
        assert (await world.ask("GET", "/tenants/acme/usage", key="looks")).status == 200
        assert (await world.ask("POST", AT, key="looks", body=REQUESTS)).status == 403
        assert (await world.ask("POST", "/tenants/acme/slices", key="looks", body={"limit": CALLS})).status == 403


def test_the_fields_are_structured_fields() -> None:
    assert rate_limit_lines("calls", quota=5, remaining=0) == (
        ("ratelimit-policy", '"calls";q=5'),
        ("ratelimit", '"calls";r=0'),
    )
    assert rate_limit_lines_of({"limit": 5}, 1) == ()
    assert rate_limit_lines_of({}, None) == ()


def events(*ids: str, **more: object) -> dict[str, object]:
    return {"events": [{"id": one, "meter": "tokens", "quantity": 5, **more} for one in ids]}


async def test_usage_is_recorded_once_and_added_up() -> None:
    async with running() as world:
        await acme(world)
        answer = await world.ask("POST", "/tenants/acme/usage/events", key="acme", body=events("1", "2", "1"))
        assert answer.status == 201
        assert body(answer) == {"accepted": 2, "duplicates": 1, "refused": []}
        late = body(await world.ask("POST", "/tenants/acme/usage/events", key="acme", body=events("3", at_ms=5)))
        assert late["refused"] == [{"id": "3", "meter": "tokens", "code": "too_late"}]
        (row,) = (await world.must("GET", "/tenants/acme/usage/meters?period=month", key="acme"))["rows"]
        assert row == {
            "meter": "tokens", "period_start": "2023-11-01T00:00:00.000Z", "period_end": "2023-12-01T00:00:00.000Z",
            "tier": "free", "quantity": 10, "events": 2, "final": False,
        }  # fmt: skip


async def test_meters_come_whole_page_by_page() -> None:
    async with running() as world:
        await acme(world)
        for meter in ("a", "b", "c"):
            sent = {"events": [{"id": "1", "meter": meter}, {"id": "2", "meter": meter, "at_ms": 1_699_990_000_000}]}
            await world.must("POST", "/tenants/acme/usage/events", key="acme", body=sent)
        target, seen = "/tenants/acme/usage/meters?period=hour&limit=1", []
        cursor = ""
        while True:
            page = await world.must("GET", target + cursor, key="acme")
            seen.append([row["meter"] for row in page["rows"]])
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == [["a", "a"], ["b", "b"], ["c", "c"]]


async def test_billing_gets_every_tenant_and_nobody_else_does() -> None:
    async with running() as world:
        await acme(world)
        await world.tenant("globex", "enterprise")
        for tenant in ("acme", "globex"):
            await world.must("POST", f"/tenants/{tenant}/usage/events", key=tenant, body=events("1"))
        first = await world.must("GET", "/usage/export?month=2023-11&limit=1", key="root")
        rest = await world.must("GET", f"/usage/export?month=2023-11&cursor={first['next_cursor']}", key="root")
        assert [(row["tenant_id"], row["tier"], row["quantity"]) for row in first["rows"] + rest["rows"]] == [
            ("acme", "free", 5),
            ("globex", "enterprise", 5),
        ]
        assert (await world.must("GET", "/usage/export?month=2023-12", key="root"))["rows"] == []
        assert (await world.ask("GET", "/usage/export?month=2023-11", key="acme")).status in (403, 404)
        for month in ("2023-13", "0000-01", "1969-12", "november"):
            assert (await world.ask("GET", f"/usage/export?month={month}", key="root")).status in (400, 422), month


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"events": []},
        {"events": [{"id": "1"}]},
        {"events": [{"id": "", "meter": "tokens"}]},
        {"events": [{"id": "1", "meter": "Tokens"}]},
        {"events": [{"id": "1", "meter": "tokens", "quantity": -1}]},
        {"events": [{"id": "1", "meter": "tokens", "at_ms": -1}]},
        {"events": [{"id": "1", "meter": "tokens", "when": 5}]},
        {"events": [{"id": str(number), "meter": "tokens"} for number in range(201)]},
    ],
)
async def test_malformed_usage_is_422_and_counts_nothing(sent: dict[str, object]) -> None:
    async with running() as world:
        await acme(world)
        answer = await world.ask("POST", "/tenants/acme/usage/events", key="acme", body=sent)
        assert answer.status in (400, 422), answer.body
        assert (await world.must("GET", "/tenants/acme/usage/meters", key="acme"))["rows"] == []
