"""References to secrets through the pipeline: refused, explained, compared, exported, imported; never a value."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.isolation.world import World, running

VALUE = "correct-horse-battery-staple"
REFERENCE = {"$secret": "db/password"}
SCHEMA = {
    "type": "object",
    "properties": {"password": {"type": "string", "x-hub-secret": True}, "host": {"type": "string"}},
}
ANY = {"if-match": "*"}
OF_ACME = "/config/layers/tenant/acme"


async def furnished(world: World) -> None:
    for tenant in ("acme", "globex"):
        await world.tenant(tenant, "pro")
    await world.must("PUT", "/config/schemas/database", key="root", body=SCHEMA)
    await world.must("PUT", "/tenants/acme/secrets/value?path=db/password", key="acme", body={"value": VALUE})


def saying(password: Any, **more: Any) -> dict[str, Any]:
    return {"database": {"password": password, **more}}


async def test_a_reference_is_explained_and_unresolved_once_its_secret_is_gone() -> None:
    async with running() as world:
        await furnished(world)
        await world.must("PATCH", OF_ACME, key="acme", body=saying(REFERENCE), headers=ANY)
        seen = b""
        for target in ("/config/acme", "/config/acme/explain", OF_ACME, OF_ACME + "/history", OF_ACME + "/diff?from=0"):
            seen += (await world.ask("GET", target, key="acme")).body
        assert b'{"$secret":"db/password"}' in seen
        assert VALUE.encode() not in seen
        explained = (await world.must("GET", "/config/acme/explain", key="acme"))["values"]["/database/password"]
        assert (explained["value"], explained["layer"]) == (REFERENCE, "tenant/acme")
        assert "unresolved" not in explained
        await world.must("DELETE", "/tenants/acme/secrets/value?path=db/password", key="acme")
        explained = (await world.must("GET", "/config/acme/explain", key="acme"))["values"]["/database/password"]
        assert (explained["value"], explained["unresolved"]) == (REFERENCE, True)
        await world.must("PATCH", OF_ACME, key="acme", body={"database": {"host": "db"}}, headers=ANY)


async def test_a_reference_to_anothers_secret_is_one_to_nothing() -> None:
    async with running() as world:
        await furnished(world)
        layer = "/config/layers/tenant/globex"
        theirs = await world.ask("PATCH", layer, key="globex", body=saying(REFERENCE), headers=ANY)
        nothing = await world.ask("PATCH", layer, key="globex", body=saying({"$secret": "db/passwore"}), headers=ANY)
        assert theirs.status == nothing.status == 422
        assert theirs.body.replace(b"db/password", b"db/passwore") == nothing.body
        of_all = await world.ask("PATCH", "/config/layers/global", key="root", body=saying(REFERENCE), headers=ANY)
        assert msgspec.json.decode(of_all.body)["code"] == "unknown_secret"
        dry = await world.ask("PATCH", layer + "?dry_run=true", key="globex", body=saying(REFERENCE), headers=ANY)
        assert msgspec.json.decode(dry.body)["code"] == "unknown_secret"


async def test_what_the_platform_shares_may_be_referred_to_by_all() -> None:
    async with running() as world:
        await furnished(world)
        shared = {"value": VALUE, "shared": True}
        await world.must("PUT", "/secrets/value?path=mail/key", key="root", body=shared)
        await world.must("PUT", "/secrets/value?path=root/key", key="root", body={"value": VALUE})
        refer = saying({"$secret": "mail/key"})
        await world.must("PATCH", "/config/layers/global", key="root", body=refer, headers=ANY)
        explained = (await world.must("GET", "/config/globex/explain", key="globex"))["values"]["/database/password"]
        assert "unresolved" not in explained
        private = saying({"$secret": "root/key"})
        for layer, caller in (("/config/layers/global", "root"), (OF_ACME, "acme")):
            refused = await world.ask("PATCH", layer, key=caller, body=private, headers=ANY)
            assert msgspec.json.decode(refused.body)["code"] == "unknown_secret"
            assert b"root/key'?" not in refused.body, "what is not shared is not suggested either"


async def test_a_literal_where_a_secret_belongs_is_refused_in_every_way_of_writing() -> None:
    async with running() as world:
        await furnished(world)
        patch = [{"op": "add", "path": "/database", "value": {"password": VALUE}}]
        change = {"layer": {"tenant": "acme"}, "if_match": "*", "document": saying(VALUE)}
        for method, target, body, media in (
            ("PUT", OF_ACME, saying(VALUE), "application/json"),
            ("PATCH", OF_ACME, saying(VALUE), "application/merge-patch+json"),
            ("PATCH", OF_ACME, patch, "application/json-patch+json"),
            ("PATCH", OF_ACME + "?dry_run=true", saying(VALUE), "application/json"),
            ("POST", "/config/changes", {"changes": [change]}, "application/json"),
        ):
            refused = await world.ask(method, target, key="root", body=body, headers=ANY, media=media)
            assert msgspec.json.decode(refused.body)["code"] == "secret_literal", refused.body
            assert VALUE.encode() not in refused.body


async def test_an_exported_tenant_brings_its_references_and_the_names_of_its_secrets() -> None:
    async with running() as world:
        await furnished(world)
        await world.must("PATCH", OF_ACME, key="acme", body=saying(REFERENCE), headers=ANY)
        exported = await world.ask("GET", "/tenants/acme/export", key="root")
        assert VALUE.encode() not in exported.body
        document = msgspec.json.decode(exported.body)
        assert [one["path"] for one in document["sections"]["secrets"]] == ["db/password"]
        await world.must("POST", "/tenants/import", key="root", body={"document": document, "id": "copy"})
        explained = (await world.must("GET", "/config/copy/explain", key="root"))["values"]["/database/password"]
        assert (explained["value"], explained["unresolved"]) == (REFERENCE, True)
        await world.must("PUT", "/tenants/copy/secrets/value?path=db/password", key="root", body={"value": VALUE})
        explained = (await world.must("GET", "/config/copy/explain", key="root"))["values"]["/database/password"]
        assert "unresolved" not in explained
        document["sections"]["secrets"] = [{"path": "a"}]
        refused = await world.ask("POST", "/tenants/import", key="root", body={"document": document, "id": "x"})
        assert msgspec.json.decode(refused.body)["code"] == "invalid_export"
