"""What a tenant may have of the hub itself, through a whole hub: who says so, who is refused, who sees."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from central_hub.edge.pipeline import Answer
from central_hub.edge.shares import BURST_S, LIMITS
from central_hub.plans.document import default_catalogue
from tests.isolation.world import World, running

AT = "/tenants/acme/hub-limits"
FREE = default_catalogue().plans["free"].entitlements


def header(answer: Answer, name: str) -> str:
    return next((value.decode() for key, value in answer.headers if key.decode() == name), "")


def body(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def override(world: World, **limits: float) -> None:
    for name, value in limits.items():
        await world.must("PUT", f"/tenants/acme/overrides/{name}", key="root", body={"value": value})


async def test_the_plan_says_how_much_of_the_hub_a_tenant_may_have() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        answer = body(await world.ask("GET", AT, key="acme"))
        assert {each["name"]: each["limit"] for each in answer["limits"]} == {
            name: value for name, value in FREE.items() if name in LIMITS and name != "hub_write_weight"
        }
        assert {each["source"] for each in answer["limits"]} == {"plan:free"}
        assert {each["upgrade_to"] for each in answer["limits"]} == {"pro"}
        assert (answer["tier"], answer["write_weight"], answer["held_connections"]) == ("free", 1, 0)
        assert {each["used"] for each in answer["limits"]} == {None, 0, 1}  # this request is the one in flight


async def test_what_a_plan_does_not_limit_ends_at_the_hubs_own_ceiling() -> None:
    async with running() as world:
        await world.tenant("acme", "enterprise")
        answer = body(await world.ask("GET", AT, key="acme"))
        assert {each["source"] for each in answer["limits"]} == {"hub"}
        assert answer["write_weight"] == 16


async def test_an_override_holds_at_once_and_is_refused_with_where_the_limit_stands() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        await override(world, hub_reads_per_second=3)
        answers = [await world.ask("GET", "/services/", key="acme") for _ in range(int(3 * BURST_S) + 2)]
        assert [answer.status for answer in answers] == [200] * (int(3 * BURST_S) + 1) + [429]
        refused = answers[-1]
        assert header(refused, "ratelimit-policy") == '"hub_reads_per_second";q=3;w=1'
        assert header(refused, "ratelimit") == '"hub_reads_per_second";r=0;t=1'
        assert header(refused, "retry-after") == "1"
        assert body(refused)["code"] == "too_many_requests"
        world.clock.advance(1_000)
        found = {each["name"]: each for each in body(await world.ask("GET", AT, key="acme"))["limits"]}
        assert found["hub_reads_per_second"] | {"upgrade_to": None} == {
            "name": "hub_reads_per_second", "limit": 3.0, "used": None, "refused": 1, "source": "override",
            "upgrade_to": None,
        }  # fmt: skip


async def test_a_grant_that_ends_by_the_clock_ends_for_the_hub_within_a_second() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        grant = {"feature": "hub_watches", "value": 7_777, "expires_at_ms": world.clock.now_ms() + 60_000}
        await world.must("POST", "/tenants/acme/grants", key="root", body=grant)
        share = world.hub.core.protection.share(await asked(world))
        assert share.limits.watches == 7_777
        world.clock.advance(61_000)
        await world.ask("GET", "/services/", key="acme")
        assert share.limits.watches == FREE["hub_watches"]


async def asked(world: World) -> Any:
    """Return the context of one request of the tenant's."""
    answer = await world.ask("GET", "/services/", key="acme")
    assert answer.ctx is not None
    return answer.ctx


async def test_so_many_requests_in_flight_and_no_more() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        await override(world, hub_requests_in_flight=2)
        share = world.hub.core.protection.share(await asked(world))
        share.in_flight = 2
        refused = await world.ask("GET", "/services/", key="acme")
        assert (refused.status, body(refused)["code"]) == (429, "too_many_in_flight")
        assert header(refused, "ratelimit-policy") == '"hub_requests_in_flight";q=2'
        share.in_flight = 0
        assert (await world.ask("GET", "/services/", key="acme")).status == 200
        assert share.in_flight == 0


@pytest.mark.parametrize("path", ["/watch?services=*", "/services/discover/own?wait_seq=0&wait_s=5"])
async def test_streams_and_blocking_reads_are_watches(path: str) -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        instance = {"name": "own", "host": "10.0.0.1", "port": 80, "lease_ttl_s": 60}
        await world.must("POST", "/services/register", key="acme", body=instance)
        await override(world, hub_watches=0)
        refused = await world.ask("GET", path, key="acme")
        assert refused.status == 429, refused.body
        assert body(refused)["code"] in ("too_many_watchers", "too_many_waiters")
        assert header(refused, "retry-after") == "5"


async def test_a_read_that_waits_is_a_watch_and_not_in_flight() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        instance = {"name": "own", "host": "10.0.0.1", "port": 80, "lease_ttl_s": 60}
        registered = body(await world.ask("POST", "/services/register", key="acme", body=instance))
        share = world.hub.core.protection.share(await asked(world))
        path = f"/services/discover/own?wait_seq={registered['seq']}&wait_s=5"
        waiting = asyncio.create_task(world.ask("GET", path, key="acme"))
        await asyncio.sleep(0.05)
        assert (share.watches, share.in_flight) == (1, 0)
        await world.must("POST", "/services/register", key="acme", body=instance | {"instance_id": "two"})
        assert (await waiting).status == 200
        assert (share.watches, share.in_flight) == (0, 0)


async def test_so_many_quota_leases_and_no_more() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        await override(world, hub_allocations=2)
        hold = {"resource": "concurrent_requests", "amount": 1}
        answers = [await world.ask("POST", "/tenants/acme/allocations", key="acme", body=hold) for _ in range(3)]
        assert [answer.status for answer in answers] == [201, 201, 429]
        assert body(answers[-1])["code"] == "limit_reached"
        assert header(answers[-1], "ratelimit-policy") == '"hub_allocations";q=2'
        found = {each["name"]: each for each in body(await world.ask("GET", AT, key="acme"))["limits"]}
        assert (found["hub_allocations"]["used"], found["hub_allocations"]["refused"]) == (2, None)


async def test_so_many_writes_wait_and_no_more() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        await world.tenant("globex", "free")
        await override(world, hub_queued_writes=3)
        await asked(world)
        instance = {"name": "own", "host": "10.0.0.1", "port": 80, "lease_ttl_s": 60}
        answers = await asyncio.gather(
            *(
                world.ask("POST", "/services/register", key=key, body=instance | {"instance_id": f"{key}-{number}"})
                for number in range(8)
                for key in ("acme", "globex")
            )
        )
        codes = [answer.status for answer in answers]
        assert codes[1::2] == [201] * 8
        assert codes[::2].count(429) > 0
        refused = next(answer for answer in answers if answer.status == 429)
        assert body(refused)["code"] == "write_queue_full"
        assert header(refused, "ratelimit-policy") == '"hub_queued_writes";q=3'
        assert world.hub.core.protection.refusals["hub_queued_writes"] == codes.count(429)
        assert world.hub.core.sequencer.queued == 0


async def test_what_a_tenant_may_have_of_the_hub_is_no_resource_and_not_configured() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        hold = {"resource": "hub_watches", "amount": 1}
        refused = await world.ask("POST", "/tenants/acme/allocations", key="acme", body=hold)
        assert body(refused)["code"] == "unknown_resource"
        spent = await world.ask(
            "POST", "/tenants/acme/slices", key="acme", body={"limit": "hub_reads_per_second", "amount": 1}
        )
        assert body(spent)["code"] == "unknown_limit"
        assert b"hub_" not in (await world.ask("GET", "/config/acme", key="acme")).body
        assert b"hub_" not in (await world.ask("GET", "/tenants/acme/usage", key="acme")).body
