"""Secrets and encryption through the pipeline: statuses, headers, pages, the trail, and what a tenant is shown."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from central_hub.edge.pipeline import Answer
from tests.isolation.world import World, running

VALUE = "correct-horse-battery-staple"
OF_ACME = "/tenants/acme/secrets"


def told(answer: Answer) -> tuple[int, Any]:
    return answer.status, msgspec.json.decode(answer.body) if answer.body else None


def header(answer: Answer, name: bytes) -> str:
    return dict(answer.headers).get(name, b"").decode()


async def put(
    world: World, path: str, value: str, *, key: str = "acme", at: str = OF_ACME, if_match: str = "", **more: Any
) -> Answer:
    headers = {"if-match": if_match} if if_match else {}
    return await world.ask("PUT", f"{at}/value?path={path}", key=key, body={"value": value, **more}, headers=headers)


async def test_a_secret_is_made_replaced_read_and_deleted() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        made = await put(world, "db/password", VALUE, note="of the database")
        status, shown = told(made)
        assert (status, header(made, b"etag")) == (201, '"v1"')
        assert (shown["path"], shown["version"], shown["versions"], shown["note"]) == (
            "db/password", 1, 1, "of the database",
        )  # fmt: skip
        assert "value" not in shown
        again = told(await put(world, "db/password", "other"))
        assert (again[0], again[1]["code"], again[1]["etag"]) == (428, "precondition_required", '"v1"')
        assert told(await put(world, "db/password", "other", if_match='"v9"'))[1]["code"] == "revision_moved"
        changed = await put(world, "db/password", "other", if_match='"v1"')
        assert (changed.status, header(changed, b"etag")) == (200, '"v2"')

        read = await world.ask("GET", f"{OF_ACME}/value?path=db/password", key="acme")
        assert told(read)[1] == {"path": "db/password", "version": 2, "value": "other", "source": "tenant"}
        assert (header(read, b"cache-control"), header(read, b"etag")) == ("no-store", '"v2"')
        first = await world.must("GET", f"{OF_ACME}/value?path=db/password&version=1", key="acme")
        assert first["value"] == VALUE
        assert (await world.ask("DELETE", f"{OF_ACME}/value?path=db/password", key="acme")).status == 204
        gone = told(await world.ask("GET", f"{OF_ACME}/value?path=db/password", key="acme"))
        assert (gone[0], gone[1]["code"]) == (404, "secret_not_found")


async def test_secrets_and_versions_are_listed_without_values() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        for path in ("db/password", "db/user", "stripe/key"):
            await put(world, path, VALUE)
        await put(world, "db/password", VALUE + "2", if_match="*")
        page = await world.ask("GET", f"{OF_ACME}?limit=2", key="acme")
        assert [each["path"] for each in told(page)[1]["secrets"]] == ["db/password", "db/user"]
        rest = await world.must("GET", f"{OF_ACME}?limit=2&cursor={told(page)[1]['next_cursor']}", key="acme")
        assert ([each["path"] for each in rest["secrets"]], rest["next_cursor"]) == (["stripe/key"], None)
        below = await world.must("GET", f"{OF_ACME}?prefix=db/", key="acme")
        assert len(below["secrets"]) == 2
        versions = await world.ask("GET", f"{OF_ACME}/versions?path=db/password", key="acme")
        assert [each["version"] for each in told(versions)[1]["versions"]] == [2, 1]
        assert VALUE.encode() not in page.body + versions.body
        near = told(await world.ask("GET", f"{OF_ACME}/versions?path=db/pasword", key="acme"))
        assert (near[0], "Did you mean 'db/password'?" in near[1]["detail"]) == (404, True)


async def test_each_scope_opens_what_it_says() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await put(world, "a", VALUE)
        for scope in ("secret:list", "secret:read", "secret:write"):
            body = {"name": scope, "scopes": [scope]}
            world.keys[scope] = (await world.must("POST", "/tenants/acme/keys", key="root", body=body))["api_key"]
        asked = {
            "secret:list": [("GET", OF_ACME, None), ("GET", f"{OF_ACME}/versions?path=a", None)],
            "secret:read": [("GET", f"{OF_ACME}/value?path=a", None)],
            "secret:write": [
                ("PUT", f"{OF_ACME}/value?path=b", {"value": "x"}),
                ("DELETE", f"{OF_ACME}/value?path=b", None),
            ],
        }
        for scope, requests in asked.items():
            for method, target, body in requests:
                for holder in asked:
                    answer = await world.ask(method, target, key=holder, body=body)
                    assert (answer.status < 300) == (holder == scope), (method, target, holder, answer.body)


async def test_who_read_what_is_in_the_trail_and_no_value_is() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await put(world, "a", VALUE)
        await world.must("GET", f"{OF_ACME}/value?path=a", key="acme", headers={"x-correlation-id": "deploy-7"})
        trail = await world.ask("GET", "/tenants/acme/audit?latest=true&limit=5", key="acme")
        read = [entry for entry in told(trail)[1]["entries"] if entry["type"] == "SecretRead"]
        assert [(entry["data"], entry["category"], entry["correlation_id"]) for entry in read] == [
            ({"path": "a", "version": 1, "source": "tenant"}, "audit", "deploy-7")
        ]
        written = [entry for entry in told(trail)[1]["entries"] if entry["type"] == "SecretPut"]
        assert written[0]["data"]["sealed"] == "redacted"
        assert VALUE.encode() not in trail.body


async def test_what_the_platform_shares_every_tenant_reads_and_nothing_else_of_it() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        assert (await put(world, "stripe", "of all", key="root", at="/secrets", shared=True)).status == 201
        assert (await put(world, "root", VALUE, key="root", at="/secrets")).status == 201
        shared = await world.must("GET", f"{OF_ACME}/value?path=stripe", key="acme")
        assert (shared["value"], shared["source"]) == ("of all", "platform")
        assert (await world.ask("GET", f"{OF_ACME}/value?path=root", key="acme")).status == 404
        assert (await world.ask("GET", "/secrets/value?path=stripe", key="acme")).status == 403
        own = await world.must("GET", "/secrets/value?path=root", key="root")
        assert (own["value"], own["source"]) == (VALUE, "platform")
        listed = await world.must("GET", "/secrets", key="root")
        assert [(each["path"], each.get("shared", False)) for each in listed["secrets"]] == [
            ("root", False), ("stripe", True),
        ]  # fmt: skip


async def test_what_is_no_secret_is_refused_and_not_repeated() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        for target, body, status in (
            ("path=../etc", {"value": VALUE}, 400),
            ("", {"value": VALUE}, 400),
            ("path=a&value=" + VALUE, {"value": VALUE}, 400),
            ("path=a", {"value": ""}, 422),
            ("path=a", {"valu": VALUE}, 422),
            ("path=a", {"value": [VALUE]}, 422),
            ("path=a", {"value": "x", "shared": True}, 422),
            ("path=a", {"value": "x" * 40_000}, 422),
            ("path=a", {"value": "ä" * 20_000}, 413),
        ):
            answer = await world.ask("PUT", f"{OF_ACME}/value?{target}", key="acme", body=body)
            assert answer.status == status, (target, answer.body)
            assert VALUE.encode() not in answer.body
        assert (await world.must("GET", OF_ACME, key="acme"))["secrets"] == []


async def test_a_tenant_that_is_shredded_takes_its_secrets_along() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await put(world, "a", VALUE)
        exported = await world.ask("GET", "/tenants/acme/export", key="root")
        assert told(exported)[1]["sections"]["secrets"] == [{"path": "a", "version": 1, "note": ""}]
        assert VALUE.encode() not in exported.body
        await world.must("DELETE", "/tenants/acme", key="root")
        await world.must("POST", "/tenants/acme/shred", key="root", body={"confirm": "acme"})
        assert world.hub.core.secrets.count("platform") == 0  # pyright: ignore[reportArgumentType]  # the platform's id
        assert (await world.ask("GET", f"{OF_ACME}/value?path=a", key="root")).status == 404


async def test_keys_are_rotated_and_how_far_it_is_is_shown() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        lesser = {"name": "s", "scopes": ["secret:admin", "tenants:admin"]}
        world.keys["lesser"] = (await world.must("POST", "/keys", key="root", body=lesser))["api_key"]
        for caller in ("acme", "lesser"):
            for method, target in (("GET", "/encryption"), ("POST", "/encryption/rotations")):
                assert told(await world.ask(method, target, key=caller))[1]["code"] == "scope_missing"
        await put(world, "a", VALUE)
        before = await world.must("GET", "/encryption", key="root")
        assert (before["provider"], before["behind"], before["rotation"]) == ("file", 0, {})
        assert before["domains"] == before["data_keys"] >= 2
        task = asyncio.create_task(world.hub.features.safekeeping.rotation.run())
        try:
            body = {"what": "data_keys", "tenants": ["acme"]}
            begun = await world.ask("POST", "/encryption/rotations", key="root", body=body)
            assert (begun.status, told(begun)[1]["rotation"]["phase"]) == (202, "running")
            async with asyncio.timeout(5):
                while (await world.must("GET", "/encryption", key="root"))["rotation"]["phase"] != "done":
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
        after = await world.must("GET", "/encryption", key="root")
        assert after["data_keys"] == before["data_keys"] + 1
        assert (await world.must("GET", f"{OF_ACME}/value?path=a", key="acme"))["value"] == VALUE
        for body, status, code in (
            ({"what": "data_keys", "tenants": ["nobody"]}, 404, "tenant_not_found"),
            ({"tenants": ["acme"]}, 422, "invalid_rotation"),
            ({"what": "everything"}, 422, "invalid_body"),
        ):
            refused = told(await world.ask("POST", "/encryption/rotations", key="root", body=body))
            assert (refused[0], refused[1]["code"]) == (status, code)


async def test_a_key_of_one_environment_has_the_secrets_below_its_name_only() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        for path in ("staging/db", "production/db", "stagings", "db"):
            await put(world, path, VALUE)
        await world.must("PUT", "/secrets/value?path=mail", key="root", body={"value": VALUE, "shared": True})
        body = {"name": "s", "scopes": ["secret:list", "secret:read", "secret:write"], "environment": "staging"}
        world.keys["staging"] = (await world.must("POST", "/tenants/acme/keys", key="root", body=body))["api_key"]
        listed = await world.must("GET", OF_ACME, key="staging")
        assert [each["path"] for each in listed["secrets"]] == ["staging/db"]
        assert (await world.must("GET", f"{OF_ACME}/value?path=staging/db", key="staging"))["value"] == VALUE
        assert (await put(world, "staging/new", VALUE, key="staging")).status == 201
        for path in ("production/db", "stagings", "db", "mail", "nothing"):
            for method, target, sent in (
                ("GET", f"{OF_ACME}/value?path={path}", None),
                ("GET", f"{OF_ACME}/versions?path={path}", None),
                ("PUT", f"{OF_ACME}/value?path={path}", {"value": "x"}),
                ("DELETE", f"{OF_ACME}/value?path={path}", None),
            ):
                refused = await world.ask(method, target, key="staging", body=sent, headers={"if-match": "*"})
                assert (refused.status, told(refused)[1]["code"]) == (403, "environment_denied"), target
