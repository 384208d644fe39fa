"""Templates over HTTP: kept, listed, made into layers, taken away."""

from __future__ import annotations

from tests.routes.configuration.test_layers import config, furnished, told

START = {
    "parameters": {"depth": {"type": "integer", "default": 3}},
    "document": {"risk": {"depth": "${depth}"}, "features": {"advanced_ai": False}},
}


async def test_a_layer_is_made_of_a_template() -> None:
    async with furnished() as world:
        kept = await world.must("PUT", "/config/templates/start", key="root", body=START)
        assert kept["parameters"] == START["parameters"]
        assert (await world.must("GET", "/config/templates", key="root"))["templates"] == [kept]
        at = "/config/templates/start/apply"
        body = {"layer": {"tenant": "acme"}, "if_match": "*", "parameters": {"depth": 7}, "reason": "a new customer"}
        dry = await world.must("POST", at, key="root", body={**body, "dry_run": True})
        assert dry["blast_radius"]["tenants"] == 1
        made = await world.must("POST", at, key="root", body=body)
        assert (made["layer"], made["revision"], made["reason"]) == ("tenant/acme", 1, "a new customer")
        assert (await config(world, "acme"))["risk"] == {"depth": 7}
        stale = await world.ask("POST", at, key="root", body={**body, "if_match": '"r0.44136fa3"'})
        assert stale.status == 412
        other = await world.ask("POST", at, key="root", body={**body, "layer": {"tenant": "nobody"}})
        assert other.status == 404
        assert (await world.ask("DELETE", "/config/templates/start", key="root")).status == 204
        gone = await world.ask("POST", at, key="root", body=body)
        assert (gone.status, told(gone)["code"]) == (404, "template_not_found")
        assert (await config(world, "acme"))["risk"] == {"depth": 7}


async def test_what_a_template_makes_is_checked_as_any_other_document() -> None:
    async with furnished() as world:
        wrong = {"parameters": {"depth": {"type": "string"}}, "document": {"risk": {"depth": "${depth}"}}}
        await world.must("PUT", "/config/templates/wrong", key="root", body=wrong)
        body = {"layer": {}, "if_match": "*", "parameters": {"depth": "deep"}}
        refused = await world.ask("POST", "/config/templates/wrong/apply", key="root", body=body)
        assert told(refused)["code"] == "invalid_value"
