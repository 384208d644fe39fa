"""Plans and entitlements over HTTP: shapes, the layers seen through the answer, and who is affected at once."""

from __future__ import annotations

from typing import Any

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.plans.document import default_catalogue
from tests.isolation.world import World, running

BOOST = {"boost": {"entitlements": {"advanced_ai": True}}}


def catalogue(**changes: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(default_catalogue()), **changes}


async def entitlement(world: World, feature: str, *, key: str = "acme") -> Any:
    return await world.must("GET", f"/tenants/acme/entitlements/{feature}", key=key)


async def test_an_answer_says_everything_there_is_to_say() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        found = await entitlement(world, "max_concurrent_requests")
        decision = found.pop("decision_id")
        assert found == {
            "feature": "max_concurrent_requests", "kind": "metered", "allowed": True, "source": "plan:free",
            "value": None, "limit": 10, "used": 0, "remaining": 10, "resets_at": None, "unit": "requests",
            "period": "", "soft": False, "upgrade_to": "pro", "tenant_id": "acme", "tier": "free",
            "layers": [{"source": "plan:free", "value": 10}],
        }  # fmt: skip
        explained = await world.must("GET", f"/decisions/{decision}", key="acme")
        assert (explained["code"], explained["tenant_id"]) == ("entitled", "acme")
        assert "up to 10 requests, by plan:free" in explained["message"]
        await world.tenant("globex", "pro")
        foreign = await world.ask("GET", f"/decisions/{decision}", key="globex")
        assert foreign.status == 404


async def test_what_is_held_counts_as_used() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        held = {"resource": "concurrent_requests", "amount": 4, "ttl_s": 60}
        await world.must("POST", "/tenants/acme/allocations", key="acme", body=held)
        found = await entitlement(world, "max_concurrent_requests")
        assert (found["used"], found["remaining"]) == (4, 6)
        await world.must("PUT", "/tenants/acme/overrides/max_concurrent_requests", key="root", body={"value": 3})
        found = await entitlement(world, "max_concurrent_requests")
        assert (found["limit"], found["used"], found["remaining"]) == (3, 4, 0)


async def test_what_is_unknown_is_denied_and_not_an_error() -> None:
    async with running() as world:
        await world.tenant("acme", "enterprise")
        found = await entitlement(world, "teleport")
        assert (found["allowed"], found["source"], found["layers"]) == (False, "none", [])
        explained = await world.must("GET", f"/decisions/{found['decision_id']}", key="acme")
        assert explained["code"] == "not_entitled"


async def test_the_layers_above_a_plan_are_listed_by_page_and_taken_back() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        await world.must("PUT", "/plans", key="root", body={"catalogue": catalogue(addons=BOOST)})
        addon = await world.must("PUT", "/tenants/acme/addons/boost", key="root")
        assert (addon["layer"], addon["id"], addon["live"]) == ("addon", "boost", True)
        ends = world.clock.now_ms() + 60_000
        wanted = {"feature": "advanced_ai", "value": False, "expires_at_ms": ends, "reason": "pause"}
        grant = await world.must("POST", "/tenants/acme/grants", key="root", body=wanted)
        body = {"value": True, "reason": "agreed"}
        await world.must("PUT", "/tenants/acme/overrides/advanced_ai", key="root", body=body)
        sources = [layer["source"] for layer in (await entitlement(world, "advanced_ai"))["layers"]]
        assert sources == ["override", f"grant:{grant['id']}", "addon:boost", "plan:free"]
        seen: list[str] = []
        cursor = ""
        while True:
            page = await world.must("GET", f"/tenants/acme/grants?limit=1{cursor}", key="acme")
            seen += [layer["layer"] for layer in page["layers"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == ["addon", "grant", "override"]
        wrong = await world.ask("GET", "/tenants/acme/grants?cursor=grant:gone", key="acme")
        assert b'"invalid_cursor"' in wrong.body
        world.clock.advance(60_000)
        layers = (await world.must("GET", "/tenants/acme/grants", key="acme"))["layers"]
        assert [layer["live"] for layer in layers] == [True, False, True]
        good = {"feature": "custom_models", "value": True}
        assert (await world.must("POST", "/tenants/acme/grants", key="root", body=good))["expires_at"] is None
        assert grant["expires_at"] == layers[1]["expires_at"] == rfc3339(ends)
        for target in ("overrides/advanced_ai", f"grants/{grant['id']}", "addons/boost"):
            await world.must("DELETE", f"/tenants/acme/{target}", key="root")
        assert (await entitlement(world, "advanced_ai"))["source"] == "plan:free"


async def test_plans_that_rank_otherwise_hold_before_the_answer() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.register("gold", key="root", subscription_requirements=["enterprise"])
        low = await world.ask("GET", "/services/discover/gold", key="acme")
        assert (low.status, b'"upgrade_to":"enterprise"' in low.body) == (403, True)
        plans = catalogue()["plans"]
        plans = {**plans, "pro": {**plans["pro"], "rank": 40}}
        looked = await world.must("PUT", "/plans?dry_run=true", key="root", body={"catalogue": catalogue(plans=plans)})
        assert looked == {
            "revision": 0, "dry_run": True,
            "changes": [{"action": "change", "path": "plans.pro.rank", "before": 20, "after": 40}],
        }  # fmt: skip
        assert (await world.ask("GET", "/services/discover/gold", key="acme")).status == 403
        body = {"catalogue": catalogue(plans=plans), "if_revision": 0, "reason": "pro sees everything"}
        assert (await world.must("PUT", "/plans", key="root", body=body))["revision"] == 1
        assert (await world.ask("GET", "/services/discover/gold", key="acme")).status == 200
        assert (await world.ask("PUT", "/plans", key="root", body=body)).status == 412
        trail = await world.must("GET", "/audit?latest=true&limit=1", key="root")
        assert trail["entries"][0]["data"]["reason"] == "pro sees everything"


async def test_a_registration_asks_for_no_more_than_the_tenant_may_have() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        asked = {"metadata": {"resource_limits": {"concurrent_requests": 50}}}
        body = {"name": "risk", "host": "10.0.0.1", "port": 80, **asked}
        refused = await world.ask("POST", "/services/register", key="acme", body=body)
        assert (refused.status, b'"resource_limits_above_tier"' in refused.body) == (403, True)
        await world.must("PUT", "/tenants/acme/overrides/max_concurrent_requests", key="root", body={"value": 50})
        await world.register("risk", key="acme", **asked)


async def test_a_body_that_is_no_catalogue_is_refused_by_name() -> None:
    async with running() as world:
        for body, word in (
            ({"catalogue": {"features": {}, "plans": {}}}, b"1 to 64 plans"),
            ({"catalogue": catalogue(planz={})}, b"planz"),
            ({"catalogue": catalogue(plans={"a": {"rank": "x", "entitlements": {}}})}, b"rank"),
        ):
            refused = await world.ask("PUT", "/plans", key="root", body=body)
            assert (refused.status, word in refused.body) == (422, True), refused.body
