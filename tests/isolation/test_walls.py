"""Walls that no single route shows: two tenants in one request, positions, shadows, waiting, the platform's figures."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from central_hub.edge.pipeline import Answer
from central_hub.registry import waiting
from central_hub.settings import Settings
from tests.isolation.world import World, running


async def furnished(world: World) -> None:
    """Two tenants, a shared service above one of them, and a shared one that one of them shadows."""
    for name, tier in (("acme", "pro"), ("globex", "enterprise")):
        await world.tenant(name, tier)
    await world.register("gold", key="root", host="10.9.9.9", subscription_requirements=["enterprise"])
    await world.register("risk", key="root", host="10.7.7.7")
    await world.register("risk", key="acme")


def body(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def code(world: World, method: str, target: str, **more: Any) -> str:
    return body(await world.ask(method, target, **more))["code"]


async def test_a_request_that_names_two_tenants_is_refused_before_it_is_asked_who_may() -> None:
    async with running() as world:
        await furnished(world)
        registration = {"name": "new", "host": "10.0.0.1", "port": 1, "tenant_id": "globex"}
        for key in ("root", "acme"):
            acme = {"key": key, "headers": {"x-tenant-id": "acme"}}
            assert await code(world, "POST", "/services/register", body=registration, **acme) == "tenant_disagrees"
            assert await code(world, "GET", "/tenants/globex", **acme) == "tenant_disagrees"
            assert await code(world, "GET", "/tenants/nobody", **acme) == "tenant_disagrees"
            assert await code(world, "GET", "/services/?tenant_id=globex", **acme) == "tenant_disagrees"
            assert (await world.ask("GET", "/tenants/acme", **acme)).status == 200
        assert await code(world, "POST", "/services/register", body=registration, key="acme") == "tenant_mismatch"
        assert await code(world, "GET", "/services/?tenant_id=globex", key="acme") == "tenant_mismatch"
        assert (await world.ask("POST", "/services/register", body=registration, key="root")).status == 201
        assert b"new" in (await world.ask("GET", "/services/", key="globex")).body
        assert b"new" not in (await world.ask("GET", "/services/", key="acme")).body


async def test_positions_are_the_callers_own_and_the_shared_one() -> None:
    async with running() as world:
        await furnished(world)

        async def position(key: str) -> list[int]:
            lines = dict((await world.ask("GET", "/services/", key=key)).headers)
            return [int(part) for part in lines[b"hub-seq"].split(b".")[1:]]

        own, shared = await position("acme")
        others, same = await position("globex")
        assert shared == same == 2
        assert own != shared
        assert await position("root") == [0, shared]
        await world.register("more", key="globex")
        assert await position("acme") == [own, shared]
        assert await position("globex") == [others + 1, shared]


async def test_an_own_service_shadows_the_shared_one_and_neither_is_listed_twice() -> None:
    async with running() as world:
        await furnished(world)
        for key, host, where in (
            ("acme", b"10.0.0.1", "tenant"),
            ("globex", b"10.7.7.7", "shared"),
            ("root", b"10.7.7.7", "shared"),
        ):
            listed = await world.ask("GET", "/services/", key=key)
            assert listed.body.count(b'"risk":') == 1
            assert host in listed.body
            assert body(listed)["services"]["risk"]["domain"] == where
            assert body(listed)["services"]["risk"]["tenant_id"] == ("acme" if key == "acme" else None)
            assert (await world.ask("GET", "/health/services", key=key)).body.count(b'"risk":') == 1
            one = await world.must("GET", "/services/risk/instances/i-1", key=key)
            assert (one["domain"], one["host"].encode()) == (where, host)
            detail = await world.must("GET", "/health/services/risk", key=key)
            assert detail["domain"] == where
            targets = await world.must("GET", "/prometheus/targets", key=key)
            assert [t["labels"]["__meta_central_hub_domain"] for t in targets if host.decode() in str(t)] == [where]
        for target in ("/services/", "/prometheus/targets"):
            assert b"10.7.7.7" not in (await world.ask("GET", target, key="acme")).body


async def test_an_instance_above_the_tier_can_be_neither_touched_nor_told_from_a_missing_one() -> None:
    async with running() as world:
        await furnished(world)
        for method, verb in (("POST", "/drain"), ("POST", "/undrain"), ("PUT", "/heartbeat"), ("DELETE", "")):
            sent = {"key": "acme", "body": {} if verb == "/heartbeat" else None}
            hidden = await world.ask(method, f"/services/gold/instances/i-1{verb}", **sent)
            nothing = await world.ask(method, f"/services/none/instances/i-1{verb}", **sent)
            assert hidden.status == nothing.status == (204 if method == "DELETE" else 404)
            assert hidden.body.replace(b"'gold'", b"'none'") == nothing.body
        seen = await world.ask("POST", "/services/gold/instances/i-1/drain", key="globex")
        assert (seen.status, body(seen)["code"]) == (403, "not_owner")
        assert (await world.ask("GET", "/services/gold/instances/i-1", key="globex")).status == 200


async def test_waiting_for_a_service_above_the_tier_is_refused_at_once() -> None:
    async with running() as world:
        await furnished(world)
        async with asyncio.timeout(2):
            for target in ("/services/discover/gold?wait_seq=1&wait_s=20", "/services/discover/gold"):
                refused = await world.ask("GET", target, key="acme")
                assert (refused.status, body(refused)["code"]) == (403, "tier_too_low")


async def test_a_position_beyond_what_the_callers_two_domains_could_have_reached_is_gone() -> None:
    async with running() as world:
        await furnished(world)
        for _ in range(5):
            await world.register("busy", key="globex", metadata={"n": _})
        for key in ("globex", "root"):
            gone = await world.ask("GET", "/services/discover/gold?wait_seq=3&wait_s=0", key=key)
            assert (gone.status, body(gone)["code"]) == (410, "position_gone")
        assert (await world.ask("GET", "/services/discover/gold?wait_seq=2&wait_s=0", key="globex")).status == 200
        assert (await world.ask("GET", "/services/discover/busy?wait_seq=99&wait_s=0", key="globex")).status == 410


async def test_who_waits_is_asked_again_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WAITERS_PER_TENANT_MAX", 1)
    async with running() as world:
        await furnished(world)
        head = (await world.must("GET", "/services/risk", key="acme"))["revision"]
        target = f"/services/discover/risk?wait_seq={head}&wait_s=0.3"
        waits = asyncio.create_task(world.ask("GET", target, key="acme"))
        await asyncio.sleep(0.02)
        assert await code(world, "GET", target, key="acme") == "too_many_waiters"
        assert (await world.ask("GET", "/services/discover/risk?wait_seq=2&wait_s=0.01", key="globex")).status == 200
        await world.must("POST", "/tenants/acme/suspend", key="root")
        refused = await waits
        assert (refused.status, body(refused)["code"]) == (403, "tenant_suspended")


async def test_who_may_watch_is_limited_before_the_stream_begins() -> None:
    async with running() as world:
        await furnished(world)
        world.hub.discovery.watch._watchers_max = 0
        refused = await world.ask("GET", "/watch?services=risk", key="acme")
        assert refused.status == 429


async def test_what_a_registration_asks_for_is_held_against_the_tier() -> None:
    async with running() as world:
        await furnished(world)
        asked = {
            "name": "new",
            "host": "10.0.0.1",
            "port": 1,
            "metadata": {"resource_limits": {"max_concurrent_requests": 101}},
        }
        refused = await world.ask("POST", "/services/register", key="acme", body=asked)
        assert (refused.status, body(refused)["code"]) == (403, "resource_limits_above_tier")
        assert (await world.ask("POST", "/services/register", key="globex", body=asked)).status == 201
        assert (await world.ask("POST", "/services/register", key="root", body=asked)).status == 201


async def test_the_hubs_own_figures_are_for_the_platforms_metrics_scope() -> None:
    async with running() as world:
        await furnished(world)
        for name, domain, scopes in (
            ("meter", "/keys", ["metrics:read"]),
            ("admin", "/keys", ["platform:admin"]),
            ("reader", "/keys", ["registry:read"]),
            ("metered", "/tenants/acme/keys", ["metrics:read"]),
        ):
            made = await world.ask("POST", domain, key="root", body={"name": name, "scopes": scopes})
            if made.status == 401:  # the first key that administers replaces the first hour's
                made = await world.ask("POST", domain, key="admin", body={"name": name, "scopes": scopes})
            world.keys[name] = body(made)["api_key"]
        seen = {
            name: (
                (await world.ask("GET", "/metrics", key=name)).status,
                b"version" in (await world.ask("GET", "/health", key=name)).body,
            )
            for name in ("meter", "admin", "reader", "metered", "acme", "")
        }
        assert seen == {
            "meter": (200, True),
            "admin": (200, True),
            "reader": (403, False),
            "metered": (403, False),
            "acme": (403, False),
            "": (401, False),
        }


async def test_an_open_hub_shows_its_figures_to_anyone_on_the_machine() -> None:
    async with running(settings=Settings(open=True)) as world:
        assert b"version" in (await world.ask("GET", "/health")).body
        assert (await world.ask("GET", "/metrics")).status == 200
        assert b"version" in (await world.ask("GET", "/health", headers={"x-tenant-id": "visitor"})).body


async def test_explaining_says_what_tier_a_service_asks_for() -> None:
    async with running() as world:
        await furnished(world)
        gold = await world.must("GET", "/services/discover/gold?explain=1", key="globex")
        risk = await world.must("GET", "/services/discover/risk?explain=1", key="globex")
        assert gold["explain"]["required_tier"] == "enterprise"
        assert risk["explain"]["required_tier"] is None


async def test_an_open_caller_without_a_tenant_sees_what_its_claimed_tier_allows() -> None:
    async with running(settings=Settings(open=True)) as world:
        wanted = {"name": "gold", "host": "10.9.9.9", "port": 1, "subscription_requirements": ["enterprise"]}
        await world.must("POST", "/services/register", body={**wanted, "depends_on": ["vault"]})
        for target in ("/services/", "/prometheus/targets", "/dependencies", "/health/services"):
            low = await world.ask("GET", target)
            high = await world.ask("GET", target, headers={"x-subscription-tier": "enterprise"})
            assert low.status == high.status == 200
            assert b"gold" not in low.body + low.body
            assert b"gold" in high.body or b"10.9.9.9" in high.body


async def test_an_open_hub_has_no_keys_of_tenants_that_were_never_made() -> None:
    async with running(settings=Settings(open=True)) as world:
        assert await code(world, "GET", "/tenants/visitor/keys") == "tenant_not_found"


async def test_the_platform_is_told_of_missing_tenants_and_of_whom_it_may_speak_for() -> None:
    async with running() as world:
        await furnished(world)
        assert await code(world, "GET", "/tenants/nobody/keys", key="root") == "tenant_not_found"
        assert (await world.must("GET", "/whoami", key="root"))["may_assert"] is None
        assert (await world.must("GET", "/whoami", key="acme"))["may_assert"] == []
        made = {"name": "edge", "scopes": ["tenant:assert"]}
        await world.must("POST", "/keys", key="root", body={**made, "assertable_tenants": ["acme"]})
        await world.must("POST", "/keys", key="root", body={**made, "assertable_tenants": None})
        listed = (await world.must("GET", "/keys", key="root"))["keys"]
        assert sorted(str(key["assertable_tenants"]) for key in listed) == ["None", "['acme']"]
        statuses = [(await world.must("GET", "/tenants/acme", key="root"))["status"]]
        await world.must("POST", "/tenants/acme/suspend", key="root")
        statuses.append((await world.must("GET", "/tenants/acme", key="root"))["status"])
        assert statuses == ["active", "suspended"]
