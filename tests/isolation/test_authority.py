"""What every operation asks of its caller, written down once more: to weaken it takes a change in two places."""

from __future__ import annotations

import pytest

from central_hub.adapters.stores import in_memory
from central_hub.app import build, describe
from central_hub.edge.operations import Operation
from central_hub.kernel.errors import HubError
from central_hub.settings import Settings
from central_hub.tenants.model import GATEWAY_SCOPES, GRANTED_SCOPES, TENANT_SCOPES
from tests.isolation.test_matrix import REGISTRATION, ROWS
from tests.isolation.world import running

ASKED = {
    "abort_rollout": "config:admin platform",
    "abort_tenant_rollout": "config:write {tenant_id}",
    "activate_tenant": "tenants:admin platform {tenant_id}",
    "add_gateway": "gateways:admin platform",
    "allocate_resource": "quota:write {tenant_id}",
    "apply_config_template": "config:admin platform",
    "attach_addon": "tenants:admin platform {tenant_id}",
    "change_layers": "config:admin platform",
    "change_platform_subscription": "platform:admin platform",
    "change_subscription": "subscriptions:admin",
    "change_tenant": "tenants:admin platform {tenant_id}",
    "connect_platform_subscription": "platform:admin platform",
    "connect_subscription": "subscriptions:consume",
    "create_platform_key": "platform:admin platform",
    "create_platform_subscription": "platform:admin platform",
    "create_relay": "relays:admin platform",
    "create_subscription": "subscriptions:admin",
    "create_tenant": "tenants:admin platform",
    "create_tenant_key": "keys:admin {tenant_id}",
    "create_webhook": "webhooks:admin {tenant_id}",
    "decide_route": "registry:read",
    "declare_offerings": "registry:write",
    "define_flag": "flags:admin platform",
    "define_segment": "flags:admin platform",
    "delete_config_schema": "config:admin platform",
    "delete_config_template": "config:admin platform",
    "delete_platform_secret": "secret:admin platform",
    "delete_platform_subscription": "platform:admin platform",
    "delete_relay": "relays:admin platform",
    "delete_secret": "secret:write {tenant_id}",
    "delete_subscription": "subscriptions:admin",
    "delete_tenant": "tenants:admin platform {tenant_id}",
    "delete_webhook": "webhooks:admin {tenant_id}",
    "deregister_instance": "registry:write",
    "describe_event_type": "events:admin needs_tenant",
    "detach_addon": "tenants:admin platform {tenant_id}",
    "disable_webhook": "webhooks:admin {tenant_id}",
    "discard_letters": "subscriptions:admin",
    "discard_platform_letters": "platform:admin platform",
    "discover_service": "registry:read legacy",
    "discover_services": "registry:read legacy",
    "discover_services_by_body": "registry:read legacy",
    "drain_instance": "registry:write",
    "enable_webhook": "webhooks:admin {tenant_id}",
    "evaluate_flag": "flags:read needs_tenant",
    "evaluate_flags": "flags:read needs_tenant",
    "explain_config": "config:read {tenant_id}",
    "explain_decision": "audit:read",
    "explain_flag": "flags:read {tenant_id}",
    "explain_route": "registry:read",
    "export_tenant": "tenants:admin platform {tenant_id}",
    "export_usage": "tenants:admin platform",
    "flag_events": "anyone",
    "get_allocation": "quota:read {tenant_id}",
    "get_asyncapi": "anyone",
    "get_cluster": "platform:admin platform",
    "get_circuit": "breakers:read",
    "get_config": "config:read {tenant_id}",
    "get_entitlement": "config:read {tenant_id}",
    "get_event_policy": "events:read",
    "get_event_retention": "events:read",
    "get_event_schema": "events:read",
    "get_event_type": "events:read",
    "get_flag": "flags:admin platform",
    "get_global_layer": "config:admin platform",
    "get_hub_limits": "quota:read {tenant_id}",
    "get_instance": "registry:read",
    "get_layer": "config:admin platform",
    "get_legacy_policy": "gateways:admin platform",
    "get_offerings": "registry:read",
    "get_openapi": "anyone",
    "get_plans": "plans:admin platform",
    "get_platform_subscription": "platform:admin platform",
    "get_problem": "anyone",
    "get_relay": "relays:read platform",
    "get_rollout": "config:admin platform",
    "get_segment": "flags:admin platform",
    "get_service": "registry:read legacy",
    "get_subscription": "subscriptions:read",
    "get_tenant": "config:read {tenant_id}",
    "get_tenant_key": "keys:admin {tenant_id}",
    "get_tenant_layer": "config:read {tenant_id}",
    "get_tenant_rollout": "config:read {tenant_id}",
    "get_usage": "quota:read {tenant_id}",
    "get_webhook": "webhooks:read {tenant_id}",
    "global_layer_diff": "config:admin platform",
    "global_layer_history": "config:admin platform",
    "grant_entitlement": "tenants:admin platform {tenant_id}",
    "health": "anyone",
    "health_of_service": "health:read",
    "health_of_services": "health:read legacy",
    "health_of_system": "platform:admin platform",
    "health_of_tenant": "health:read",
    "heartbeat": "registry:write",
    "heartbeat_many": "registry:write",
    "import_tenant": "tenants:admin platform",
    "layer_diff": "config:admin platform",
    "layer_history": "config:admin platform",
    "lease_probes": "breakers:write",
    "lease_routes": "registry:read",
    "simulate_routes": "registry:read",
    "list_allocations": "quota:read {tenant_id}",
    "list_audit": "audit:read {tenant_id}",
    "list_circuits": "breakers:read",
    "list_config_schemas": "config:read",
    "list_config_templates": "config:admin platform",
    "list_dependencies": "registry:read",
    "list_entitlements": "config:read {tenant_id}",
    "list_event_type_versions": "events:read",
    "list_event_types": "events:read",
    "list_events": "events:read",
    "list_flag_overrides": "flags:read {tenant_id}",
    "list_flags": "flags:admin platform",
    "list_gateways": "gateways:admin platform",
    "list_layers": "config:read {tenant_id}",
    "list_letters": "subscriptions:read",
    "list_offerings": "registry:read",
    "list_platform_audit": "platform:admin platform",
    "list_platform_events": "platform:admin platform",
    "list_platform_keys": "platform:admin platform",
    "list_platform_letters": "platform:admin platform",
    "list_platform_secret_versions": "secret:admin platform",
    "list_platform_secrets": "secret:admin platform",
    "list_platform_subscriptions": "platform:admin platform",
    "list_problems": "anyone",
    "list_relay_parked": "relays:read platform",
    "list_relays": "relays:read platform",
    "list_rollouts": "config:admin platform",
    "list_running_config": "config:read {tenant_id}",
    "list_secret_versions": "secret:list {tenant_id}",
    "list_secrets": "secret:list {tenant_id}",
    "list_segments": "flags:admin platform",
    "list_services": "registry:read legacy",
    "list_subscriptions": "subscriptions:read",
    "list_tenant_keys": "keys:admin {tenant_id}",
    "list_tenant_rollouts": "config:read {tenant_id}",
    "list_tenants": "tenants:admin platform",
    "list_usage": "quota:read {tenant_id}",
    "list_webhook_deliveries": "webhooks:read {tenant_id}",
    "list_webhooks": "webhooks:read {tenant_id}",
    "livez": "anyone",
    "mark_tenant_past_due": "tenants:admin platform {tenant_id}",
    "metrics": "metrics:read platform",
    "move_platform_subscription": "platform:admin platform",
    "move_subscription": "subscriptions:admin",
    "patch_global_layer": "config:admin platform",
    "patch_layer": "config:admin platform",
    "patch_tenant_layer": "config:write {tenant_id}",
    "pause_platform_subscription": "platform:admin platform",
    "pause_relay": "relays:admin platform",
    "pause_rollout": "config:admin platform",
    "pause_subscription": "subscriptions:admin",
    "pause_tenant_rollout": "config:write {tenant_id}",
    "prometheus_targets": "registry:read",
    "promote_rollout": "config:admin platform",
    "promote_tenant_rollout": "config:write {tenant_id}",
    "publish_events": "events:write",
    "pull_platform_subscription": "platform:admin platform",
    "pull_subscription": "subscriptions:consume",
    "purge_events": "events:admin needs_tenant",
    "put_config_schema": "config:admin platform",
    "put_config_template": "config:admin platform",
    "put_global_layer": "config:admin platform",
    "put_layer": "config:admin platform",
    "put_plans": "plans:admin platform",
    "put_platform_secret": "secret:admin platform",
    "put_relay": "relays:admin platform",
    "put_secret": "secret:write {tenant_id}",
    "put_tenant_layer": "config:write {tenant_id}",
    "read_platform_secret": "secret:admin platform",
    "read_secret": "secret:read {tenant_id}",
    "readyz": "anyone",
    "record_usage": "quota:write {tenant_id}",
    "register_service": "registry:write",
    "register_services": "registry:write",
    "release_allocation": "quota:write {tenant_id}",
    "remove_flag_override": "flags:write {tenant_id}",
    "remove_gateway": "gateways:admin platform",
    "remove_override": "tenants:admin platform {tenant_id}",
    "remove_segment": "flags:admin platform",
    "renew_allocation": "quota:write {tenant_id}",
    "replay_letters": "subscriptions:admin",
    "replay_platform_letters": "platform:admin platform",
    "replay_webhook": "webhooks:admin {tenant_id}",
    "report_calls": "breakers:write",
    "report_config": "config:read needs_tenant",
    "report_outcomes": "routing:write",
    "reserve_route": "routing:write",
    "restore_tenant": "tenants:admin platform {tenant_id}",
    "resume_platform_subscription": "platform:admin platform",
    "resume_relay": "relays:admin platform",
    "resume_rollout": "config:admin platform",
    "resume_subscription": "subscriptions:admin",
    "resume_tenant": "tenants:admin platform {tenant_id}",
    "resume_tenant_rollout": "config:write {tenant_id}",
    "retire_event_type": "events:admin needs_tenant",
    "return_slice": "quota:write {tenant_id}",
    "revoke_grant": "tenants:admin platform {tenant_id}",
    "revoke_platform_key": "platform:admin platform",
    "revoke_tenant_key": "keys:admin {tenant_id}",
    "roll_back_global_layer": "config:admin platform",
    "roll_back_layer": "config:admin platform",
    "roll_back_tenant_layer": "config:write {tenant_id}",
    "rotate_keys": "platform:admin platform",
    "rotate_platform_key": "platform:admin platform",
    "rotate_tenant_key": "keys:admin {tenant_id}",
    "rotate_webhook": "webhooks:admin {tenant_id}",
    "set_event_policy": "events:admin needs_tenant",
    "set_flag_override": "flags:write {tenant_id}",
    "set_flag_state": "flags:admin platform",
    "set_legacy_policy": "gateways:admin platform",
    "set_override": "tenants:admin platform {tenant_id}",
    "settle_platform_subscription": "platform:admin platform",
    "settle_subscription": "subscriptions:consume",
    "show_encryption": "platform:admin platform",
    "shred_tenant": "tenants:admin platform {tenant_id}",
    "start_rollout": "config:admin platform",
    "start_tenant_rollout": "config:write {tenant_id}",
    "stream_events": "events:read",
    "stream_platform_events": "platform:admin platform",
    "stream_platform_subscription": "platform:admin platform",
    "stream_subscription": "subscriptions:consume",
    "suspend_tenant": "tenants:admin platform {tenant_id}",
    "take_slice": "quota:write {tenant_id}",
    "tenant_layer_diff": "config:read {tenant_id}",
    "tenant_layer_history": "config:read {tenant_id}",
    "test_webhook": "webhooks:admin {tenant_id}",
    "undrain_instance": "registry:write",
    "verify_audit": "audit:read {tenant_id}",
    "verify_platform_audit": "platform:admin platform",
    "watch_services": "registry:read",
    "who_am_i": "anyone",
    "withdraw_offerings": "registry:write",
}
HOUR_MS = 3_600_000


def asked_by(operation: Operation) -> str:
    """Say what an operation asks: a scope, and whether it is the platform's, a legacy caller's, about a tenant."""
    words = [operation.scope or "anyone"]
    words += [flag for flag in ("platform", "legacy", "needs_tenant") if getattr(operation, flag)]
    words += [f"{{{operation.tenant_param}}}"] if operation.tenant_param else []
    return " ".join(words)


def test_every_operation_asks_what_it_always_asked() -> None:
    assert {operation.id: asked_by(operation) for operation in describe()[0].operations} == ASKED


def test_what_is_the_platforms_asks_for_a_scope_that_no_tenant_and_no_gateway_can_hold() -> None:
    within_reach = TENANT_SCOPES | GRANTED_SCOPES | GATEWAY_SCOPES
    platforms = {operation.id: operation.scope for operation in describe()[0].operations if operation.platform}
    open_to_tenants = {name for name, scope in platforms.items() if scope in within_reach}
    assert open_to_tenants == {"metrics"}, "its handler asks where the key is at home; test_walls.py holds it to that"
    assert len(platforms) > 10


@pytest.mark.parametrize("name", sorted(ASKED))
async def test_callers_of_before_tenants_reach_what_is_marked_for_them_and_nothing_else(name: str) -> None:
    row = ROWS[name]
    async with running() as world:
        await world.register("risk", key="root")
        until_ms = world.clock.now_ms() + HOUR_MS
        policy = {"callers": [{"caller": "old", "networks": ["127.0.0.0/8"], "until_ms": until_ms}]}
        method = next(one.method for one in describe()[0].operations if one.id == name)
        await world.must("PUT", "/legacy", key="root", body=policy)
        answer = await world.ask(method, row.own, body=row.body)
        lines = dict(answer.headers)
        if "legacy" in ASKED[name]:
            assert answer.status in (200, 404)
            assert (b"sunset" in lines) == (answer.status == 200)
        elif ASKED[name] != "anyone":
            assert (answer.status, lines.get(b"sunset")) == (401, None)
        world.clock.advance(HOUR_MS)
        later = await world.ask(method, row.own, body=row.body)
        assert (later.status == 401) == (ASKED[name] != "anyone")


async def test_callers_of_before_tenants_see_shared_services_without_requirements_only() -> None:
    async with running() as world:
        for name, tier in (("acme", "pro"), ("globex", "enterprise")):
            await world.tenant(name, tier)
        await world.register("private", key="acme")
        await world.register("gold", key="root", subscription_requirements=["enterprise"])
        await world.register("free", key="root", subscription_requirements=["free"])
        await world.register("risk", key="root")
        until_ms = world.clock.now_ms() + HOUR_MS
        policy = {"callers": [{"caller": "old", "networks": ["127.0.0.1"], "until_ms": until_ms}]}
        await world.must("PUT", "/legacy", key="root", body=policy)
        assert set((await world.must("GET", "/services/"))["services"]) == {"risk"}
        assert set(await world.must("GET", "/health/services")) == {"risk"}
        for hidden in ("private", "gold", "free", "nowhere"):
            answer = await world.ask("GET", f"/services/discover/{hidden}")
            missing = await world.ask("GET", "/services/discover/nowhere")
            assert answer.status == 404
            assert answer.body.replace(hidden.encode(), b"nowhere") == missing.body
        sunset = dict((await world.ask("GET", "/services/")).headers)[b"sunset"]
        assert sunset.endswith(b"GMT")
        assert b"sunset" not in dict((await world.ask("GET", "/services/", key="acme")).headers)


async def test_a_claimed_tenant_makes_nobody_of_a_caller_of_before_tenants() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        until_ms = world.clock.now_ms() + HOUR_MS
        policy = {"callers": [{"caller": "old", "networks": ["127.0.0.1"], "until_ms": until_ms}]}
        await world.must("PUT", "/legacy", key="root", body=policy)
        for tenant in ("acme", "nobody"):
            assert (await world.ask("GET", "/services/", headers={"x-tenant-id": tenant})).status == 401
            assert (await world.ask("GET", f"/services/?tenant_id={tenant}")).status in (400, 403)
        assert (await world.ask("POST", "/services/register", body=REGISTRATION)).status == 401


def test_an_open_hub_on_other_addresses_than_loopback_is_not_built() -> None:
    with pytest.raises(HubError) as caught:
        build(Settings(open=True, host="0.0.0.0"), in_memory())
    assert "loopback" in caught.value.next_step
