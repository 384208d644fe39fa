"""What may be registered, by whom, and when a registration changes nothing. Pure.

Fields are checked one by one and the first that fails is named; nothing is resolved or opened.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Set
from typing import Any, Final, cast

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import LABEL_PATTERN, DomainId, check_instance_id, check_name, is_name
from central_hub.registry import shown
from central_hub.registry.model import (
    DEPENDS_ON_MAX,
    HEALTH_ENDPOINT_LENGTH_MAX,
    HOST_LENGTH_MAX,
    INSTANCES_PER_SERVICE_MAX,
    LEASE_TTL_S_MAX,
    LEASE_TTL_S_MIN,
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    METADATA_KEYS_MAX,
    NAMESPACE_LENGTH_MAX,
    PORT_MAX,
    PORT_MIN,
    PROTOCOLS,
    REQUIREMENTS_MAX,
    RESOURCE_LIMITS,
    RESOURCE_TIERS,
    SCOPE_ADMIN,
    TAGS_MAX,
    WEIGHT_MAX,
    WEIGHT_MIN,
    Instance,
    Status,
)
from central_hub.registry.view import RankOf

_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_LABEL: Final = re.compile(LABEL_PATTERN[:-1] + r"\Z")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?\Z")
_IPV4: Final = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!\Z)|\Z)){4}\Z", re.ASCII)
_NUMERIC_HOST: Final = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)\Z")


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a service says about one of its instances when it registers.

    Only `name`, `host` and `port` are needed; the hub mints `instance_id` when it is left out.
    """

    name: shown.Name
    host: shown.Host
    port: shown.Port
    protocol: shown.Protocol = "http"
    health_endpoint: shown.Path = "/health"
    metadata: shown.Metadata = {}
    tenant_id: shown.Name | None = None
    tenant_namespace: shown.Namespace | None = None
    tenant_capable: bool = True
    subscription_requirements: shown.Requirements = ()
    resource_tier: shown.ResourceTier = "basic"
    instance_id: shown.InstanceId | None = None
    version: shown.LabelOrNone = ""
    zone: shown.LabelOrNone = ""
    weight: shown.Weight = 100
    tags: shown.Tags = ()
    lease_ttl_s: shown.LeaseTtl | None = None
    probe: bool = False
    depends_on: shown.DependsOn = ()
    shared: bool = False


def check_registration(wanted: Registration, *, rank_of: RankOf, reserved: Set[str]) -> None:
    """Refuse a registration whose fields are not what they have to be.

    Args:
        wanted: what was sent.
        rank_of: rank of a tier, None for an unknown one.
        reserved: words that cannot name a service.

    Raises:
        HubError: `invalid_name`, `reserved_name`, `invalid_instance_id`, `invalid_field` or
            `unknown_tier` (422).
    """
    check_name(wanted.name, "service", reserved=reserved)
    if wanted.instance_id is not None:
        check_instance_id(wanted.instance_id)
    check_host(wanted.host)
    if not PORT_MIN <= wanted.port <= PORT_MAX:
        raise _invalid("port", f"is a number from {PORT_MIN} to {PORT_MAX}")
    if wanted.protocol not in PROTOCOLS:
        raise _invalid("protocol", f"is one of {', '.join(sorted(PROTOCOLS))}")
    if wanted.health_endpoint != "/health":
        check_health_endpoint(wanted.health_endpoint)
    if wanted.tenant_namespace is not None and not _NAMESPACE.match(wanted.tenant_namespace):
        raise _invalid(
            "tenant_namespace", f"has 1 to {NAMESPACE_LENGTH_MAX} characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'"
        )
    if wanted.resource_tier not in RESOURCE_TIERS:
        raise _invalid("resource_tier", f"is one of {', '.join(RESOURCE_TIERS)}")
    if wanted.version and not _LABEL.match(wanted.version):
        raise _invalid("version", _LABEL_RULE)
    if wanted.zone and not _LABEL.match(wanted.zone):
        raise _invalid("zone", _LABEL_RULE)
    if not WEIGHT_MIN <= wanted.weight <= WEIGHT_MAX:
        raise _invalid("weight", f"is a number from {WEIGHT_MIN} to {WEIGHT_MAX}")
    if wanted.lease_ttl_s is not None and not LEASE_TTL_S_MIN <= wanted.lease_ttl_s <= LEASE_TTL_S_MAX:
        raise _invalid("lease_ttl_s", f"is a number of seconds from {LEASE_TTL_S_MIN:g} to {LEASE_TTL_S_MAX:g}")
    if wanted.tags or wanted.depends_on or wanted.subscription_requirements:
        _check_lists(wanted, rank_of)
    if wanted.metadata:
        check_metadata(wanted.metadata)


_LABEL_RULE: Final = "has 1 to 63 characters of A-Z, a-z, 0-9, '.', '_', '/', ':', '+' and '-'"


def _check_lists(wanted: Registration, rank_of: RankOf) -> None:
    if len(wanted.tags) > TAGS_MAX:
        raise _invalid("tags", f"has at most {TAGS_MAX} entries")
    if not all(_LABEL.match(tag) for tag in wanted.tags):
        raise _invalid("tags", "entry " + _LABEL_RULE)
    if len(wanted.depends_on) > DEPENDS_ON_MAX:
        raise _invalid("depends_on", f"has at most {DEPENDS_ON_MAX} entries")
    if not all(is_name(name) for name in wanted.depends_on):
        raise _invalid("depends_on", "entry is the name of a service")
    asked = wanted.subscription_requirements
    if len(asked) > REQUIREMENTS_MAX:
        raise _invalid("subscription_requirements", f"has at most {REQUIREMENTS_MAX} entries")
    for tier in asked:
        if rank_of(tier) is None:
            raise HubError(
                "unknown_tier",
                Kind.MALFORMED,
                f"subscription_requirements names '{tier[:64]}', which is no tier of this hub.",
                next_step="Name tiers that exist; the operator lists them in the tiers' definition.",
                fields={"field": "subscription_requirements"},
            )


def check_health_endpoint(path: str) -> None:
    """Refuse what is not a path on the instance itself.

    Raises:
        HubError: `invalid_field` (422).
    """
    if len(path) > HEALTH_ENDPOINT_LENGTH_MAX or path.startswith("//") or not _PATH.match(path):
        raise _invalid(
            "health_endpoint",
            f"is a path on the instance itself, such as /health, of at most {HEALTH_ENDPOINT_LENGTH_MAX} characters",
        )


def check_host(host: str) -> None:
    """Refuse what is neither a host name nor an IP literal, by syntax alone.

    A name whose last label is a number is refused, because resolvers read it as an address in
    forms (decimal, octal, hexadecimal) that people do not.

    Raises:
        HubError: `invalid_field` (422).

    Source: RFC 1123 section 2.1; WHATWG URL, "ends in a number".
    """
    if _IPV4.match(host) or _is_address(host):
        return
    labels = host.removesuffix(".").split(".")
    if (
        not 0 < len(host) <= HOST_LENGTH_MAX
        or not all(_HOST_LABEL.match(label) for label in labels)
        or _NUMERIC_HOST.match(labels[-1])
    ):
        raise _invalid("host", "is a host name or an IP address without port, brackets or scheme")


def _is_address(host: str) -> bool:
    if ":" not in host or "%" in host or len(host) > HOST_LENGTH_MAX:
        return False
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def check_metadata(metadata: dict[str, Any]) -> None:  # Any: JSON of the registrant
    """Refuse metadata that is too large, too deep, or cannot be kept exactly.

    Raises:
        HubError: `invalid_field` (422).
    """
    if len(metadata) > METADATA_KEYS_MAX:
        raise _invalid("metadata", f"has at most {METADATA_KEYS_MAX} keys")
    for value in metadata.values():
        if type(value) in _CONTAINERS and _depth(metadata) > METADATA_DEPTH_MAX:
            raise _invalid("metadata", f"is at most {METADATA_DEPTH_MAX} levels deep")
    try:
        size = len(msgspec.json.encode(metadata))
        msgspec.msgpack.encode(metadata)
    except (OverflowError, ValueError, RecursionError):
        size = METADATA_BYTES_MAX + 1
    if size > METADATA_BYTES_MAX:
        raise _invalid("metadata", f"has at most {METADATA_BYTES_MAX} bytes as JSON, in 64-bit numbers")


_CONTAINERS: Final = frozenset({dict, list})


def _depth(value: object) -> int:
    deepest = 0
    stack: list[tuple[object, int]] = [(value, 1)]
    while stack:
        current, level = stack.pop()
        if isinstance(current, dict | list):
            deepest = max(deepest, level)
            if deepest > METADATA_DEPTH_MAX:
                return deepest
            children = cast(Iterable[object], current.values() if isinstance(current, dict) else current)
            stack.extend((child, level + 1) for child in children)
    return deepest


def _invalid(field: str, rule: str) -> HubError:
    return HubError(
        "invalid_field",
        Kind.MALFORMED,
        f"The field '{field}' {rule}.",
        next_step=f"Correct '{field}' and send the registration again.",
        fields={"field": field},
    )


def instance_of(wanted: Registration, *, instance_id: str, tenant_id: str | None, owner: str, now_ms: int) -> Instance:
    """Build the instance that a checked registration asks for.

    Args:
        wanted: what was sent, checked.
        instance_id: the sent or minted id.
        tenant_id: the tenant it is private to, None for a shared one.
        owner: id of the principal that may change it.
        now_ms: Unix epoch milliseconds.
    """
    namespace = wanted.tenant_namespace
    if namespace is None and tenant_id is not None:
        kind = wanted.metadata.get("type")
        suffix = kind if isinstance(kind, str) and _NAMESPACE.match(kind) else wanted.name
        namespace = f"{tenant_id}_{suffix}"[:NAMESPACE_LENGTH_MAX]
    return Instance(
        service_name=wanted.name,
        instance_id=instance_id,
        host=wanted.host,
        port=wanted.port,
        protocol=wanted.protocol,
        health_endpoint=wanted.health_endpoint,
        metadata=wanted.metadata,
        tenant_id=tenant_id,
        tenant_namespace=namespace,
        tenant_capable=wanted.tenant_capable,
        subscription_requirements=wanted.subscription_requirements,
        resource_tier=wanted.resource_tier,
        version=wanted.version,
        zone=wanted.zone,
        weight=wanted.weight,
        tags=wanted.tags,
        lease_ttl_s=wanted.lease_ttl_s,
        probe=wanted.probe,
        depends_on=wanted.depends_on,
        owner=owner,
        registered_at_ms=now_ms,
        active_since_ms=now_ms,
        status_since_ms=now_ms,
    )


def succeed(before: Instance, wanted: Instance) -> Instance | None:
    """Return the instance that replaces `before`, or None when the registration says nothing new.

    What was learned about the instance stays while its address does: its verdict and its age.
    A drain stays too, unless its owner asked for it: then registering again takes it back.
    """
    keeps_drain = before.draining and before.drained_by != wanted.owner
    same_place = (before.host, before.port, before.protocol) == (wanted.host, wanted.port, wanted.protocol)
    candidate = msgspec.structs.replace(
        wanted,
        draining=keeps_drain,
        drained_by=before.drained_by if keeps_drain else "",
        drain_seq=before.drain_seq if keeps_drain else 0,
        owner=before.owner,
        registered_at_ms=before.registered_at_ms,
        active_since_ms=before.active_since_ms if same_place else wanted.active_since_ms,
        status=before.status if same_place else Status.UNKNOWN,
        status_reason=before.status_reason if same_place else "",
        status_since_ms=before.status_since_ms if same_place else wanted.status_since_ms,
        revision=before.revision,
    )
    unchanged = msgspec.structs.replace(before, drain_seq=candidate.drain_seq)
    if candidate == unchanged and repr(candidate.metadata) == repr(before.metadata):
        return None
    return candidate


def may_change(ctx: TenantContext, domain: DomainId, instance: Instance) -> bool:
    """Say whether the caller owns the instance or administers its domain's registry."""
    if instance.owner == ctx.principal.id:
        return True
    return ctx.domain == domain and ctx.principal.holds(SCOPE_ADMIN)


def not_owner(service: str, instance_id: str) -> HubError:
    """Return the refusal for somebody else's instance in a domain the caller sees."""
    return HubError(
        "not_owner",
        Kind.DENIED,
        f"Instance '{instance_id}' of '{service}' was registered by another principal.",
        next_step=f"Use the key that registered it, or one with the scope '{SCOPE_ADMIN}'.",
    )


def limit_reached(what: str, used: int, limit: int) -> HubError:
    """Return the refusal of a registration past a limit of its domain."""
    return HubError(
        f"{what}_limit",
        Kind.LIMIT,
        f"The limit of {limit} {what}s is reached.",
        next_step="Deregister what is not needed, or ask the operator for a higher limit.",
        fields={"used": used, "limit": limit},
        retry_after_s=60,
    )


def check_service_size(service: str, size: int) -> None:
    """Refuse an instance past `INSTANCES_PER_SERVICE_MAX`.

    Raises:
        HubError: `service_instance_limit` (429).
    """
    if size >= INSTANCES_PER_SERVICE_MAX:
        raise HubError(
            "service_instance_limit",
            Kind.LIMIT,
            f"The service '{service}' has {INSTANCES_PER_SERVICE_MAX} instances, which is the limit of one service.",
            next_step="Deregister instances that are gone, or split the service.",
            fields={"used": size, "limit": INSTANCES_PER_SERVICE_MAX},
            retry_after_s=60,
        )


def check_resource_limits(metadata: dict[str, Any], limits: Mapping[str, int], tier: str) -> None:  # Any: JSON
    """Refuse `metadata.resource_limits` above what the tenant's tier grants.

    Each entry whose name, with or without `max_`, is a limit of the tier is compared; others are
    stored and shown only. Nothing here is enforced at run time.

    Raises:
        HubError: `resource_limits_above_tier` (403), `invalid_field` (422) for a value that is no number.
    """
    asked = metadata.get(RESOURCE_LIMITS)
    if asked is None:
        return
    if not isinstance(asked, dict):
        raise _invalid(f"metadata.{RESOURCE_LIMITS}", "is a map from a limit's name to a number")
    for name, value in cast(dict[str, object], asked).items():
        limit = limits.get(name, limits.get(f"max_{name}"))
        if limit is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _invalid(f"metadata.{RESOURCE_LIMITS}", f"has a number for '{name[:64]}'")
        if value > limit:
            raise HubError(
                "resource_limits_above_tier",
                Kind.DENIED,
                f"metadata.resource_limits asks for {name} {value:g}, and the tier '{tier}' grants {limit}.",
                next_step="Ask for less, or have the tenant moved to a higher tier.",
                fields={"limit": limit, "asked": value, "resource": name},
            )
