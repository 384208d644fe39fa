"""Decisions about keys, gateways and the legacy policy: each refusal at its border."""

from __future__ import annotations

from typing import Any

import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM
from central_hub.tenants import model, rules
from central_hub.tenants.model import LegacyCaller
from tests.unit.tenants.support import ACME, principal

PEM = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n"
KNOWN = rules.grantable(ACME)


def refusal(call: Any, *given: Any, **more: Any) -> str:
    with pytest.raises(HubError) as caught:
        call(*given, **more)
    return caught.value.code


def test_the_platform_grants_what_no_tenant_can() -> None:
    assert rules.grantable(ACME) == model.TENANT_SCOPES | model.GRANTED_SCOPES
    assert rules.grantable(PLATFORM) == model.PLATFORM_SCOPES


def test_nobody_grants_what_it_does_not_hold() -> None:
    reader = principal(scopes=frozenset({"registry:read", "keys:admin"}))
    assert rules.check_scopes(["registry:read"], known=KNOWN, granter=reader) == ("registry:read",)
    assert refusal(rules.check_scopes, ["registry:write"], known=KNOWN, granter=reader) == "scope_not_grantable"
    assert (
        refusal(rules.check_scopes, ["registry:read", "health:read"], known=KNOWN, granter=reader)
        == "scope_not_grantable"
    )


def test_platform_admin_implies_every_scope_but_only_at_home() -> None:
    everything = frozenset({"platform:admin"})
    at_home, abroad = principal(home=PLATFORM, scopes=everything), principal(scopes=everything)
    assert rules.check_scopes(["registry:shared"], known=KNOWN, granter=at_home) == ("registry:shared",)
    assert refusal(rules.check_scopes, ["registry:shared"], known=KNOWN, granter=abroad) == "scope_not_grantable"


def test_a_credential_of_one_environment_makes_keys_of_that_environment_only() -> None:
    bound, free = principal(environment="staging"), principal()
    assert rules.check_environment("production", free) == "production"
    assert rules.check_environment("", free) == ""
    assert rules.check_environment("", bound) == "staging"
    assert rules.check_environment("staging", bound) == "staging"
    assert refusal(rules.check_environment, "production", bound) == "environment_not_grantable"


def test_scopes_are_known_counted_sorted_and_named_once() -> None:
    granter = principal()
    asked = ["registry:write", "registry:read", "registry:write"]
    assert rules.check_scopes(asked, known=KNOWN, granter=granter) == ("registry:read", "registry:write")
    assert refusal(rules.check_scopes, [], known=KNOWN, granter=granter) == "unknown_scope"
    assert refusal(rules.check_scopes, ["platform:admin"], known=KNOWN, granter=granter) == "unknown_scope"
    at_most = ["registry:read"] * model.SCOPES_PER_KEY_MAX
    assert rules.check_scopes(at_most, known=KNOWN, granter=granter) == ("registry:read",)
    assert refusal(rules.check_scopes, [*at_most, "registry:read"], known=KNOWN, granter=granter) == "unknown_scope"


@pytest.mark.parametrize(
    ("tenants", "scopes", "domain", "expected"),
    [
        (None, ("tenant:assert",), PLATFORM, None),
        (None, ("platform:admin",), PLATFORM, None),
        (None, ("registry:read",), PLATFORM, ()),
        (["b", "a", "b"], ("tenant:assert",), PLATFORM, ("a", "b")),
        ([], ("tenant:assert",), PLATFORM, ()),
        ([], ("registry:read",), ACME, ()),
    ],
)
def test_who_may_assert_whom(tenants: Any, scopes: Any, domain: Any, expected: Any) -> None:
    assert rules.check_assertable(tenants, scopes, domain) == expected


@pytest.mark.parametrize(
    ("tenants", "scopes", "domain"),
    [
        (["a"], ("tenant:assert",), ACME),
        (["a"], ("registry:read",), PLATFORM),
        (["A b"], ("tenant:assert",), PLATFORM),
        (["a", "*"], ("tenant:assert",), PLATFORM),
        ([f"t{one}" for one in range(model.ASSERTABLE_MAX + 1)], ("tenant:assert",), PLATFORM),
    ],
)
def test_assertable_tenants_are_refused_where_they_mean_nothing(tenants: Any, scopes: Any, domain: Any) -> None:
    assert refusal(rules.check_assertable, tenants, scopes, domain) == "invalid_assertable_tenants"


def test_as_many_assertable_tenants_as_the_limit_says() -> None:
    tenants = [f"t{one}" for one in range(model.ASSERTABLE_MAX)]
    assert len(rules.check_assertable(tenants, ("tenant:assert",), PLATFORM) or ()) == model.ASSERTABLE_MAX


def test_a_key_ends_later_than_now_or_never() -> None:
    assert rules.check_expiry(None, 1_000) == 0
    assert rules.check_expiry(1_001, 1_000) == 1_001
    assert refusal(rules.check_expiry, 1_000, 1_000) == "invalid_expiry"
    assert refusal(rules.check_expiry, 0, 1_000) == "invalid_expiry"


def test_a_gateway_has_a_public_key_and_an_algorithm_for_it() -> None:
    rules.check_gateway("EdDSA", PEM)
    for algorithm, key in (
        ("HS256", PEM),
        ("none", PEM),
        ("", PEM),
        ("EdDSA", "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----"),
        ("EdDSA", "secret"),
        ("EdDSA", "-----BEGIN PUBLIC KEY-----" + "A" * model.PUBLIC_KEY_BYTES_MAX),
    ):
        assert refusal(rules.check_gateway, algorithm, key) == "invalid_gateway"


def _caller(**fields: Any) -> LegacyCaller:
    given: dict[str, Any] = {"caller": "old", "networks": ("10.0.0.0/8",), "until_ms": 2_000}
    return LegacyCaller(**{**given, **fields})


def test_a_legacy_policy_names_callers_networks_and_an_end() -> None:
    callers = [_caller(), _caller(caller="older", networks=("::1/128", "192.168.0.1"))]
    assert rules.check_legacy(callers, 1_999) == tuple(callers)
    assert rules.check_legacy([], 0) == ()
    many = [_caller(caller=f"c{one}") for one in range(model.LEGACY_CALLERS_MAX)]
    assert len(rules.check_legacy(many, 0)) == model.LEGACY_CALLERS_MAX
    wide = _caller(networks=("10.0.0.0/8",) * model.NETWORKS_PER_CALLER_MAX)
    assert rules.check_legacy([wide], 0) == (wide,)


@pytest.mark.parametrize(
    "callers",
    [
        [_caller(caller="Old One")],
        [_caller(), _caller()],
        [_caller(networks=())],
        [_caller(networks=("10.0.0.0/8",) * (model.NETWORKS_PER_CALLER_MAX + 1))],
        [_caller(networks=("10.0.0.0/8", "everywhere"))],
        [_caller(networks=("10.0.0.1/8",))],
        [_caller(until_ms=1_000)],
        [_caller(), _caller(caller="b", until_ms=1)],
        [_caller(caller=f"c{one}") for one in range(model.LEGACY_CALLERS_MAX + 1)],
    ],
)
def test_a_legacy_policy_without_one_of_them_is_refused(callers: list[LegacyCaller]) -> None:
    assert refusal(rules.check_legacy, callers, 1_000) == "invalid_legacy_policy"
