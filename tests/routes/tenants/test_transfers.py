"""A tenant as a document: what goes along, what stays, and an import that a failure interrupts."""

from __future__ import annotations

from typing import Any

import msgspec

from central_hub.plans.document import default_catalogue
from tests.isolation.world import World, running

BOOST = {"boost": {"entitlements": {"advanced_ai": True}}}
FLAG: dict[str, Any] = {
    "type": "boolean", "variants": {"on": True, "off": False}, "default": "off", "overridable": True,
}  # fmt: skip


async def furnished(world: World) -> None:
    plans = {**msgspec.to_builtins(default_catalogue()), "addons": BOOST}
    await world.must("PUT", "/plans", key="root", body={"catalogue": plans})
    schema = {"type": "object", "properties": {"theme": {"type": "string"}}}
    await world.must("PUT", "/config/schemas/app", key="root", body=schema)
    await world.must("PUT", "/flags/beta", key="root", body=FLAG)


async def one_of_everything(world: World) -> None:
    await world.tenant("acme", "pro")
    await world.must("PUT", "/tenants/acme/addons/boost", key="root")
    await world.must("PUT", "/tenants/acme/overrides/max_data_storage_mb", key="root", body={"value": None})
    soon = {"feature": "custom_models", "value": True, "expires_at_ms": world.clock.now_ms() + 1_000}
    await world.must("POST", "/tenants/acme/grants", key="root", body=soon)
    await world.must("POST", "/tenants/acme/grants", key="root", body={"feature": "custom_models", "value": True})
    for layer in ("tenant/acme", "tenant/acme?environment=staging"):
        await world.must(
            "PUT", f"/config/layers/{layer}", key="root", body={"app": {"theme": layer}}, headers={"if-match": "*"}
        )
    await world.must("PUT", "/tenants/acme/flags/beta", key="root", body={"variant": "on"})
    await world.register("risk", key="acme")
    await world.must("POST", "/tenants/acme/past-due", key="root", body={"reason": "March is unpaid"})
    world.clock.advance(2_000)


async def seen(world: World, tenant: str) -> dict[str, Any]:
    told = {
        "tenant": await world.must("GET", f"/tenants/{tenant}", key="root"),
        "entitlements": await world.must("GET", f"/tenants/{tenant}/entitlements", key="root"),
        "config": await world.must("GET", f"/config/{tenant}?environment=staging", key="root"),
    }
    del told["tenant"]["seq"], told["tenant"]["created_at"]
    for one in told["entitlements"]["entitlements"]:
        one["source"] = one["source"].partition(":")[0]
    return msgspec.json.decode(msgspec.json.encode(told["tenant"] | told).replace(tenant.encode(), b"TENANT"))


async def test_a_tenant_comes_back_the_same_in_another_hub() -> None:
    async with running() as world, running(seed=2) as other:
        for each in (world, other):
            await furnished(each)
        await one_of_everything(world)
        document = await world.must("GET", "/tenants/acme/export", key="root")
        assert len(document["sections"]["entitlements"]["grants"]) == 1
        wanted = {"document": document, "first_key": {"name": "moved"}}
        made = await other.must("POST", "/tenants/import", key="root", body=wanted)
        assert (made["status"], made["reason"]) == ("past_due", "March is unpaid")
        assert await seen(other, "acme") == await seen(world, "acme")
        again = await other.must("GET", "/tenants/acme/export", key="root")
        (there,), (here,) = (one["sections"]["entitlements"].pop("grants") for one in (again, {**document}))
        assert {**there, "id": ""} == {**here, "id": ""}
        assert (again["sections"], again["tenant"]) == (document["sections"], document["tenant"])
        other.keys["moved"] = made["key"]["api_key"]
        services = await other.must("GET", "/services/", key="moved")
        assert services["services"] == {}
        refused = await other.ask("POST", "/tenants/import", key="root", body=wanted)
        assert b'"tenant_exists"' in refused.body


async def test_a_copy_under_another_id_stands_for_itself() -> None:
    async with running() as world:
        await furnished(world)
        await one_of_everything(world)
        document = await world.must("GET", "/tenants/acme/export", key="root")
        body = {"document": document, "id": "copy"}
        made = await world.must("POST", "/tenants/import", key="root", body=body)
        assert (made["id"], made["key"]) == ("copy", None)
        assert (await seen(world, "copy"))["entitlements"] == (await seen(world, "acme"))["entitlements"]
        await world.must("DELETE", "/tenants/copy/overrides/max_data_storage_mb", key="root")
        kept = await world.must("GET", "/tenants/acme/entitlements/max_data_storage_mb", key="root")
        assert kept["limit"] is None


async def test_an_import_that_fails_leaves_a_suspended_tenant_and_goes_on_when_it_is_sent_again() -> None:
    async with running() as world, running(seed=2) as other:
        await furnished(world)
        await one_of_everything(world)
        body = {"document": await world.must("GET", "/tenants/acme/export", key="root")}
        refused = await other.ask("POST", "/tenants/import", key="root", body=body)
        assert b'"unknown_addon"' in refused.body
        half = await other.must("GET", "/tenants/acme", key="root")
        assert (half["status"], half["reason"]) == ("suspended", "importing")
        await furnished(other)
        made = await other.must("POST", "/tenants/import", key="root", body=body)
        assert made["status"] == "past_due"
        assert await seen(other, "acme") == await seen(world, "acme")


async def test_only_an_import_that_has_not_ended_is_gone_on_with() -> None:
    async with running() as world:
        await furnished(world)
        await one_of_everything(world)
        body = {"document": await world.must("GET", "/tenants/acme/export", key="root")}
        for target, reason in (("suspend", "unpaid"), ("resume", ""), ("past-due", "importing")):
            await world.must("POST", f"/tenants/acme/{target}", key="root", body={"reason": reason})
            if target != "resume":
                refused = await world.ask("POST", "/tenants/import", key="root", body=body)
                assert b'"tenant_exists"' in refused.body


async def test_a_grant_that_has_ended_on_the_way_stays_behind() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        soon = {"feature": "custom_models", "value": True, "expires_at_ms": world.clock.now_ms() + 1_000}
        await world.must("POST", "/tenants/acme/grants", key="root", body=soon)
        document = await world.must("GET", "/tenants/acme/export", key="root")
        assert len(document["sections"]["entitlements"]["grants"]) == 1
        world.clock.advance(1_000)
        await world.must("POST", "/tenants/import", key="root", body={"document": document, "id": "late"})
        assert (await world.must("GET", "/tenants/late/grants", key="root"))["layers"] == []


async def test_what_is_no_tenant_is_refused_and_makes_none() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        document = await world.must("GET", "/tenants/acme/export", key="root")
        tenant = document["tenant"]
        for wrong, code in (
            ({**document, "format": "other/1"}, b'"invalid_export"'),
            ({**document, "sections": {"magic": {}}}, b'"invalid_export"'),
            ({**document, "tenant": {**tenant, "status": "deleted"}}, b'"invalid_export"'),
            ({**document, "tenant": {**tenant, "reason": "importing"}}, b'"invalid_export"'),
            ({**document, "tenant": {**tenant, "tier": "platinum"}}, b'"unknown_tier"'),
            ({**document, "tenant": {**tenant, "status": "flying"}}, b'"invalid_body"'),
        ):
            refused = await world.ask("POST", "/tenants/import", key="root", body={"document": wrong, "id": "fresh"})
            assert (refused.status, code in refused.body) == (422, True), refused.body
        assert (await world.ask("GET", "/tenants/fresh", key="root")).status == 404
        for section in ("entitlements", "configuration", "flags"):
            broken = {**document, "sections": {section: {"no": "thing"}}}
            body = {"document": broken, "id": f"half-{section}"}
            refused = await world.ask("POST", "/tenants/import", key="root", body=body)
            assert b'"invalid_export"' in refused.body, section
