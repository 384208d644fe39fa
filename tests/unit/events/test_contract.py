"""The catalogue and its contract: complete, well named, and what is sent is what they say."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from central_hub.app.telling import EVENT_TYPES, asyncapi_text
from central_hub.breakers.verdicts import FACTS as BREAKERS
from central_hub.configuration.model import FACTS as CONFIGURATION
from central_hub.events.contract import data_schema, example_of, schema_of
from central_hub.events.model import FACTS as EVENTS
from central_hub.flags.model import FACTS as FLAGS
from central_hub.health.model import FACTS as HEALTH
from central_hub.kernel.events import EventType, ReportedType
from central_hub.plans.model import FACTS as PLANS
from central_hub.quotas.model import FACTS as QUOTAS
from central_hub.registry.model import FACTS as REGISTRY
from central_hub.rollouts.model import FACTS as ROLLOUTS
from central_hub.secrets.model import FACTS as SECRETS
from central_hub.tenants.model import FACTS as TENANTS
from central_hub.webhooks.model import FACTS as WEBHOOKS
from tests.isolation.world import World, running

FIXED = {
    "ServiceRegistered", "ServiceUnregistered", "ServiceHealthChanged", "TenantCreated", "TenantConfigurationChanged",
    "TenantResourcesAllocated", "SystemHealthChanged", "ConfigurationReloaded", "ServiceDependencyResolved",
    "ServiceScaled", "CircuitBreakerTripped", "CrossServiceCallCompleted", "DownstreamServiceFailed",
}  # fmt: skip
"""Names that the first users wrote against."""

ROOMS = (
    TENANTS, EVENTS, PLANS, REGISTRY, HEALTH, QUOTAS, FLAGS, CONFIGURATION, ROLLOUTS, SECRETS, WEBHOOKS, BREAKERS,
)  # fmt: skip
UNTOLD = {
    # Credentials and who may speak for whom: for the audit trail alone.
    "KeyCreated", "KeyRotated", "KeyRevoked", "GatewayAdded", "GatewayRemoved", "LegacyPolicySet", "AccessDenied",
    "SecretPut", "SecretDeleted", "SecretRead", "EncryptionRotationBegun", "EncryptionRotationEnded",
    # What tenants say of their own types, and what is told in its own words.
    "EventTypeRegistered", "EventTypeRetired", "EventTypesPolicySet", "EventPublished", "EventsPurged",
    # Steps of the hub's own bookkeeping.
    "TenantBudgetReserved", "UsageRecorded", "TenantTrialExtended", "ConfigurationSchemaSet",
    "ConfigurationTemplateSet", "SegmentDefined", "SegmentRemoved", "WebhookCreated", "WebhookSecretRotated",
    "WebhookEnabled", "WebhookDeleted", "WebhookReplayAsked", "WebhookDeadLetterEnded", "BreakerProbesLeased",
    "BreakerProbesTried",
}  # fmt: skip
"""What is remembered and told to nobody: a new fact is told, or stands here."""

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


@pytest.mark.parametrize("kind", EVENT_TYPES.described(), ids=lambda kind: kind.name)
def test_a_type_is_well_named_and_its_data_is_described(kind: EventType | ReportedType) -> None:
    assert re.fullmatch(r"io\.centralhub\.[a-z]+\.[a-z-]+\.v[1-9]", kind.name)
    assert kind.summary.endswith(".")
    schema = data_schema(kind)
    assert (schema["type"], "$ref" in json.dumps(schema)) == ("object", False)


@pytest.mark.parametrize("kind", EVENT_TYPES.described(), ids=lambda kind: kind.name)
def test_a_type_s_example_is_of_its_schema_and_its_subject_of_its_order(kind: EventType | ReportedType) -> None:
    example = example_of(kind)
    jsonschema_rs.Draft202012Validator(schema_of(kind)).validate(example["data"])
    validator(document()["components"]["messages"][kind.title]["payload"]).validate(example)
    assert (example["type"], example["tenantid"]) == (kind.name, "acme")
    assert in_order(kind, example["subject"])


def in_order(kind: EventType | ReportedType, subject: str) -> bool:
    """Say whether a subject reads as its type says that it does."""
    forms = [re.sub(r"\\{[a-z_]+\\}", ".+", re.escape(form)) for form in kind.order.split(" or ")]
    return any(re.fullmatch(form, subject) for form in forms)


def test_every_fixed_name_is_told() -> None:
    assert {one.title for one in EVENT_TYPES.described()} >= FIXED


def test_every_fact_is_told_or_is_known_to_be_told_to_nobody() -> None:
    facts = {fact.__name__ for room in ROOMS for fact in room}
    assert facts - {one.title for one in EVENT_TYPES.types} == UNTOLD


def test_the_document_lists_every_type_and_refers_to_nothing_that_is_not_there() -> None:
    made = document()
    messages = made["components"]["messages"]
    assert set(messages) == {one.title for one in EVENT_TYPES.described()} | {"Published"}
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
    for kind in EVENT_TYPES.reported.values():
        report = {"specversion": "1.0", "source": "/services/orders", "type": kind.name, "data": kind.example}
        await world.must("POST", "/events", key="acme", body=report)
    grant = {"feature": "advanced_ai", "value": True}
    given = await world.must("POST", "/tenants/acme/grants", key="root", body=grant)
    await world.must("DELETE", f"/tenants/acme/grants/{given['id']}", key="root")
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
        kind = EVENT_TYPES.find(event["type"])
        assert kind is None or in_order(kind, event["subject"]), event
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
