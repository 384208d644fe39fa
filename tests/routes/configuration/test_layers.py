"""Layers over HTTP: revisions and preconditions, patches, sets of changes, history, going back, dry runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from central_hub.edge.pipeline import Answer
from tests.isolation.world import World, running

ANY = {"if-match": "*"}
GLOBAL = "/config/layers/global"
ACME = "/config/layers/tenant/acme"
RISK = {
    "type": "object",
    "properties": {
        "mode": {"type": "string"},
        "depth": {"type": "integer"},
        "open": {"type": "object", "additionalProperties": True},
    },
}


@asynccontextmanager
async def furnished() -> AsyncIterator[World]:
    """A world with three tenants and a described section."""
    async with running() as world:
        for name, tier in (("acme", "pro"), ("globex", "pro"), ("idle", "free")):
            await world.tenant(name, tier)
        made = await world.must("POST", "/keys", key="root", body={"name": "root", "scopes": ["platform:admin"]})
        world.keys["root"] = made["api_key"]
        await world.must("PUT", "/config/schemas/risk", key="root", body=RISK)
        yield world


def told(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


def header(answer: Answer, name: bytes) -> str:
    return dict(answer.headers)[name].decode()


async def patch(world: World, target: str, body: Any, key: str = "root", **headers: str) -> Answer:
    return await world.ask("PATCH", target, key=key, body=body, headers=headers or ANY)


async def config(world: World, tenant: str, query: str = "") -> Any:
    return (await world.must("GET", f"/config/{tenant}{query}", key=tenant))["config"]


async def test_a_tenant_without_any_layer_is_told_what_its_plan_grants() -> None:
    async with furnished() as world:
        answer = await world.must("GET", "/config/acme", key="acme")
    assert answer == {
        "tenant_id": "acme",
        "subscription_tier": "pro",
        "config": {
            "rate_limits": {"api_calls_per_hour": 10_000},
            "features": {"basic_analytics": True, "advanced_ai": True, "custom_models": False},
            "resource_limits": {
                "websocket_connections": 50,
                "max_concurrent_requests": 100,
                "max_data_storage_mb": 1_000,
            },
        },
    }


async def test_layers_override_in_their_order_and_exact_combinations_last() -> None:
    async with furnished() as world:
        layers = (
            "global", "tier/pro", "tenant/acme", "service/a", "environment/prod", "tier/pro?service=a",
            "tier/pro?environment=prod", "tenant/acme?service=a", "tenant/acme?environment=prod",
            "service/a?environment=prod", "tier/pro?service=a&environment=prod",
            "tenant/acme?service=a&environment=prod",
        )  # fmt: skip
        for depth, layer in enumerate(layers, start=1):
            answer = await patch(world, f"/config/layers/{layer}", {"risk": {"depth": depth}})
            assert answer.status == 200
            assert (await config(world, "acme", "?service=a&environment=prod"))["risk"]["depth"] == depth
        assert (await config(world, "acme"))["risk"]["depth"] == 3
        assert (await config(world, "acme", "?service=other&environment=prod"))["risk"]["depth"] == 9
        assert (await config(world, "globex", "?service=a"))["risk"]["depth"] == 6
        assert (await config(world, "idle"))["risk"]["depth"] == 1


async def test_a_change_says_which_revision_it_is_for() -> None:
    async with furnished() as world:
        nothing = await world.ask("PUT", GLOBAL, key="root", body={})
        assert (nothing.status, told(nothing)["code"]) == (428, "precondition_required")
        first = await patch(world, GLOBAL, {"risk": {"mode": "a"}}, **{"if-match": told(nothing)["etag"]})
        assert (first.status, told(first)["revision"]) == (200, 1)
        second = await patch(world, GLOBAL, {"risk": {"mode": "b"}}, **{"if-match": header(first, b"etag")})
        late = await patch(world, GLOBAL, {"risk": {"mode": "c"}}, **{"if-match": header(first, b"etag")})
        assert late.status == 412
        assert told(late)["etag"] == header(second, b"etag")
        assert told(late)["changed_since"] == [{"path": "/risk/mode", "before": "a", "after": "b"}]
        forged = await patch(world, GLOBAL, {"risk": {"mode": "c"}}, **{"if-match": '"r2.00000000"'})
        assert forged.status == 412


async def test_what_changes_nothing_is_no_revision() -> None:
    async with furnished() as world:
        first = await patch(world, GLOBAL, {"risk": {"mode": "a"}})
        again = await patch(world, GLOBAL, {"risk": {"mode": "a"}})
        assert header(first, b"etag") == header(again, b"etag")
        assert len((await world.must("GET", GLOBAL + "/history", key="root"))["revisions"]) == 1


async def test_a_json_patch_is_told_by_its_media_type() -> None:
    async with furnished() as world:
        await patch(world, GLOBAL, {"risk": {"mode": "a", "depth": 1}})
        operations = [{"op": "test", "path": "/risk/mode", "value": "a"}, {"op": "remove", "path": "/risk/depth"}]
        media = "application/json-patch+json"
        wrong = await patch(world, GLOBAL, operations)
        assert told(wrong)["code"] == "invalid_patch"
        done = await world.ask("PATCH", GLOBAL, key="root", body=operations, headers=ANY, media=media)
        assert told(done)["document"] == {"risk": {"mode": "a"}}
        failed = await world.ask(
            "PATCH", GLOBAL, key="root", headers=ANY, media=media,
            body=[{"op": "test", "path": "/risk/mode", "value": "z"}],
        )  # fmt: skip
        assert told(failed)["code"] == "patch_test_failed"
        text = await world.ask("PATCH", GLOBAL, key="root", body={}, headers=ANY, media="application/vnd.x+json")
        assert text.status == 415


async def test_changes_of_many_layers_are_made_together_or_not_at_all() -> None:
    async with furnished() as world:
        good = {"layer": {"tenant": "acme"}, "if_match": "*", "merge_patch": {"risk": {"depth": 2}}}
        bad = {"layer": {"tenant": "globex"}, "if_match": '"r7.00000000"', "document": {}}
        refused = await world.ask("POST", "/config/changes", key="root", body={"changes": [good, bad]})
        assert refused.status == 412
        assert "risk" not in await config(world, "acme")
        other = {"layer": {"tier": "free"}, "if_match": "*", "document": {"risk": {"depth": 5}}}
        made = await world.must("POST", "/config/changes", key="root", body={"changes": [good, other], "reason": "r"})
        assert [layer["layer"] for layer in made["layers"]] == ["tenant/acme", "tier/free"]
        assert (await config(world, "acme"))["risk"] == {"depth": 2}
        assert (await config(world, "idle"))["risk"] == {"depth": 5}
        history = await world.must("GET", ACME + "/history", key="acme")
        trail = (await world.must("GET", "/tenants/acme/audit?limit=100", key="acme"))["entries"]
        assert history["revisions"][0]["change_set"]
        assert [entry["type"] for entry in trail][-1] == "TenantConfigurationChanged"
        twice = await world.ask("POST", "/config/changes", key="root", body={"changes": [good, good]})
        none = {"layer": {"tenant": "acme"}, "if_match": "*"}
        neither = await world.ask("POST", "/config/changes", key="root", body={"changes": [none]})
        assert told(twice)["code"] == told(neither)["code"] == "invalid_change_set"
        missing = {"layer": {"tenant": "nobody"}, "if_match": "*", "document": {}}
        assert (await world.ask("POST", "/config/changes", key="root", body={"changes": [missing]})).status == 404


async def test_a_later_change_of_a_set_stands_under_an_earlier_one() -> None:
    async with furnished() as world:
        lock = {"layer": {}, "if_match": "*", "document": {"risk": {"mode": "a"}, "$guards": {"lock": ["/risk/mode"]}}}
        under = {"layer": {"tenant": "acme"}, "if_match": "*", "document": {"risk": {"mode": "b"}}}
        refused = await world.ask("POST", "/config/changes", key="root", body={"changes": [lock, under]})
        assert told(refused)["code"] == "locked"
        assert (await world.must("GET", GLOBAL, key="root"))["revision"] == 0


async def test_going_back_is_a_new_revision_with_its_reason() -> None:
    async with furnished() as world:
        for mode in ("a", "b", "c"):
            await patch(world, GLOBAL, {"risk": {"mode": mode}})
        body = {"to_revision": 1, "reason": "b was wrong"}
        back = await world.ask("POST", GLOBAL + "/rollback", key="root", body=body, headers=ANY)
        shown = told(back)
        assert (shown["revision"], shown["restores"], shown["reason"]) == (4, 1, "b was wrong")
        assert shown["document"] == {"risk": {"mode": "a"}}
        gone = await world.ask("POST", GLOBAL + "/rollback", key="root", body={"to_revision": 99}, headers=ANY)
        assert (gone.status, told(gone)["code"]) == (404, "revision_not_found")
        diff = await world.must("GET", GLOBAL + "/diff?from=2&to=4", key="root")
        assert diff["changes"] == [{"path": "/risk/mode", "before": "b", "after": "a"}]
        page = await world.must("GET", GLOBAL + "/history?limit=3", key="root")
        rest = await world.must("GET", GLOBAL + f"/history?cursor={page['next_cursor']}", key="root")
        assert [each["revision"] for each in page["revisions"] + rest["revisions"]] == [4, 3, 2, 1]


async def test_explain_says_for_every_leaf_where_it_is_from_and_what_binds_it() -> None:
    async with furnished() as world:
        await patch(world, GLOBAL, {"risk": {"mode": "a"}, "$guards": {"ceiling": {"/risk/depth": 5}}})
        await patch(world, ACME, {"risk": {"depth": 3}}, key="acme")
        await patch(world, GLOBAL, {"$guards": {"ceiling": {"/risk/depth": 2}, "lock": ["/risk/mode"]}})
        values = (await world.must("GET", "/config/acme/explain", key="acme"))["values"]
        assert values["/risk/depth"] == {
            "value": 2, "layer": "tenant/acme", "revision": 1, "author": f"key:{world.key_ids['acme']}",
            "limited": "global",
        }  # fmt: skip
        assert values["/risk/mode"] == {
            "value": "a", "layer": "global", "revision": 2, "author": "platform", "locked": "global",
        }  # fmt: skip
        assert values["/features/advanced_ai"]["layer"] == "plan/pro"
        config_now = await config(world, "acme")
        assert config_now["risk"] == {"mode": "a", "depth": 2}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"rate_limits": {"api_calls_per_hour": 10_001}}, "out_of_bounds"),
        ({"features": {"custom_models": True}}, "out_of_bounds"),
        ({"risk": {"mode": "b"}}, "locked"),
        ({"risk": {"depth": 6}}, "out_of_bounds"),
        ({"risk": {"open": {"x": "text"}}}, "type_changed"),
        ({"risk": {"dept": 6}}, "unknown_key"),
        ({"risk": {"depth": "6"}}, "invalid_value"),
        ({"$guards": {"lock": "all"}}, "invalid_guard"),
        ({"$secret": 1}, "invalid_document"),
    ],
)
async def test_a_tenant_stays_within_what_is_above_it(body: Any, code: str) -> None:
    async with furnished() as world:
        above = {
            "risk": {"mode": "a", "open": {"x": 1}},
            "$guards": {"lock": ["/risk/mode"], "ceiling": {"/risk/depth": 5}},
        }
        assert (await patch(world, GLOBAL, above)).status == 200
        refused = await patch(world, ACME, body, key="acme")
        assert told(refused)["code"] == code
        assert (await patch(world, ACME, {"rate_limits": {"api_calls_per_hour": 9}}, key="acme")).status == 200


async def test_nothing_of_the_plan_is_taken_away() -> None:
    async with furnished() as world:
        for target in (GLOBAL, ACME):
            for document in ({"rate_limits": None}, {"rate_limits": {"api_calls_per_hour": None}}):
                refused = await world.ask("PUT", target, key="root", body=document, headers=ANY)
                assert told(refused)["code"] == "locked"


async def test_a_dry_run_says_whom_it_reaches_and_writes_nothing() -> None:
    async with furnished() as world:
        await world.register("orders", key="acme")
        await world.register("prices", key="root")
        await patch(world, ACME, {"risk": {"depth": 1}}, key="acme")
        answer = told(await patch(world, GLOBAL + "?dry_run=true", {"risk": {"depth": 7}}))
        assert answer["dry_run"] is True
        assert answer["revision"] == 0
        assert answer["blast_radius"] == {
            "tenants": 2, "services": 1, "instances": 1, "truncated": False,
            "changes": [{"path": "/risk/depth", "before": None, "after": 7, "tenants": 2}],
        }  # fmt: skip
        own = told(await patch(world, ACME + "?dry_run=true", {"risk": {"depth": 2}}, key="acme"))
        assert (own["blast_radius"]["tenants"], own["blast_radius"]["services"]) == (1, 1)
        assert "risk" not in await config(world, "idle")
        stale = await patch(world, GLOBAL + "?dry_run=true", {}, **{"if-match": '"r9.00000000"'})
        assert stale.status == 412


async def test_a_key_of_one_environment_reads_and_writes_that_one() -> None:
    async with furnished() as world:
        wanted = {"name": "s", "scopes": ["config:read", "config:write"], "environment": "staging"}
        world.keys["staging"] = (await world.must("POST", "/tenants/acme/keys", key="root", body=wanted))["api_key"]
        await patch(world, ACME + "?environment=staging", {"risk": {"mode": "s"}}, key="staging")
        await patch(world, ACME + "?environment=production", {"risk": {"mode": "p"}}, key="acme")
        mine = await world.must("GET", "/config/acme", key="staging")
        assert mine["config"]["risk"] == {"mode": "s"}
        for method, target, body in (
            ("GET", "/config/acme?environment=production", None),
            ("GET", "/config/acme/explain?environment=production", None),
            ("GET", ACME + "?environment=production", None),
            ("PATCH", ACME, {"risk": {"mode": "x"}}),
            ("PATCH", ACME + "?environment=production", {"risk": {"mode": "x"}}),
        ):
            refused = await world.ask(method, target, key="staging", body=body, headers=ANY)
            assert (refused.status, told(refused)["code"]) == (403, "environment_denied")


async def test_the_entity_tag_is_strong_and_spares_the_body() -> None:
    async with furnished() as world:
        first = await world.ask("GET", "/config/acme", key="acme")
        tag = header(first, b"etag")
        same = await world.ask("GET", "/config/acme", key="acme", headers={"if-none-match": tag})
        assert (same.status, same.body) == (304, b"")
        await patch(world, GLOBAL, {"risk": {"mode": "a"}})
        other = await world.ask("GET", "/config/acme", key="acme", headers={"if-none-match": tag})
        assert other.status == 200
        assert header(other, b"etag") != tag


async def test_a_section_is_described_used_and_taken_away() -> None:
    async with furnished() as world:
        await patch(world, ACME, {"risk": {"depth": 9}}, key="acme")
        narrow = {"type": "object", "properties": {"depth": {"type": "integer", "maximum": 5}}}
        refused = await world.ask("PUT", "/config/schemas/risk", key="root", body=narrow)
        assert (refused.status, told(refused)["layers"]) == (409, ["tenant/acme"])
        assert (await world.ask("DELETE", "/config/schemas/risk", key="root")).status == 409
        await patch(world, ACME, {"risk": None}, key="acme")
        await world.ask("PUT", ACME, key="acme", body={}, headers=ANY)
        assert (await world.ask("PUT", "/config/schemas/risk", key="root", body=narrow)).status == 200
        assert (await world.ask("DELETE", "/config/schemas/risk", key="root")).status == 204
        assert told(await patch(world, ACME, {"risk": {"depth": 1}}, key="acme"))["code"] == "unknown_key"
        built_in = await world.ask("PUT", "/config/schemas/features", key="root", body=narrow)
        assert told(built_in)["code"] == "built_in_section"


async def test_paths_that_name_no_layer() -> None:
    async with furnished() as world:
        for target, status, code in (
            ("/config/layers/planet/earth", 404, "no_such_path"),
            ("/config/layers/tier/platinum", 422, "unknown_tier"),
            ("/config/layers/service/A", 422, "invalid_name"),
            ("/config/layers/service/a?service=a", 400, "invalid_query"),
            ("/config/layers/global?service=a", 400, "invalid_query"),
            ("/config/layers/tenant/nobody", 200, None),
        ):
            answer = await world.ask("GET", target, key="root")
            if code is not None:
                assert (answer.status, told(answer)["code"]) == (status, code), target


async def test_a_repeated_command_is_answered_as_the_first() -> None:
    async with furnished() as world:
        headers = {"if-match": '"r0.44136fa3"', "idempotency-key": "k-1"}
        first = await world.ask("PATCH", GLOBAL, key="root", body={"risk": {"depth": 1}}, headers=headers)
        again = await world.ask("PATCH", GLOBAL, key="root", body={"risk": {"depth": 1}}, headers=headers)
        assert (first.status, first.body) == (200, again.body)
