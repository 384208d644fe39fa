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
    "add_gateway": "gateways:admin platform",
    "change_tenant": "tenants:admin platform {tenant_id}",
    "create_platform_key": "platform:admin platform",
    "create_tenant": "tenants:admin platform",
    "create_tenant_key": "keys:admin {tenant_id}",
    "deregister_instance": "registry:write",
    "discover_service": "registry:read legacy",
    "discover_services": "registry:read legacy",
    "discover_services_by_body": "registry:read legacy",
    "drain_instance": "registry:write",
    "explain_decision": "audit:read",
    "get_config": "config:read {tenant_id}",
    "get_instance": "registry:read",
    "get_legacy_policy": "gateways:admin platform",
    "get_openapi": "anyone",
    "get_problem": "anyone",
    "get_service": "registry:read legacy",
    "get_tenant": "config:read {tenant_id}",
    "get_tenant_key": "keys:admin {tenant_id}",
    "health": "anyone",
    "health_of_service": "health:read",
    "health_of_services": "health:read legacy",
    "health_of_system": "platform:admin platform",
    "health_of_tenant": "health:read",
    "heartbeat": "registry:write",
    "heartbeat_many": "registry:write",
    "list_audit": "audit:read {tenant_id}",
    "list_dependencies": "registry:read",
    "list_gateways": "gateways:admin platform",
    "list_platform_audit": "platform:admin platform",
    "list_platform_keys": "platform:admin platform",
    "list_problems": "anyone",
    "list_services": "registry:read legacy",
    "list_tenant_keys": "keys:admin {tenant_id}",
    "list_tenants": "tenants:admin platform",
    "livez": "anyone",
    "metrics": "metrics:read platform",
    "prometheus_targets": "registry:read",
    "readyz": "anyone",
    "register_service": "registry:write",
    "register_services": "registry:write",
    "remove_gateway": "gateways:admin platform",
    "resume_tenant": "tenants:admin platform {tenant_id}",
    "revoke_platform_key": "platform:admin platform",
    "revoke_tenant_key": "keys:admin {tenant_id}",
    "rotate_platform_key": "platform:admin platform",
    "rotate_tenant_key": "keys:admin {tenant_id}",
    "set_legacy_policy": "gateways:admin platform",
    "suspend_tenant": "tenants:admin platform {tenant_id}",
    "undrain_instance": "registry:write",
    "verify_audit": "audit:read {tenant_id}",
    "verify_platform_audit": "platform:admin platform",
    "watch_services": "registry:read",
    "who_am_i": "anyone",
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
