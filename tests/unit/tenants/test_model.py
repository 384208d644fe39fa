"""What credentials can hold at all, pinned: to widen one of these sets is to open a wall."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import FactTypes, encode_fact
from central_hub.kernel.ids import PLATFORM, SHARED
from central_hub.tenants import model
from tests.unit.tenants.support import ACME, ctx_of, gateway, key_and_text, principal


def test_a_tenants_key_can_hold_these_scopes_and_no_others() -> None:
    assert set(model.TENANT_SCOPES) == {
        "registry:read", "registry:write", "registry:admin", "health:read", "config:read", "config:write",
        "breakers:read", "breakers:write",
        "keys:admin", "audit:read",
        "flags:read", "flags:write", "quota:read", "quota:write", "quota:admin", "webhooks:read", "webhooks:admin",
        "secret:list", "secret:read", "secret:write", "events:read", "events:write", "events:admin",
        "subscriptions:read", "subscriptions:admin", "subscriptions:consume", "routing:write",
    }  # fmt: skip
    assert set(model.GRANTED_SCOPES) == {"registry:shared", "metrics:read"}


def test_what_is_the_platforms_is_in_no_tenants_or_gateways_reach() -> None:
    only = {
        "platform:admin",
        "tenants:admin",
        "plans:admin",
        "gateways:admin",
        "tenant:assert",
        "flags:admin",
        "config:admin",
        "secret:admin",
        "relays:read",
        "relays:admin",
    }
    assert only == model.PLATFORM_SCOPES - model.TENANT_SCOPES - model.GRANTED_SCOPES
    assert not only & (model.GATEWAY_SCOPES | model.TENANT_SCOPES | model.GRANTED_SCOPES | set(model.DEFAULT_SCOPES))


def test_gateways_sign_with_asymmetric_algorithms_only() -> None:
    assert set(model.ALGORITHMS) == {"EdDSA", "ES256", "RS256", "PS256"}


def test_every_fact_survives_the_log() -> None:
    key, _ = key_and_text()
    facts = [
        model.TenantCreated(tenant_id="acme", name="Acme", tier="pro"),
        model.TenantChanged(name="Acme", tier="free", previous_tier="pro"),
        model.TenantSuspended(reason="unpaid"),
        model.TenantResumed(),
        model.TenantStateChanged(state=model.State.DELETED, previous_state=model.State.ACTIVE, reason="left"),
        model.TenantTrialExtended(trial_until_ms=7),
        model.TenantShredded(tenant_id="acme"),
        model.KeyCreated(key=key),
        model.KeyRotated(key_id=key.id, digest=b"d", previous_until_ms=1),
        model.KeyRevoked(key_id=key.id),
        model.GatewayAdded(gateway=gateway(tenants=None)),
        model.GatewayRemoved(gateway_id="edge"),
        model.LegacyPolicySet(callers=(model.LegacyCaller(caller="old", networks=("10.0.0.0/8",), until_ms=9),)),
        model.AccessDenied(code="c", operation="o", caller="k", network="n", minute_ms=0, count=2),
    ]
    types = FactTypes(model.FACTS)
    assert {type(fact) for fact in facts} == set(model.FACTS)
    assert [types.decode(type(fact).__name__, encode_fact(fact)) for fact in facts] == facts


def test_a_stored_key_holds_no_secret() -> None:
    key, text = key_and_text(domain=ACME)
    secret = text[17:60]
    assert secret.encode() not in msgspec.msgpack.encode(key)


def test_a_platform_key_holds_what_it_was_given_unless_it_administers() -> None:
    meter = principal(home=PLATFORM, scopes=frozenset({"metrics:read"}))
    assert meter.holds("metrics:read")
    assert not meter.holds("registry:read")
    assert principal(home=PLATFORM, scopes=frozenset({"platform:admin"})).holds("registry:read")
    assert not principal(home=ACME, scopes=frozenset({"platform:admin"})).holds("registry:read")
    with pytest.raises(HubError) as caught:
        ctx_of(None, home=PLATFORM, scopes=frozenset({"metrics:read"})).require("registry:read")
    assert (caught.value.code, caught.value.fields) == ("scope_missing", {"required_scope": "registry:read"})


def test_a_caller_without_a_tenant_stands_in_the_shared_domain() -> None:
    assert (ctx_of(None).domain, ctx_of("acme").domain) == (SHARED, ACME)
