"""What a tenant does in the two worlds: valid, invalid and hostile requests of every kind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

CANARY = "canary-of-tenant-b"
FEATURES = ["advanced_ai", "max_data_storage_mb", "breaker_open_s", "teleport"]
SERVICES = ["risk", "orders", "gold", "prices", "audit-log"]
TAGS = ["blue", "green", CANARY]
FLAGS = ["plain", "half", "mine", "theirs", "nothing", "advanced_ai"]

Step = tuple[str, str, Any]


def script(seed: int, *, tenant: str, mark: str) -> Iterator[Step]:
    """Yield what a tenant does, for ever."""
    rng = random.Random(seed)
    other = "globex" if tenant == "acme" else "acme"
    while True:
        service, feature = rng.choice(SERVICES), rng.choice(FEATURES)
        yield rng.choice(
            (
                *_services(rng, service, other, mark),
                *_tenants(tenant, other),
                *_plans(feature, tenant, other),
                *_configuration(rng, service, feature, tenant, other, mark),
                *_rollouts(rng, service, tenant, other, mark),
                *_quotas(rng, tenant, other, mark),
                *_flags(rng, tenant, other, mark),
                *_secrets(rng, tenant, other, mark),
                *_webhooks(rng, tenant, other, mark),
                *_events(rng, service, other, mark),
                *_subscriptions(rng, other, mark),
                *_routing(rng, service, other, mark),
            )
        )


def _services(rng: random.Random, service: str, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is done about services."""
    instance = f"i-{rng.randrange(6)}"
    at = f"/services/{service}/instances/{instance}"
    body = {
        "name": service, "host": f"10.0.0.{rng.randrange(1, 200)}", "port": rng.randrange(1, 65_535),
        "instance_id": instance, "lease_ttl_s": rng.choice([1, 5, 600]), "metadata": {"owner": mark},
        "tags": rng.sample(TAGS[:2], rng.randrange(2)), "zone": rng.choice(["", "a"]), "depends_on": ["prices"],
    }  # fmt: skip
    return (
        ("POST", "/services/register", body),
        ("POST", "/services/register", body),
        ("POST", "/services/register/batch", {"instances": [body, {**body, "name": "prices"}]}),
        ("POST", "/services/register", {**body, "tenant_id": other}),
        ("POST", "/services/register", {**body, "subscription_requirements": ["platinum"]}),
        ("PUT", at + "/heartbeat", {"in_flight": rng.randrange(50), "latency_ms_p95": rng.random() * 100}),
        ("POST", "/services/heartbeats", {"instances": [{"service_name": service, "instance_id": instance}]}),
        ("POST", at + "/drain", None),
        ("POST", at + "/undrain", None),
        ("DELETE", at, None),
        ("GET", at, None),
        ("GET", f"/services/{service}", None),
        ("GET", f"/services/discover/{service}", None),
        ("GET", f"/services/discover/{service}?explain=1&tag=blue", None),
        ("GET", f"/services/discover/{service}?tenant_id={other}", None),
        ("GET", "/services/", None),
        ("GET", "/services/discover", None),
        ("GET", "/health/services", None),
        ("GET", f"/health/services/{service}", None),
        ("GET", "/health/tenant", None),
        ("GET", "/dependencies", None),
        ("GET", "/prometheus/targets", None),
    )


def _tenants(tenant: str, other: str) -> tuple[Step, ...]:
    """Return what is asked about tenants."""
    return (
        ("GET", f"/tenants/{other}", None),
        ("GET", f"/tenants/{tenant}", None),
        ("GET", f"/tenants/{other}/audit", None),
        ("GET", f"/tenants/{tenant}/audit?limit=5", None),
        ("GET", f"/tenants/{tenant}/audit/verify", None),
        ("GET", "/whoami", None),
        ("GET", "/metrics", None),
    )


def _plans(feature: str, tenant: str, other: str) -> tuple[Step, ...]:
    """Return what is asked and tried about plans."""
    return (
        ("GET", "/plans", None),
        ("GET", f"/tenants/{tenant}/entitlements", None),
        ("GET", f"/tenants/{tenant}/entitlements/{feature}", None),
        ("GET", f"/tenants/{other}/entitlements/{feature}", None),
        ("GET", f"/tenants/{tenant}/grants?limit=2", None),
        ("POST", f"/tenants/{other}/grants", {"feature": feature, "value": True}),
        ("PUT", f"/tenants/{tenant}/overrides/{feature}", {"value": True}),
    )


def _configuration(
    rng: random.Random, service: str, feature: str, tenant: str, other: str, mark: str
) -> tuple[Step, ...]:
    """Return what is done about configuration."""
    layer = {
        "rate_limits": {"api_calls_per_hour": rng.randrange(20_000)},
        "features": {feature if rng.randrange(4) else mark: bool(rng.randrange(2))},
    }
    return (
        ("GET", f"/config/{tenant}", None),
        ("GET", f"/config/{other}", None),
        ("GET", f"/config/{tenant}?service={service}&environment=production", None),
        ("GET", f"/config/{tenant}/explain?service={service}", None),
        ("GET", f"/config/{other}/explain", None),
        ("GET", f"/config/layers/tenant/{tenant}", None),
        ("GET", f"/config/layers/tenant/{other}", None),
        ("GET", f"/config/layers/tenant/{tenant}/history?limit=3&service={service}", None),
        ("GET", f"/config/layers/tenant/{other}/history", None),
        ("GET", "/config/layers/global", None),
        ("GET", "/config/schemas", None),
        ("PUT", f"/config/layers/tenant/{tenant}", layer),
        ("PATCH", f"/config/layers/tenant/{tenant}?service={service}", layer),
        ("PATCH", f"/config/layers/tenant/{tenant}?dry_run=true", layer),
        ("PATCH", f"/config/layers/tenant/{other}", layer),
        ("POST", f"/config/layers/tenant/{tenant}/rollback", {"to_revision": rng.randrange(4)}),
    )


def _rollouts(rng: random.Random, service: str, tenant: str, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is done about rollouts of a tenant's own layers, and what instances say of their configuration."""
    instance = f"i-{rng.randrange(6)}"
    layer = {"tenant": tenant, "service": rng.choice(SERVICES)}
    document = {"rate_limits": {"api_calls_per_hour": rng.randrange(9_000)}}
    change = {"layer": layer, "if_match": "*", "document": document}
    strategy = {"kind": "canary", "percent": rng.choice([5, 50]), "bake_s": rng.randrange(3)}
    start = {"changes": [change], "reason": mark, "strategy": strategy}
    foreign = {**start, "changes": [{**change, "layer": {"tenant": other}}]}
    said = {"etag": rng.choice(["", mark]), "state": rng.choice(["applied", "refused"]), "reason": mark, "ok": 3}
    own, theirs = f"/tenants/{tenant}/rollouts", f"/tenants/{other}/rollouts"
    return (
        ("POST", own, start),
        ("POST", own, foreign),
        ("POST", theirs, start),
        ("GET", own, None),
        ("GET", theirs, None),
        ("GET", own + "/never-was", None),
        ("POST", own + "/never-was/abort", {}),
        ("POST", "/rollouts", start),
        ("GET", "/rollouts", None),
        ("GET", f"/config/{tenant}/instances", None),
        ("GET", f"/config/{other}/instances?service={service}", None),
        ("GET", f"/config/{tenant}?service={service}&instance={instance}", None),
        ("PUT", f"/services/{service}/instances/{instance}/config", said),
    )


def _quotas(rng: random.Random, tenant: str, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is done about quotas."""
    used = {"id": str(rng.randrange(40)), "meter": "tokens", "quantity": rng.randrange(100)}
    held = {
        "resource": rng.choice(["concurrent_requests", "data_storage_mb", mark.replace("-", "_")]),
        "amount": rng.randrange(1, 40),
        "ttl_s": 2,
    }
    return (
        ("POST", f"/tenants/{tenant}/allocations", held),
        ("POST", f"/tenants/{other}/allocations", held),
        ("GET", f"/tenants/{tenant}/allocations?limit=3", None),
        ("GET", f"/tenants/{tenant}/usage", None),
        ("GET", f"/tenants/{tenant}/hub-limits", None),
        ("POST", f"/tenants/{tenant}/slices", {"limit": "api_calls_per_hour", "amount": rng.randrange(1, 300)}),
        ("POST", f"/tenants/{other}/slices", {"limit": "api_calls_per_hour"}),
        ("GET", f"/tenants/{other}/usage", None),
        ("GET", f"/tenants/{other}/hub-limits", None),
        ("POST", f"/tenants/{tenant}/slices/1-1/return", {"limit": "api_calls_per_hour", "unused": 3}),
        ("POST", f"/tenants/{tenant}/allocations/never-was/renew", None),
        ("DELETE", f"/tenants/{tenant}/allocations/never-was", None),
        ("GET", f"/tenants/{other}/allocations/never-was", None),
        ("POST", f"/tenants/{tenant}/usage/events", {"events": [used, used]}),
        ("POST", f"/tenants/{other}/usage/events", {"events": [used]}),
        ("GET", f"/tenants/{tenant}/usage/meters?period=hour", None),
        ("GET", "/usage/export?month=2023-11", None),
    )


def _webhooks(rng: random.Random, tenant: str, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is done about webhooks; ids are told by their place in the list, which the caller fills in."""
    own, theirs, one = f"/tenants/{tenant}/webhooks", f"/tenants/{other}/webhooks", f"{{webhook:{rng.randrange(4)}}}"
    level, config = "io.centralhub.quota.level-reached.v1", "io.centralhub.config.changed.v1"
    endpoint = {"url": f"https://{mark}.example/in", "events": rng.choice([[], [level], [config]]), "description": mark}
    return (
        ("POST", own, endpoint),
        ("POST", own, {**endpoint, "service": "risk"}),
        ("POST", own, {**endpoint, "url": "http://169.254.169.254/"}),
        ("POST", own, {**endpoint, "events": [mark]}),
        ("POST", theirs, endpoint),
        ("GET", own, None),
        ("GET", theirs, None),
        ("GET", f"{own}/{one}", None),
        ("GET", f"{theirs}/{one}", None),
        ("GET", f"{own}/{one}/deliveries", None),
        ("POST", f"{own}/{one}/rotate", {"grace_s": 5}),
        ("POST", f"{own}/{one}/test", None),
        ("POST", f"{own}/{one}/replay", {"limit": 2}),
        ("POST", f"{own}/{one}/{rng.choice(['enable', 'disable'])}", None),
        ("POST", f"{theirs}/{one}/disable", None),
        ("DELETE", f"{own}/{one}", None),
    )


def _secrets(rng: random.Random, tenant: str, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is done about secrets; the same paths are tried by both."""
    path = rng.choice(["db/password", "of-all", "of-platform", "nothing"])
    own, theirs = f"/tenants/{tenant}/secrets", f"/tenants/{other}/secrets"
    value = {"value": f"{mark}-{rng.randrange(3)}", "note": mark}
    return (
        ("PUT", f"{own}/value?path={path}", value),
        ("PUT", f"{theirs}/value?path={path}", value),
        ("GET", f"{own}/value?path={path}", None),
        ("GET", f"{own}/value?path={path}&version={rng.randrange(1, 9)}", None),
        ("GET", f"{theirs}/value?path={path}", None),
        ("DELETE", f"{own}/value?path={path}", None),
        ("DELETE", f"{theirs}/value?path={path}", None),
        ("GET", f"{own}?limit=2", None),
        ("GET", theirs, None),
        ("GET", f"{own}/versions?path={path}", None),
        ("GET", f"{theirs}/versions?path={path}", None),
        ("GET", "/secrets", None),
        ("GET", f"/secrets/value?path={path}", None),
        ("GET", "/encryption", None),
        ("POST", "/encryption/rotations", {"what": "data_keys", "tenants": [tenant]}),
    )


def _events(rng: random.Random, service: str, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is published and read."""
    event = {
        "specversion": "1.0", "type": f"com.{rng.choice(['a', 'b'])}.placed", "source": f"/services/{service}",
        "id": f"e-{rng.randrange(40)}", "subject": mark, "data": {"mark": mark, "n": rng.randrange(9)},
    }  # fmt: skip
    described = {
        "type": "object", "required": rng.choice([[], ["mark"]]),
        "properties": {"mark": {"enum": [mark]}, "n": {"type": "integer", "maximum": rng.choice([5, 9])}},
    }  # fmt: skip
    failed = {"caller": service, "callee": rng.choice(SERVICES), "route": "", "reason": mark, "failures": 1}
    return (
        ("POST", "/events", event),
        ("POST", "/events", [event, {**event, "id": f"e-{rng.randrange(40)}"}]),
        ("POST", "/events", {**event, "tenantid": other}),
        ("POST", "/events", {**event, "type": "io.centralhub.tenant.created.v1"}),
        ("GET", "/events?after=start&limit=20", None),
        ("GET", f"/events?last=5&services={service}", None),
        ("GET", "/events?after=start&types=com.a.*&category=domain", None),
        ("GET", f"/events?after={other}.3", None),
        ("GET", "/events/types", None),
        ("GET", f"/events/types/{rng.choice([mark, 'TenantCreated'])}", None),
        ("POST", "/events", {**event, "type": "io.centralhub.integration.downstream-failed.v1", "data": failed}),
        ("GET", "/platform/events?after=start", None),
        ("PUT", f"/events/types/com.{rng.choice(['a', 'b'])}.placed", {"json_schema": described, "description": mark}),
        ("PUT", f"/events/types/com.{mark}", {"json_schema": described}),
        ("PUT", "/events/types/com.a.placed", {"json_schema": {"type": mark}}),
        ("DELETE", f"/events/types/com.{rng.choice(['a', mark])}.placed", None),
        ("GET", f"/events/types/com.{rng.choice(['a', 'b'])}.placed", None),
        ("GET", "/events/types/com.a.placed/versions", None),
        ("GET", f"/events/types/com.a.placed/schema?version={rng.randrange(1, 4)}", None),
        ("PUT", "/events/policy", {"unknown_types": rng.choice(["allowed", "refused", mark])}),
        ("GET", "/events/policy", None),
        ("POST", "/events/purge", {"before": rng.choice(["start", "now", f"{other}.3", mark])}),
        ("GET", "/events/retention", None),
    )


def _subscriptions(rng: random.Random, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is done about subscriptions; both tenants use the same names and guess the same deliveries."""
    every, name = "/subscriptions", rng.choice(["orders", "all", "nothing"])
    one, delivery = f"{every}/{name}", f"memory.{rng.randrange(60)}.{rng.randrange(1, 3)}"
    wanted = {"types": rng.choice([[], ["com.a.*"], ["*"]])}
    return (
        ("POST", every, {"name": name, "filter": wanted, "description": mark}),
        ("POST", every, {"name": name, "deliver": {"policy": rng.choice(["all", "last"])}, "description": mark}),
        ("POST", every, {"name": name, "deliver": {"policy": "by_position", "position": f"{other}.3"}}),
        ("GET", every, None),
        ("GET", one, None),
        ("PATCH", one, {"filter": wanted, "terms": {"max_deliveries": 1}}),
        ("POST", f"{one}/move", {"policy": "all"}),
        ("POST", f"{one}/{rng.choice(['pause', 'resume'])}", None),
        ("POST", f"{one}/pull?limit=3", None),
        ("POST", f"{one}/pull?limit=3", None),
        ("POST", f"{one}/settle", {"ack": [delivery], "extend": [delivery]}),
        ("POST", f"{one}/settle", {"nack": [{"id": delivery, "reject": True, "reason": mark}]}),
        ("GET", f"{one}/letters", None),
        ("POST", f"{one}/letters/replay", {"limit": 2}),
        ("POST", f"{one}/letters/discard", {"limit": 1}),
        ("DELETE", one, None),
        ("GET", "/platform/subscriptions", None),
        ("POST", f"/platform/subscriptions/{name}/pull", None),
    )


def _routing(rng: random.Random, service: str, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is asked about models; the shared ones are asked for by both, in other fields of the answer."""
    at = f"/services/{service}/instances/i-{rng.randrange(6)}/offerings"
    offering = {
        "id": rng.choice(["a", "b"]), "model": mark, "task": rng.choice(["chat", "forecast"]),
        "latency_ms": {"p50": rng.randrange(1, 90)}, "quality": [{"metric": "accuracy", "value": rng.random()}],
        "data_sizes": rng.choice([[], ["small"]]), "region": rng.choice(["", "eu"]), "concurrency": 2,
    }  # fmt: skip
    ask = {
        "require": {"task": rng.choice(["chat", "forecast"]), "quality": {"accuracy": rng.choice(["> 50%", 0.1])}},
        "strategy": rng.choice(["performance_optimized", "accuracy_optimized", "sticky"]), "key": mark,
    }  # fmt: skip
    outcome = {"instance_id": f"i-{rng.randrange(6)}", "ok": bool(rng.randrange(4)), "latency_ms": rng.randrange(90)}
    foreign = {**offering, "entitlement": {"tenants": [other]}}
    return (
        ("PUT", at, {"offerings": [offering]}),
        ("PUT", at, {"offerings": [offering, {**offering, "id": "c"}]}),
        ("PUT", at, {"offerings": [foreign]}),
        ("DELETE", at, None),
        ("GET", at, None),
        ("GET", "/routing/offerings?limit=3", None),
        ("POST", "/routing/decide", ask),
        ("POST", "/routing/decide", {**ask, "service": service}),
        ("POST", "/routing/decide", {**ask, "size_hint": {"input": rng.randrange(1, 999)}}),
        ("POST", "/routing/decide", {**ask, "require": {"latency_ms": "< 20ms", "region": "eu"}}),
        ("POST", "/routing/reserve", {**ask, "idempotency_key": f"k{rng.randrange(9)}"}),
        ("POST", "/routing/reserve", ask),
        ("POST", "/routing/lease", {**ask, "count": 3}),
        ("POST", "/routing/simulate", {**ask, "count": 5, "strategies": ["least_loaded", "balanced"]}),
        ("POST", "/routing/outcomes", {"outcomes": [outcome, {**outcome, "decision_id": "never-was"}]}),
        ("GET", "/routing/decisions/never-was", None),
    )


def _flags(rng: random.Random, tenant: str, other: str, mark: str) -> tuple[Step, ...]:
    """Return what is done about flags."""
    flag, subject = rng.choice(FLAGS), f"u{rng.randrange(20)}"
    about = {"context": {"targetingKey": subject, "tenant_id": other, "age": rng.randrange(40), "mark": mark}}
    variant = {"variant": rng.choice(["on", "off", mark]), "reason": mark}
    evaluate, own, theirs = "/ofrep/v1/evaluate/flags", f"/tenants/{tenant}/flags", f"/tenants/{other}/flags"
    return (
        ("POST", evaluate, about),
        ("POST", f"{evaluate}/{flag}", about),
        ("POST", f"{evaluate}/{flag}?environment=staging", {}),
        ("PUT", f"{own}/{flag}", variant),
        ("DELETE", f"{own}/{flag}", None),
        ("GET", own, None),
        ("POST", f"{own}/{flag}/explain", about),
        ("PUT", f"{theirs}/{flag}", variant),
        ("GET", theirs, None),
        ("GET", "/flags", None),
        ("PUT", "/flags/plain", {"type": "boolean", "variants": {"on": True}, "default": "on"}),
    )
