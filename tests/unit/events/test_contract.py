"""The catalogue and its contract: complete, well named, and what is sent is what they say."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from central_hub.app.telling import EVENT_TYPES, asyncapi_text
from central_hub.events.contract import data_schema
from central_hub.kernel.events import EventType
from tests.isolation.world import World, running

FIXED = {
    "ServiceRegistered", "ServiceUnregistered", "ServiceHealthChanged", "TenantCreated", "TenantConfigurationChanged",
    "TenantResourcesAllocated", "SystemHealthChanged", "ConfigurationReloaded", "ServiceDependencyResolved",
}  # fmt: skip
"""Names that the first users wrote against."""

EVENT = {
    "specversion": "1.0",
    "type": "com.example.placed",
    "source": "/services/orders",
    "data": {"n": 1},
    "myext": "x",
}


def document() -> dict[str, Any]:
    return json.loads(asyncapi_text("1.0"))


def validator(payload: Any) -> jsonschema_rs.Draft202012Validator:
    """Return what holds a message against its payload's schema."""
    return jsonschema_rs.Draft202012Validator({**payload, "components": document()["components"]})


@pytest.mark.parametrize("kind", EVENT_TYPES.types, ids=lambda kind: kind.name)
def test_a_type_is_well_named_and_its_data_is_described(kind: EventType) -> None:
    assert re.fullmatch(r"io\.centralhub\.[a-z]+\.[a-z-]+\.v[1-9]", kind.name)
    assert kind.summary.endswith(".")
    schema = data_schema(kind)
    assert (schema["type"], "$ref" in json.dumps(schema)) == ("object", False)


def test_every_fixed_name_is_told() -> None:
    assert {one.title for one in EVENT_TYPES.types} >= FIXED


def test_the_document_lists_every_type_and_refers_to_nothing_that_is_not_there() -> None:
    made = document()
    messages = made["components"]["messages"]
    assert set(messages) == {one.title for one in EVENT_TYPES.types} | {"Published"}
    references = re.findall(r'"#/([^"]+)"', json.dumps(made))
    assert references
    for reference in references:
        found: Any = made
        for part in reference.split("/"):
            found = found[part]


async def busy(world: World) -> None:
    """Have as many types of events told as a world without its background work can."""
    await world.tenant("acme", "pro")
    await world.register("risk", key="acme", depends_on=["prices"], metadata={"a": {"b": 1}})
    await world.register("risk", key="acme", port=81)
    instance = {"name": "many", "host": "10.0.0.1", "port": 80, "instance_id": "i-1", "lease_ttl_s": 60}
    await world.must("POST", "/services/register/batch", key="acme", body={"instances": [instance]})
    await world.must("POST", "/services/risk/instances/i-1/drain", key="acme")
    await world.must("DELETE", "/services/risk/instances/i-1", key="acme")
    await world.must("PATCH", "/tenants/acme", key="root", body={"name": "Acme", "tier": "enterprise"})
    layer = {"features": {"advanced_ai": False}}
    for at, key in (("tenant/acme", "acme"), ("global", "root")):
        await world.must("PUT", f"/config/layers/{at}", key=key, body=layer, headers={"if-match": "*"})
    held = {"resource": "concurrent_requests", "amount": 900}
    lease = await world.must("POST", "/tenants/acme/allocations", key="acme", body=held)
    await world.must("DELETE", f"/tenants/acme/allocations/{lease['lease_id']}", key="acme")
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off", "overridable": True}
    await world.must("PUT", "/flags/search", key="root", body=flag)
    await world.must("PUT", "/tenants/acme/flags/search", key="acme", body={"variant": "on"})
    await world.must("DELETE", "/tenants/acme/flags/search", key="acme")
    await world.must("POST", "/flags/search/state", key="root", body={"state": "disabled"})
    await world.must("POST", "/events", key="acme", body=EVENT)
    await world.must("POST", "/tenants/acme/past-due", key="root")
    await world.must("POST", "/tenants/acme/suspend", key="root", body={"reason": "unpaid"})
    await world.must("POST", "/tenants/acme/resume", key="root")


async def test_what_is_told_is_what_the_contract_says() -> None:
    messages = {one["name"]: one for one in document()["components"]["messages"].values()}
    async with running() as world:
        await busy(world)
        told = (await world.must("GET", "/events?after=start&limit=1000", key="acme"))["events"]
        told += (await world.must("GET", "/platform/events?after=start&limit=1000", key="root"))["events"]
    seen = {one["type"] for one in told}
    assert len(seen) >= 18, sorted(seen)
    for event in told:
        message = messages.get(event["type"], messages["published"])
        validator(message["payload"]).validate(event)
        assert msgspec.json.encode(event)


async def test_a_contract_that_says_otherwise_is_noticed() -> None:
    payload = document()["components"]["messages"]["ServiceRegistered"]["payload"]
    async with running() as world:
        await busy(world)
        query = "/events?after=start&types=ServiceRegistered"
        (first, *_) = (await world.must("GET", query, key="acme"))["events"]
    holds = validator(payload)
    assert holds.is_valid(first)
    assert not holds.is_valid({**first, "data": {**first["data"], "port": "eighty"}})
    assert not holds.is_valid({**first, "type": "io.centralhub.service.unregistered.v1"})
