"""Managing flags through the pipeline: statuses, revisions, pages, and what a tenant is shown."""

from __future__ import annotations

from typing import Any

import msgspec

from central_hub.edge.pipeline import Answer
from tests.isolation.world import World, running

BOOLEAN = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}


def told(answer: Answer) -> tuple[int, Any]:
    return answer.status, msgspec.json.decode(answer.body) if answer.body else None


def etag(answer: Answer) -> str:
    return dict(answer.headers)[b"etag"].decode()


async def put(world: World, target: str, body: Any, *, key: str = "root", if_match: str = "") -> Answer:
    return await world.ask("PUT", target, key=key, body=body, headers={"if-match": if_match} if if_match else {})


async def test_a_flag_is_created_replaced_and_shown_by_revision() -> None:
    async with running() as world:
        made = await put(world, "/flags/search", BOOLEAN | {"description": "New search"})
        status, flag = told(made)
        assert (status, etag(made), flag["revision"], flag["state"]) == (201, '"1"', 1, "enabled")
        assert told(await put(world, "/flags/search", BOOLEAN))[0] == 428
        stale = told(await put(world, "/flags/search", BOOLEAN, if_match='"7"'))
        assert (stale[0], stale[1]["code"], stale[1]["current"]["revision"]) == (412, "revision_moved", 1)
        changed = await put(world, "/flags/search", BOOLEAN | {"default": "on"}, if_match='"1"')
        assert (changed.status, etag(changed)) == (200, '"2"')
        shown = await world.ask("GET", "/flags/search", key="root")
        assert (told(shown)[1]["default"], etag(shown)) == ("on", '"2"')
        assert told(await world.ask("GET", "/flags/nothing", key="root"))[1]["code"] == "flag_not_found"


async def test_a_rule_names_tenants_and_tiers_that_are_there() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        for name, rule, status in (
            ("a", {"tenants": ["acme"]}, 201), ("b", {"tenants": ["ghost"]}, 422), ("c", {"tiers": ["pro"]}, 201),
            ("d", {"tiers": ["platinum"]}, 422), ("e", {"segments": ["ghost"]}, 422),
        ):  # fmt: skip
            rules = [{"variant": "on", **rule}]
            assert (await put(world, f"/flags/{name}", BOOLEAN | {"rules": rules})).status == status, name
        assert told(await put(world, "/flags/advanced_ai", BOOLEAN))[1]["code"] == "flag_is_entitlement"


async def test_flags_are_listed_by_page_and_state() -> None:
    async with running() as world:
        for key in "abcd":
            await world.must("PUT", f"/flags/{key}", key="root", body=BOOLEAN)
        for key, state in (("b", "archived"), ("c", "disabled")):
            await world.must("POST", f"/flags/{key}/state", key="root", body={"state": state, "reason": "old"})

        async def keys(query: str) -> tuple[list[str], Any]:
            page = await world.must("GET", "/flags" + query, key="root")
            return [one["key"] for one in page["flags"]], page["next_cursor"]

        assert await keys("") == (["a", "c", "d"], None)
        assert await keys("?limit=2") == (["a", "c"], "c")
        assert await keys("?limit=2&cursor=c") == (["d"], None)
        assert await keys("?limit=3") == (["a", "c", "d"], None)
        assert await keys("?state=archived") == (["b"], None)
        assert await keys("?state=disabled") == (["c"], None)


async def test_segments_are_kept_like_flags() -> None:
    async with running() as world:
        asks = {"conditions": [{"attribute": "age", "operator": "gte", "values": [18]}]}
        assert told(await put(world, "/segments/adults", asks))[0] == 201
        assert told(await put(world, "/segments/adults", asks | {"keys": ["u"]}))[0] == 428
        assert told(await put(world, "/segments/adults", asks | {"keys": ["u"]}, if_match='"1"'))[1]["revision"] == 2
        assert told(await put(world, "/segments/empty", {}))[1]["code"] == "invalid_segment"
        await world.must("PUT", "/segments/beta", key="root", body={"keys": ["v"]})
        page = await world.must("GET", "/segments?limit=1", key="root")
        assert ([one["name"] for one in page["segments"]], page["next_cursor"]) == (["adults"], "adults")
        rest = await world.must("GET", "/segments?cursor=adults", key="root")
        assert ([one["name"] for one in rest["segments"]], rest["next_cursor"]) == (["beta"], None)
        shown = await world.ask("GET", "/segments/adults", key="root")
        assert (told(shown)[1]["conditions"], etag(shown)) == (asks["conditions"], '"2"')
        assert (await world.ask("DELETE", "/segments/adults", key="root")).status == 204
        assert told(await world.ask("GET", "/segments/adults", key="root"))[1]["code"] == "segment_not_found"


async def test_the_longest_lists_fit_into_a_body_and_one_more_is_too_many() -> None:
    async with running() as world:
        longest = [f"{number:0256}" for number in range(1_000)]
        assert (await put(world, "/segments/crowd", {"keys": longest})).status == 201
        assert (await put(world, "/segments/more", {"keys": [*longest, "x"]})).status == 422
        assert (await put(world, "/segments/long", {"keys": ["x" * 257]})).status == 422
        assert (await put(world, "/segments/vast", {"keys": ["x" * 600_000]})).status == 413
        values = {f"v{number}": "x" * 4_000 for number in range(32)}
        flag = {"type": "string", "variants": values, "default": "v0"}
        assert (await put(world, "/flags/wide", flag)).status == 201
        assert (await put(world, "/flags/wider", flag | {"variants": values | {"more": ""}})).status == 422


async def test_a_tenant_lists_and_changes_what_is_its_own() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.tenant("globex", "pro")
        for key in ("a", "b", "c"):
            await world.must("PUT", f"/flags/{key}", key="root", body=BOOLEAN | {"overridable": key != "c"})
        for key in ("a", "b"):
            made = await world.must("PUT", f"/tenants/acme/flags/{key}", key="acme", body={"variant": "on"})
            assert (made["variant"], made["changed_by"]) == ("on", f"key:{world.key_ids['acme']}")
        refused = told(await put(world, "/tenants/acme/flags/c", {"variant": "on"}, key="acme"))
        assert (refused[0], refused[1]["code"]) == (403, "flag_not_overridable")
        by_operator = await world.must("PUT", "/tenants/acme/flags/c", key="root", body={"variant": "on"})
        assert by_operator["key"] == "c"
        page = await world.must("GET", "/tenants/acme/flags?limit=2", key="acme")
        assert ([one["key"] for one in page["overrides"]], page["next_cursor"]) == (["a", "b"], "b")
        rest = await world.must("GET", "/tenants/acme/flags?cursor=b", key="acme")
        assert ([one["key"] for one in rest["overrides"]], rest["next_cursor"]) == (["c"], None)
        assert (await world.must("GET", "/tenants/globex/flags", key="globex"))["overrides"] == []
        assert (await world.ask("DELETE", "/tenants/acme/flags/a", key="acme")).status == 204
        assert (await world.ask("DELETE", "/tenants/acme/flags/c", key="acme")).status == 403


async def test_an_explanation_shows_a_tenant_its_own_part() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.tenant("globex", "pro")
        rules = [
            {"variant": "on", "name": "globex-first", "tenants": ["globex"]},
            {"variant": "on", "name": "staged", "environments": ["staging"]},
            {"variant": "on", "name": "some", "percentage": 50},
        ]
        await world.must("PUT", "/flags/search", key="root", body=BOOLEAN | {"rules": rules})
        target = "/tenants/acme/flags/search/explain"
        about = {"context": {"targetingKey": "u", "tenant_id": "globex"}}
        mine = await world.must("POST", target, key="acme", body=about)
        assert (mine["steps"][0]["step"], mine["steps"][0]["rule"]) == ("rule", 1)
        assert b"globex" not in msgspec.json.encode(mine)
        whole = await world.must("POST", target, key="root", body=about)
        assert [one.get("name") for one in whole["steps"]][:3] == ["globex-first", "staged", "some"]
        staged = await world.must("POST", target, key="acme", body={"environment": "staging"})
        assert (staged["value"], staged["environment"], staged["reason"]) == (True, "staging", "TARGETING_MATCH")
        bare = await world.must("POST", target, key="acme")
        assert (bare["error"], bare["reason"]) == ("TARGETING_KEY_MISSING", "ERROR")
        await world.must("PUT", "/tenants/acme/flags/search", key="root", body={"variant": "on"})
        own = await world.must("POST", target, key="acme")
        assert (own["value"], own["steps"][0]["step"]) == (True, "override")


async def test_an_entitlement_is_explained_and_hidden_flags_are_not() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        await world.must("POST", "/tenants", key="root", body={"id": "globex", "name": "g", "tier": "pro"})
        await world.must("PUT", "/flags/theirs", key="root", body=BOOLEAN | {"only_tenants": ["globex"]})
        said = await world.must("POST", "/tenants/acme/flags/advanced_ai/explain", key="acme")
        assert (said["value"], said["variant"], said["steps"][0]["step"]) == (False, "denied", "entitlement")
        hidden = await world.ask("POST", "/tenants/acme/flags/theirs/explain", key="acme")
        missing = await world.ask("POST", "/tenants/acme/flags/nothing/explain", key="acme")
        assert (hidden.status, hidden.body) == (missing.status, missing.body) == (404, missing.body)


async def test_a_bound_key_explains_its_environment_only() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.must("PUT", "/flags/search", key="root", body=BOOLEAN)
        made = await world.must("POST", "/tenants/acme/keys", key="root", body={"name": "s", "environment": "staging"})
        world.keys["staging"] = made["api_key"]
        target = "/tenants/acme/flags/search/explain"
        assert (await world.must("POST", target, key="staging"))["environment"] == "staging"
        refused = await world.ask("POST", target, key="staging", body={"environment": "production"})
        assert told(refused)[1]["code"] == "environment_mismatch"
