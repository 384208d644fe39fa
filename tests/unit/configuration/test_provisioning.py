"""A new tenant's configuration begins with its plan's template, in the step that makes the tenant, or not at all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.isolation.world import World, running

TEMPLATE: dict[str, Any] = {
    "parameters": {"tenant_id": {"type": "string"}, "ai": {"type": "boolean", "default": False}},
    "document": {"features": {"advanced_ai": "${ai}"}, "labels": {"owner": "${tenant_id}"}},
}
LABELS = {"type": "object", "properties": {"owner": {"type": "string"}}}


async def furnish(world: World, *, template: str = "start") -> None:
    """Let the plan `pro` begin tenants from a template."""
    await world.must("PUT", "/config/schemas/labels", key="root", body=LABELS)
    await world.must("PUT", "/config/templates/start", key="root", body=TEMPLATE)
    shown = await world.must("GET", "/plans", key="root")
    catalogue = shown["catalogue"]
    catalogue["plans"]["pro"]["template"] = template
    await world.must(
        "PUT", "/plans", key="root", body={"catalogue": catalogue}, headers={"if-match": f'"{shown["revision"]}"'}
    )


async def create(world: World, name: str = "acme", tier: str = "pro") -> int:
    return (await world.ask("POST", "/tenants", key="root", body={"id": name, "name": name, "tier": tier})).status


def records(world: World, domain: str = "acme") -> list[str]:
    log: Any = world.hub.core.stores.log  # Any: the memory log, which keeps its records in a list
    return [record.type for record in log.records if record.domain == domain]


async def test_a_tenant_begins_with_its_plans_template() -> None:
    async with running() as world:
        await furnish(world)
        assert await create(world) == 201
        assert records(world) == ["TenantCreated", "TenantConfigurationChanged"]
        shown = await world.must("GET", "/config/acme", key="root")
        assert shown["config"]["features"]["advanced_ai"] is False
        assert shown["config"]["labels"] == {"owner": "acme"}
        layer = await world.must("GET", "/config/layers/tenant/acme", key="root")
        assert (layer["revision"], layer["document"]["labels"]) == (1, {"owner": "acme"})


async def test_both_are_one_append() -> None:
    async with running() as world:
        await furnish(world)
        before = world.hub.core.sequencer.commits
        await create(world)
        assert world.hub.core.sequencer.commits == before + 1


async def test_the_same_again_changes_nothing() -> None:
    async with running() as world:
        await furnish(world)
        await create(world)
        assert await create(world) == 201
        assert len(records(world)) == 2


async def test_another_plan_begins_with_nothing() -> None:
    async with running() as world:
        await furnish(world)
        await create(world, tier="free")
        assert records(world) == ["TenantCreated"]


async def test_a_template_that_is_not_kept_makes_no_tenant() -> None:
    async with running() as world:
        await furnish(world, template="gone")
        answer = await world.ask("POST", "/tenants", key="root", body={"id": "acme", "name": "a", "tier": "pro"})
        assert (answer.status, msgspec.json.decode(answer.body)["code"]) == (409, "default_template_missing")
        assert records(world) == []
        assert (await world.ask("GET", "/tenants/acme", key="root")).status == 404


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"features": {"advanced_ai": "yes"}}, "invalid_value"),
        ({"nonsense": {"a": 1}}, "unknown_key"),
    ],
)
async def test_what_a_layer_is_refused_for_makes_no_tenant(document: dict[str, Any], code: str) -> None:
    async with running() as world:
        await furnish(world)
        body = {"parameters": {}, "document": document}
        await world.must("PUT", "/config/templates/start", key="root", body=body)
        answer = await world.ask("POST", "/tenants", key="root", body={"id": "acme", "name": "a", "tier": "pro"})
        assert (answer.status, msgspec.json.decode(answer.body)["code"]) == (422, code)
        assert records(world) == []


async def test_a_lock_from_above_holds_at_the_beginning_too() -> None:
    async with running() as world:
        await furnish(world)
        guarded = {"features": {"advanced_ai": True}, "$guards": {"lock": ["/features/advanced_ai"]}}
        await world.must("PUT", "/config/layers/global", key="root", body=guarded, headers={"if-match": "*"})
        answer = await world.ask("POST", "/tenants", key="root", body={"id": "acme", "name": "a", "tier": "pro"})
        assert msgspec.json.decode(answer.body)["code"] == "locked"
        assert records(world) == []


async def test_an_imported_tenant_begins_with_its_document() -> None:
    async with running() as world:
        await create(world, "plain", "pro")
        document = await world.must("GET", "/tenants/plain/export", key="root")
        await furnish(world)
        await world.must("POST", "/tenants/import", key="root", body={"document": document, "id": "copy"})
        assert "TenantConfigurationChanged" not in records(world, "copy")


async def test_what_changes_later_leaves_tenants_alone() -> None:
    async with running() as world:
        await furnish(world)
        await create(world)
        body = {"parameters": {}, "document": {"labels": {"owner": "someone"}}}
        await world.must("PUT", "/config/templates/start", key="root", body=body)
        shown = await world.must("GET", "/config/acme", key="root")
        assert shown["config"]["labels"] == {"owner": "acme"}
