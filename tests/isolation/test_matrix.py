"""Every operation against every kind of caller; a route without a row here fails.

The rows say what to send; who may is not written down but derived from what the operation
declares: anonymous 401, a key without the scope 403, a suspended tenant 403 unless it only reads, another tenant 404
exactly as for something that does not exist, a lower tier 403 for a shared service above it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from central_hub.app import describe
from central_hub.edge.operations import Operation
from central_hub.kernel.context import Act
from central_hub.plans.document import default_catalogue
from tests.isolation.rows import INSTANCE, NO_INSTANCE, OFFERING, ROUTING, Row
from tests.isolation.world import World, running

TABLE = describe()[0]
PEM = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----"""


CATALOGUE = msgspec.to_builtins(default_catalogue())
FLAG = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
DOCUMENT = {
    "format": "central-hub/tenant/1",
    "exported_at": "2026-01-01T00:00:00Z",
    "tenant": {"id": "imported", "name": "Imported", "tier": "pro", "status": "active"},
    "sections": {},
}
REGISTRATION = {"name": "fresh", "host": "10.0.0.9", "port": 81, "lease_ttl_s": 60}

REPORT = {"caller": "p-1", "reports": [{"service_name": "private", "calls": 1}]}
LAYER = {"features": {"advanced_ai": False}}
EVENT = {"specversion": "1.0", "type": "com.example.placed", "source": "/services/private", "id": "e-1", "data": {}}
ENDPOINT = {"url": "https://hooks.example/in"}
RELAY = {"kind": "nats", "servers": ["127.0.0.1:1"]}
ANY = {"if-match": "*"}

ROWS: dict[str, Row] = {
    **ROUTING,
    "get_asyncapi": Row("/asyncapi.json"),
    "publish_events": Row("/events", body=EVENT),
    "list_events": Row("/events?after=start"),
    "stream_events": Row("/events/stream?after=start"),
    "list_event_types": Row("/events/types"),
    "get_event_type": Row("/events/types/com.acme.private", "/events/types/com.acme.nowhere"),
    "get_event_schema": Row("/events/types/com.acme.private/schema", "/events/types/com.acme.nowhere/schema"),
    "list_event_type_versions": Row(
        "/events/types/com.acme.private/versions", "/events/types/com.acme.nowhere/versions"
    ),
    "describe_event_type": Row("/events/types/com.acme.fresh", body={"json_schema": {"type": "object"}}),
    "retire_event_type": Row("/events/types/com.acme.private"),
    "purge_events": Row("/events/purge", body={"before": "start"}),
    "get_event_retention": Row("/events/retention"),
    "get_event_policy": Row("/events/policy"),
    "set_event_policy": Row("/events/policy", body={"unknown_types": "refused"}),
    "list_platform_events": Row("/platform/events?after=start"),
    "stream_platform_events": Row("/platform/events/stream"),
    "list_platform_audit": Row("/audit"),
    "verify_platform_audit": Row("/audit/verify"),
    "get_config": Row("/config/acme", "/config/nobody"),
    "explain_config": Row("/config/acme/explain", "/config/nobody/explain"),
    "change_layers": Row("/config/changes", body={"changes": [{"layer": {}, "if_match": "*", "document": {}}]}),
    "get_global_layer": Row("/config/layers/global"),
    "put_global_layer": Row("/config/layers/global", body=LAYER, headers=ANY),
    "patch_global_layer": Row("/config/layers/global", body=LAYER, headers=ANY),
    "global_layer_history": Row("/config/layers/global/history"),
    "global_layer_diff": Row("/config/layers/global/diff?from=0"),
    "roll_back_global_layer": Row("/config/layers/global/rollback", body={"to_revision": 0}, headers=ANY),
    "get_layer": Row("/config/layers/tier/pro"),
    "put_layer": Row("/config/layers/tier/enterprise", body=LAYER, headers=ANY),
    "patch_layer": Row("/config/layers/service/risk", body=LAYER, headers=ANY),
    "layer_history": Row("/config/layers/environment/production/history"),
    "layer_diff": Row("/config/layers/tier/pro/diff?from=0"),
    "roll_back_layer": Row("/config/layers/tier/enterprise/rollback", body={"to_revision": 0}, headers=ANY),
    "get_tenant_layer": Row("/config/layers/tenant/acme", "/config/layers/tenant/nobody"),
    "put_tenant_layer": Row("/config/layers/tenant/acme", "/config/layers/tenant/nobody", body=LAYER, headers=ANY),
    "patch_tenant_layer": Row(
        "/config/layers/tenant/acme?service=risk", "/config/layers/tenant/nobody?service=risk", body=LAYER, headers=ANY
    ),
    "tenant_layer_history": Row("/config/layers/tenant/acme/history", "/config/layers/tenant/nobody/history"),
    "tenant_layer_diff": Row("/config/layers/tenant/acme/diff?from=0", "/config/layers/tenant/nobody/diff?from=0"),
    "roll_back_tenant_layer": Row(
        "/config/layers/tenant/acme/rollback",
        "/config/layers/tenant/nobody/rollback",
        body={"to_revision": 0},
        headers=ANY,
    ),
    "list_config_templates": Row("/config/templates"),
    "put_config_template": Row("/config/templates/start", body={"parameters": {}, "document": {}}),
    "delete_config_template": Row("/config/templates/start"),
    "apply_config_template": Row("/config/templates/none/apply", body={"layer": {}, "if_match": "*"}, status=404),
    "list_config_schemas": Row("/config/schemas"),
    "put_config_schema": Row("/config/schemas/risk", body={"type": "object", "properties": {}}),
    "delete_config_schema": Row("/config/schemas/risk"),
    "get_cluster": Row("/cluster"),
    "explain_decision": Row("/decisions/{decision}", "/decisions/abc"),
    "list_dependencies": Row("/dependencies"),
    "report_calls": Row("/circuits", body=REPORT),
    "list_circuits": Row("/circuits"),
    "get_circuit": Row("/circuits/private", "/circuits/nowhere", shared="/circuits/gold"),
    "lease_probes": Row(
        "/circuits/private/probes", "/circuits/nowhere/probes", body={}, shared="/circuits/gold/probes"
    ),
    "list_flags": Row("/flags"),
    "get_flag": Row("/flags/private"),
    "define_flag": Row("/flags/fresh", body=FLAG),
    "set_flag_state": Row("/flags/private/state", body={"state": "enabled"}),
    "list_segments": Row("/segments"),
    "get_segment": Row("/segments/beta"),
    "define_segment": Row("/segments/fresh", body={"keys": ["u"]}),
    "remove_segment": Row("/segments/beta"),
    "list_flag_overrides": Row("/tenants/acme/flags", "/tenants/nobody/flags"),
    "set_flag_override": Row("/tenants/acme/flags/private", "/tenants/nobody/flags/private", body={"variant": "on"}),
    "remove_flag_override": Row("/tenants/acme/flags/private", "/tenants/nobody/flags/private"),
    "explain_flag": Row("/tenants/acme/flags/private/explain", "/tenants/nobody/flags/private/explain", body={}),
    "evaluate_flag": Row("/ofrep/v1/evaluate/flags/private", "/ofrep/v1/evaluate/flags/nowhere", body={}),
    "evaluate_flags": Row("/ofrep/v1/evaluate/flags", body={}),
    "flag_events": Row("/ofrep/v1/events?token={stream}"),
    "list_secrets": Row("/tenants/acme/secrets", "/tenants/nobody/secrets"),
    "read_secret": Row("/tenants/acme/secrets/value?path=db/pw", "/tenants/nobody/secrets/value?path=db/pw"),
    "put_secret": Row(
        "/tenants/acme/secrets/value?path=fresh", "/tenants/nobody/secrets/value?path=fresh", body={"value": "x"}
    ),
    "delete_secret": Row("/tenants/acme/secrets/value?path=db/pw", "/tenants/nobody/secrets/value?path=db/pw"),
    "list_secret_versions": Row(
        "/tenants/acme/secrets/versions?path=db/pw", "/tenants/nobody/secrets/versions?path=db/pw"
    ),
    "list_platform_secrets": Row("/secrets"),
    "read_platform_secret": Row("/secrets/value?path=root/token"),
    "put_platform_secret": Row("/secrets/value?path=fresh", body={"value": "x", "shared": True}),
    "delete_platform_secret": Row("/secrets/value?path=root/token"),
    "list_platform_secret_versions": Row("/secrets/versions?path=root/token"),
    "show_encryption": Row("/encryption"),
    "rotate_keys": Row("/encryption/rotations", body={"what": "data_keys"}),
    "list_gateways": Row("/gateways"),
    "create_relay": Row("/relays", body=RELAY | {"name": "fresh"}),
    "list_relays": Row("/relays"),
    "get_relay": Row("/relays/out"),
    "put_relay": Row("/relays/out", body=RELAY),
    "pause_relay": Row("/relays/out/pause"),
    "resume_relay": Row("/relays/out/resume"),
    "delete_relay": Row("/relays/out"),
    "list_relay_parked": Row("/relays/out/parked"),
    "create_webhook": Row("/tenants/acme/webhooks", "/tenants/nobody/webhooks", body=ENDPOINT),
    "list_webhooks": Row("/tenants/acme/webhooks", "/tenants/nobody/webhooks"),
    "get_webhook": Row("/tenants/acme/webhooks/{webhook}", "/tenants/nobody/webhooks/{webhook}"),
    "rotate_webhook": Row("/tenants/acme/webhooks/{webhook}/rotate", "/tenants/nobody/webhooks/{webhook}/rotate"),
    "test_webhook": Row("/tenants/acme/webhooks/{webhook}/test", "/tenants/nobody/webhooks/{webhook}/test"),
    "enable_webhook": Row("/tenants/acme/webhooks/{webhook}/enable", "/tenants/nobody/webhooks/{webhook}/enable"),
    "disable_webhook": Row("/tenants/acme/webhooks/{webhook}/disable", "/tenants/nobody/webhooks/{webhook}/disable"),
    "delete_webhook": Row("/tenants/acme/webhooks/{webhook}", "/tenants/nobody/webhooks/{webhook}"),
    "list_webhook_deliveries": Row(
        "/tenants/acme/webhooks/{webhook}/deliveries", "/tenants/nobody/webhooks/{webhook}/deliveries"
    ),
    "replay_webhook": Row("/tenants/acme/webhooks/{webhook}/replay", "/tenants/nobody/webhooks/{webhook}/replay"),
    "add_gateway": Row(
        "/gateways",
        body={
            "id": "edge",
            "issuer": "edge",
            "audience": "hub",
            "algorithm": "EdDSA",
            "public_key": PEM,
            "tenants": None,
        },
    ),
    "remove_gateway": Row("/gateways/edge"),
    "health": Row("/health", status=503),
    "health_of_services": Row("/health/services"),
    "health_of_service": Row("/health/services/private", "/health/services/nowhere", shared="/health/services/gold"),
    "health_of_system": Row("/health/system"),
    "health_of_tenant": Row("/health/tenant"),
    "list_platform_keys": Row("/keys"),
    "create_platform_key": Row("/keys", body={"name": "k", "scopes": ["registry:read"]}),
    "revoke_platform_key": Row("/keys/AAAAAAAAAAAA"),
    "rotate_platform_key": Row("/keys/{platform_key}/rotate"),
    "get_legacy_policy": Row("/legacy"),
    "set_legacy_policy": Row("/legacy", body={"callers": []}),
    "livez": Row("/livez"),
    "get_plans": Row("/plans"),
    "put_plans": Row("/plans", body={"catalogue": CATALOGUE}),
    "metrics": Row("/metrics"),
    "get_openapi": Row("/openapi.json"),
    "list_problems": Row("/problems"),
    "get_problem": Row("/problems/scope_missing"),
    "prometheus_targets": Row("/prometheus/targets"),
    "readyz": Row("/readyz", status=503),
    "list_services": Row("/services/"),
    "discover_services": Row("/services/discover"),
    "discover_services_by_body": Row(
        "/services/discover", body={"service_name": "private"}, shared="/services/discover"
    ),
    "discover_service": Row(
        "/services/discover/private", "/services/discover/nowhere", shared="/services/discover/gold"
    ),
    "heartbeat_many": Row(
        "/services/heartbeats", body={"instances": [{"service_name": "private", "instance_id": "i-1"}]}
    ),
    "register_service": Row("/services/register", body=REGISTRATION),
    "register_services": Row("/services/register/batch", body={"instances": [REGISTRATION]}),
    "get_service": Row("/services/private", "/services/nowhere", shared="/services/gold"),
    "deregister_instance": Row(INSTANCE),
    "get_instance": Row(INSTANCE, NO_INSTANCE),
    "drain_instance": Row(INSTANCE + "/drain", NO_INSTANCE + "/drain"),
    "undrain_instance": Row(INSTANCE + "/undrain", NO_INSTANCE + "/undrain"),
    "heartbeat": Row(INSTANCE + "/heartbeat", NO_INSTANCE + "/heartbeat", body={"in_flight": 1}),
    "list_tenants": Row("/tenants"),
    "create_tenant": Row("/tenants", body={"id": "fresh", "name": "Fresh", "tier": "free"}),
    "get_tenant": Row("/tenants/acme", "/tenants/nobody"),
    "change_tenant": Row("/tenants/acme", "/tenants/nobody", body={"tier": "free"}),
    "allocate_resource": Row(
        "/tenants/acme/allocations",
        "/tenants/nobody/allocations",
        body={"resource": "concurrent_requests", "amount": 2, "ttl_s": 30},
    ),
    "list_allocations": Row("/tenants/acme/allocations", "/tenants/nobody/allocations"),
    "get_allocation": Row("/tenants/acme/allocations/{lease}", "/tenants/nobody/allocations/{lease}"),
    "renew_allocation": Row("/tenants/acme/allocations/{lease}/renew", "/tenants/nobody/allocations/{lease}/renew"),
    "release_allocation": Row("/tenants/acme/allocations/{lease}", "/tenants/nobody/allocations/{lease}"),
    "take_slice": Row(
        "/tenants/acme/slices", "/tenants/nobody/slices", body={"limit": "api_calls_per_hour", "amount": 50}
    ),
    "return_slice": Row(
        "/tenants/acme/slices/9-1/return",
        "/tenants/nobody/slices/9-1/return",
        body={"limit": "api_calls_per_hour", "unused": 5},
    ),
    "record_usage": Row(
        "/tenants/acme/usage/events",
        "/tenants/nobody/usage/events",
        body={"events": [{"id": "1", "meter": "tokens", "quantity": 5}]},
    ),
    "get_hub_limits": Row("/tenants/acme/hub-limits", "/tenants/nobody/hub-limits"),
    "list_usage": Row("/tenants/acme/usage/meters", "/tenants/nobody/usage/meters"),
    "export_usage": Row("/usage/export?month=2023-11"),
    "get_usage": Row("/tenants/acme/usage", "/tenants/nobody/usage"),
    "list_entitlements": Row("/tenants/acme/entitlements", "/tenants/nobody/entitlements"),
    "get_entitlement": Row("/tenants/acme/entitlements/advanced_ai", "/tenants/nobody/entitlements/advanced_ai"),
    "list_layers": Row("/tenants/acme/grants", "/tenants/nobody/grants"),
    "grant_entitlement": Row(
        "/tenants/acme/grants", "/tenants/nobody/grants", body={"feature": "custom_models", "value": True}
    ),
    "revoke_grant": Row("/tenants/acme/grants/g-1", "/tenants/nobody/grants/g-1"),
    "set_override": Row(
        "/tenants/acme/overrides/custom_models", "/tenants/nobody/overrides/custom_models", body={"value": True}
    ),
    "remove_override": Row("/tenants/acme/overrides/custom_models", "/tenants/nobody/overrides/custom_models"),
    "attach_addon": Row("/tenants/acme/addons/boost", "/tenants/nobody/addons/boost", status=422),
    "detach_addon": Row("/tenants/acme/addons/boost", "/tenants/nobody/addons/boost"),
    "list_audit": Row("/tenants/acme/audit", "/tenants/nobody/audit"),
    "verify_audit": Row("/tenants/acme/audit/verify", "/tenants/nobody/audit/verify"),
    "list_tenant_keys": Row("/tenants/acme/keys", "/tenants/nobody/keys"),
    "create_tenant_key": Row(
        "/tenants/acme/keys", "/tenants/nobody/keys", body={"name": "k", "scopes": ["registry:read"]}
    ),
    "revoke_tenant_key": Row("/tenants/acme/keys/AAAAAAAAAAAA", "/tenants/nobody/keys/AAAAAAAAAAAA"),
    "get_tenant_key": Row("/tenants/acme/keys/{acme_key}", "/tenants/nobody/keys/{acme_key}"),
    "start_rollout": Row(
        "/rollouts", body={"changes": [{"layer": {"tier": "free"}, "if_match": "*", "document": LAYER}]}
    ),
    "list_rollouts": Row("/rollouts"),
    "get_rollout": Row("/rollouts/{rollout}"),
    "pause_rollout": Row("/rollouts/{rollout}/pause", body={}),
    "resume_rollout": Row("/rollouts/{rollout}/resume", body={}),
    "promote_rollout": Row("/rollouts/{rollout}/promote", body={}),
    "abort_rollout": Row("/rollouts/{rollout}/abort", body={}),
    "start_tenant_rollout": Row(
        "/tenants/acme/rollouts",
        "/tenants/nobody/rollouts",
        body={"changes": [{"layer": {"tenant": "acme"}, "if_match": "*", "document": LAYER}]},
    ),
    "list_tenant_rollouts": Row("/tenants/acme/rollouts", "/tenants/nobody/rollouts"),
    "get_tenant_rollout": Row("/tenants/acme/rollouts/{own_rollout}", "/tenants/nobody/rollouts/{own_rollout}"),
    "pause_tenant_rollout": Row(
        "/tenants/acme/rollouts/{own_rollout}/pause", "/tenants/nobody/rollouts/{own_rollout}/pause", body={}
    ),
    "resume_tenant_rollout": Row(
        "/tenants/acme/rollouts/{own_rollout}/resume", "/tenants/nobody/rollouts/{own_rollout}/resume", body={}
    ),
    "promote_tenant_rollout": Row(
        "/tenants/acme/rollouts/{own_rollout}/promote", "/tenants/nobody/rollouts/{own_rollout}/promote", body={}
    ),
    "abort_tenant_rollout": Row(
        "/tenants/acme/rollouts/{own_rollout}/abort", "/tenants/nobody/rollouts/{own_rollout}/abort", body={}
    ),
    "list_running_config": Row("/config/acme/instances", "/config/nobody/instances"),
    "report_config": Row(INSTANCE + "/config", NO_INSTANCE + "/config", body={"etag": "e"}),
    "rotate_tenant_key": Row("/tenants/acme/keys/{acme_key}/rotate", "/tenants/nobody/keys/{acme_key}/rotate"),
    "resume_tenant": Row("/tenants/acme/resume", "/tenants/nobody/resume"),
    "suspend_tenant": Row("/tenants/acme/suspend", "/tenants/nobody/suspend"),
    "export_tenant": Row("/tenants/acme/export", "/tenants/nobody/export"),
    "import_tenant": Row("/tenants/import", body={"document": DOCUMENT}),
    "activate_tenant": Row("/tenants/acme/activate", "/tenants/nobody/activate"),
    "mark_tenant_past_due": Row("/tenants/acme/past-due", "/tenants/nobody/past-due"),
    "delete_tenant": Row("/tenants/acme", "/tenants/nobody"),
    "restore_tenant": Row("/tenants/acme/restore", "/tenants/nobody/restore", status=409),
    "shred_tenant": Row("/tenants/acme/shred", "/tenants/nobody/shred", body={"confirm": "acme"}, status=409),
    "create_subscription": Row("/subscriptions", body={"name": "fresh"}),
    "list_subscriptions": Row("/subscriptions"),
    "get_subscription": Row("/subscriptions/private", "/subscriptions/nowhere"),
    "change_subscription": Row("/subscriptions/private", "/subscriptions/nowhere", body={"description": "d"}),
    "delete_subscription": Row("/subscriptions/private"),
    "move_subscription": Row("/subscriptions/private/move", "/subscriptions/nowhere/move", body={"policy": "all"}),
    "pause_subscription": Row("/subscriptions/private/pause", "/subscriptions/nowhere/pause"),
    "resume_subscription": Row("/subscriptions/private/resume", "/subscriptions/nowhere/resume"),
    "pull_subscription": Row("/subscriptions/private/pull", "/subscriptions/nowhere/pull"),
    "stream_subscription": Row("/subscriptions/private/stream", "/subscriptions/nowhere/stream"),
    "connect_subscription": Row("/subscriptions/private/socket", "/subscriptions/nowhere/socket", status=400),
    "connect_platform_subscription": Row("/platform/subscriptions/private/socket", status=400),
    "settle_subscription": Row(
        "/subscriptions/private/settle", "/subscriptions/nowhere/settle", body={"ack": ["a.1.1"]}
    ),
    "list_letters": Row("/subscriptions/private/letters", "/subscriptions/nowhere/letters"),
    "replay_letters": Row("/subscriptions/private/letters/replay", "/subscriptions/nowhere/letters/replay", body={}),
    "discard_letters": Row("/subscriptions/private/letters/discard", "/subscriptions/nowhere/letters/discard", body={}),
    "create_platform_subscription": Row("/platform/subscriptions", body={"name": "fresh"}),
    "list_platform_subscriptions": Row("/platform/subscriptions"),
    "get_platform_subscription": Row("/platform/subscriptions/private"),
    "change_platform_subscription": Row("/platform/subscriptions/private", body={"description": "d"}),
    "delete_platform_subscription": Row("/platform/subscriptions/private"),
    "move_platform_subscription": Row("/platform/subscriptions/private/move", body={"policy": "all"}),
    "pause_platform_subscription": Row("/platform/subscriptions/private/pause"),
    "resume_platform_subscription": Row("/platform/subscriptions/private/resume"),
    "pull_platform_subscription": Row("/platform/subscriptions/private/pull"),
    "stream_platform_subscription": Row("/platform/subscriptions/private/stream"),
    "settle_platform_subscription": Row("/platform/subscriptions/private/settle", body={"ack": ["a.1.1"]}),
    "list_platform_letters": Row("/platform/subscriptions/private/letters"),
    "replay_platform_letters": Row("/platform/subscriptions/private/letters/replay", body={}),
    "discard_platform_letters": Row("/platform/subscriptions/private/letters/discard", body={}),
    "watch_services": Row("/watch?services=private"),
    "who_am_i": Row("/whoami"),
}

OPERATIONS = {operation.id: operation for operation in TABLE.operations}


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert set(ROWS) == set(OPERATIONS)


async def _furnished(world: World) -> dict[str, str]:
    for name, tier in (("acme", "pro"), ("globex", "enterprise"), ("idle", "free"), ("frozen", "pro")):
        await world.tenant(name, tier)
    made = await world.must("POST", "/keys", key="root", body={"name": "root", "scopes": ["platform:admin"]})
    world.keys["root"] = made["api_key"]
    await world.register("private", key="acme")
    await world.register("gold", key="root", host="10.9.9.9", subscription_requirements=["enterprise"])
    await world.must("PUT", "/flags/private", key="root", body=FLAG | {"only_tenants": ["acme"], "overridable": True})
    for at, caller in (("/tenants/acme/secrets/value?path=db/pw", "acme"), ("/secrets/value?path=root/token", "root")):
        await world.must("PUT", at, key=caller, body={"value": "a secret of 10.0.0.1"})
    await world.must("PUT", "/segments/beta", key="root", body={"keys": ["u"]})
    flags = await world.must("POST", "/ofrep/v1/evaluate/flags", key="acme", body={})
    refused = await world.ask("GET", "/tenants", key="acme")
    await world.must("POST", "/tenants/frozen/suspend", key="root")
    held = await world.must(
        "POST", "/tenants/acme/allocations", key="acme", body={"resource": "concurrent_requests", "amount": 3}
    )
    hook = await world.must("POST", "/tenants/acme/webhooks", key="acme", body=ENDPOINT)
    await world.must("POST", "/relays", key="root", body=RELAY | {"name": "out"})
    for at, caller in (("/subscriptions", "acme"), ("/platform/subscriptions", "root")):
        await world.must("POST", at, key=caller, body={"name": "private", "description": "10.0.0.1"})
    schema = {"json_schema": {"type": "object"}, "description": "10.0.0.1"}
    await world.must("PUT", "/events/types/com.acme.private", key="acme", body=schema)
    rollouts = [
        await world.must(
            "POST", path, key=key, body={"changes": [{"layer": layer, "if_match": "*", "document": LAYER}]}
        )
        for path, key, layer in (
            ("/rollouts", "root", {"tier": "pro"}),
            ("/tenants/acme/rollouts", "acme", {"tenant": "acme", "service": "private"}),
        )
    ]
    await world.must("PUT", INSTANCE + "/offerings", key="acme", body={"offerings": [OFFERING]})
    routed = await world.must("POST", "/routing/decide", key="acme", body={})
    decision = refused.body.split(b'"decision_id":"')[1].split(b'"')[0].decode()
    return {
        "{lease}": held["lease_id"],
        "{rollout}": rollouts[0]["rollout_id"],
        "{own_rollout}": rollouts[1]["rollout_id"],
        "{webhook}": hook["webhook"]["webhook_id"],
        "{stream}": flags["eventStreams"][0]["endpoint"]["requestUri"].partition("token=")[2],
        "{decision}": decision,
        "{routed}": routed["decision_id"],
        "{acme_key}": world.key_ids["acme:reader"],
        "{platform_key}": made["key_id"],
    }


def _filled(target: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        target = target.replace(word, value)
    return target


@pytest.mark.parametrize("name", sorted(ROWS))
async def test_the_matrix_holds(name: str) -> None:
    operation, row = OPERATIONS[name], ROWS[name]
    async with running() as world:
        words = await _furnished(world)
        own = _filled(row.own, words)
        await _strangers(world, operation, own, row)
        await _other_tenant(world, operation, own, _filled(row.missing, words), row)
        await _lower_tier(world, operation, row)
        caller = "root" if operation.platform else "acme"
        answer = await world.ask(operation.method, own, key=caller, body=row.body, headers=row.headers)
        expected = {row.status} if row.status else {operation.status, *operation.statuses}
        assert answer.status in expected, answer.body


async def _strangers(world: World, operation: Operation, own: str, row: Row) -> None:
    anonymous = await world.ask(operation.method, own, body=row.body, headers=row.headers)
    suspended = await world.ask(
        operation.method, own.replace("acme", "frozen"), key="frozen", body=row.body, headers=row.headers
    )
    blind = await world.ask(operation.method, own, key="acme:blind", body=row.body, headers=row.headers)
    if operation.public:
        assert anonymous.status not in (401, 403)
        assert suspended.status in (403, 404, anonymous.status)
        return
    assert anonymous.status == 401
    if operation.platform:
        assert b'"scope_missing"' in suspended.body
    else:
        assert (b'"tenant_suspended"' in suspended.body) == (operation.act is not Act.READ), suspended.body
    assert blind.status == 403
    assert b'"scope_missing"' in blind.body


async def _other_tenant(world: World, operation: Operation, own: str, missing: str, row: Row) -> None:
    """Another tenant's object and one that is not there answer the same, byte for byte but for the name."""
    if operation.platform:
        refused = await world.ask(operation.method, own, key="globex", body=row.body, headers=row.headers)
        assert refused.status in (403, 404)
        return
    if not missing:
        answer = await world.ask(operation.method, own, key="globex", body=row.body, headers=row.headers)
        assert b"10.0.0.1" not in answer.body
        return
    foreign = await world.ask(operation.method, own, key="globex", body=row.body, headers=row.headers)
    nothing = await world.ask(operation.method, missing, key="globex", body=row.body, headers=row.headers)
    assert foreign.status == nothing.status == 404
    renamed = foreign.body.replace(b"'private'", b"'nowhere'").replace(b'"private"', b'"nowhere"')
    assert renamed == nothing.body
    assert _without_length(foreign) == _without_length(nothing)


def _without_length(answer: Any) -> list[tuple[bytes, bytes]]:
    return [line for line in answer.headers if line[0] != b"content-length"]


async def _lower_tier(world: World, operation: Operation, row: Row) -> None:
    if not row.shared:
        return
    body = {"service_name": "gold"} if row.body else None
    low = await world.ask(operation.method, row.shared, key="acme", body=body)
    assert low.status == 403
    assert b'"tier_too_low"' in low.body
    assert b'"upgrade_to":"enterprise"' in low.body
    high = await world.ask(operation.method, row.shared, key="globex", body=body)
    assert high.status == 200


async def test_what_is_not_theirs_is_absent_from_every_list() -> None:
    async with running() as world:
        await _furnished(world)
        for target in ("/services/", "/services/discover", "/health/services", "/prometheus/targets", "/dependencies"):
            low = await world.ask("GET", target, key="idle")
            assert b"private" not in low.body
            assert b"gold" not in low.body
            assert b"acme" not in low.body


async def test_a_key_cannot_grant_what_it_does_not_hold() -> None:
    async with running() as world:
        await _furnished(world)
        for scope, code in (
            ("registry:shared", b"scope_not_grantable"),
            ("platform:admin", b"unknown_scope"),
            ("tenant:assert", b"unknown_scope"),
        ):
            refused = await world.ask(
                "POST", "/tenants/acme/keys", key="acme", body={"name": "more", "scopes": [scope]}
            )
            assert code in refused.body
