"""What may be registered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED
from central_hub.registry.model import (
    DEPENDS_ON_MAX,
    HEALTH_ENDPOINT_LENGTH_MAX,
    INSTANCES_PER_SERVICE_MAX,
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    METADATA_KEYS_MAX,
    REQUIREMENTS_MAX,
    TAGS_MAX,
    Status,
)
from central_hub.registry.rules import (
    Registration,
    check_host,
    check_registration,
    check_resource_limits,
    check_service_size,
    instance_of,
    may_change,
    succeed,
)
from tests.unit.registry.support import ACME, RANKS, SCOPES, ctx_of, instance

RESERVED = frozenset({"register", "discover", "shared"})


def wanted(**fields: Any) -> Registration:
    return Registration(**{"name": "risk", "host": "10.0.0.1", "port": 8080, **fields})


def refusal(**fields: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        check_registration(wanted(**fields), rank_of=RANKS.get, reserved=RESERVED)
    return caught.value


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "255.255.255.255", "::1", "2001:db8::8", "localhost", "risk-1.internal", "my_host", "a.b."]
)
def test_hosts_that_are_names_or_literals(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "a b", "-a", "a-", "a..b", "http://a", "a:80", "[::1]", "fe80::1%eth0", "x" * 64, "a/b", "1.2.3.4\n",
        "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "1.2.3.256", "a.b.1", "ä.de", "x." * 127 + "xyz",
    ],
)  # fmt: skip
def test_hosts_that_are_neither_or_read_as_another_address(host: str) -> None:
    with pytest.raises(HubError, match="invalid_field"):
        check_host(host)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"port": 0}, "port"),
        ({"port": 65_536}, "port"),
        ({"protocol": "gopher"}, "protocol"),
        ({"health_endpoint": "http://elsewhere/health"}, "health_endpoint"),
        ({"health_endpoint": "//elsewhere/health"}, "health_endpoint"),
        ({"health_endpoint": "/a b"}, "health_endpoint"),
        ({"health_endpoint": "/" + "a" * HEALTH_ENDPOINT_LENGTH_MAX}, "health_endpoint"),
        ({"tenant_namespace": "-"}, "tenant_namespace"),
        ({"resource_tier": "gold"}, "resource_tier"),
        ({"version": "1 2"}, "version"),
        ({"zone": "\u00e9"}, "zone"),
        ({"weight": 0}, "weight"),
        ({"weight": 1_001}, "weight"),
        ({"lease_ttl_s": 0.9}, "lease_ttl_s"),
        ({"lease_ttl_s": 3_601.0}, "lease_ttl_s"),
        ({"lease_ttl_s": float("nan")}, "lease_ttl_s"),
        ({"tags": ("",)}, "tags"),
        ({"tags": ("a",) * (TAGS_MAX + 1)}, "tags"),
        ({"depends_on": ("Bad",)}, "depends_on"),
        ({"depends_on": ("a",) * (DEPENDS_ON_MAX + 1)}, "depends_on"),
        ({"subscription_requirements": ("pro",) * (REQUIREMENTS_MAX + 1)}, "subscription_requirements"),
        ({"metadata": {str(n): 1 for n in range(METADATA_KEYS_MAX + 1)}}, "metadata"),
        ({"metadata": {"a": "x" * METADATA_BYTES_MAX}}, "metadata"),
        ({"metadata": {"a": 2**70}}, "metadata"),
    ],
)
def test_each_field_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    error = refusal(**fields)
    assert (error.code, error.kind, error.fields["field"]) == ("invalid_field", Kind.MALFORMED, field)


def test_metadata_nested_to_the_limit_passes_and_one_deeper_is_refused() -> None:
    nested: dict[str, Any] = {"leaf": 1}
    for _ in range(METADATA_DEPTH_MAX - 1):
        nested = {"a": nested}
    check_registration(wanted(metadata=nested), rank_of=RANKS.get, reserved=RESERVED)
    assert refusal(metadata={"a": nested}).fields["field"] == "metadata"


def test_names_of_paths_and_unknown_tiers_are_refused() -> None:
    assert refusal(name="discover").code == "reserved_name"
    assert refusal(name="Risk").code == "invalid_name"
    assert refusal(instance_id="a b").code == "invalid_instance_id"
    assert refusal(subscription_requirements=("pro", "gold")).code == "unknown_tier"


def test_the_namespace_defaults_to_tenant_and_type_or_name() -> None:
    def namespace(**fields: Any) -> str | None:
        made = instance_of(wanted(**fields), instance_id="i", tenant_id="acme", owner="k", now_ms=1)
        return made.tenant_namespace

    assert namespace() == "acme_risk"
    assert namespace(metadata={"type": "trading"}) == "acme_trading"
    assert namespace(metadata={"type": 7}) == "acme_risk"
    assert namespace(tenant_namespace="mine") == "mine"
    shared = instance_of(wanted(), instance_id="i", tenant_id=None, owner="k", now_ms=1)
    assert shared.tenant_namespace is None


def test_an_identical_registration_changes_nothing() -> None:
    before = msgspec.structs.replace(
        instance(metadata={"a": 1}), status=Status.HEALTHY, registered_at_ms=5, revision=9, tenant_id="acme"
    )
    again = instance(metadata={"a": 1}, registered_at_ms=77, active_since_ms=77, tenant_id="acme")
    assert succeed(before, again) is None
    assert succeed(before, instance(metadata={"a": True}, tenant_id="acme")) is not None


def test_a_new_address_starts_without_a_verdict_and_new_tags_keep_it() -> None:
    before = msgspec.structs.replace(instance(), status=Status.HEALTHY, active_since_ms=5)
    moved = succeed(before, instance(port=9, active_since_ms=70))
    tagged = succeed(before, instance(tags=("a",), active_since_ms=70))
    assert moved is not None
    assert (moved.status, moved.active_since_ms) == (Status.UNKNOWN, 70)
    assert tagged is not None
    assert (tagged.status, tagged.active_since_ms) == (Status.HEALTHY, 5)


def test_registering_again_takes_back_the_owners_drain_but_not_an_operators() -> None:
    own = instance(draining=True, drained_by="key-1", drain_seq=4)
    by_operator = instance(draining=True, drained_by="admin", drain_seq=4)
    back = succeed(own, instance())
    assert back is not None
    assert not back.draining
    assert succeed(by_operator, instance()) is None


def test_the_owner_and_the_domains_administrator_may_change_an_instance() -> None:
    mine = instance(owner="key-1")
    assert may_change(ctx_of(principal="key-1"), ACME, mine)
    assert not may_change(ctx_of(principal="key-2"), ACME, mine)
    admin = ctx_of(principal="key-2", scopes=SCOPES | {"registry:admin"})
    assert may_change(admin, ACME, mine)
    assert not may_change(admin, SHARED, mine)


def test_resource_limits_above_the_tier_are_refused_and_unknown_ones_are_kept() -> None:
    limits = {"max_concurrent_requests": 10}
    check_resource_limits({"resource_limits": {"max_concurrent_requests": 10, "gpus": 400}}, limits, "free")
    for name in ("max_concurrent_requests", "concurrent_requests"):
        with pytest.raises(HubError) as caught:
            check_resource_limits({"resource_limits": {name: 11}}, limits, "free")
        assert caught.value.code == "resource_limits_above_tier"
    for value in ({"resource_limits": [1]}, {"resource_limits": {"max_concurrent_requests": "many"}}):
        with pytest.raises(HubError, match="invalid_field"):
            check_resource_limits(value, limits, "free")


def test_a_service_takes_no_more_instances_than_its_limit() -> None:
    check_service_size("risk", INSTANCES_PER_SERVICE_MAX - 1)
    with pytest.raises(HubError, match="service_instance_limit"):
        check_service_size("risk", INSTANCES_PER_SERVICE_MAX)
