"""The registry's JSON, written once and shared: an instance, a service, a discovery answer.

The lane, the framework and the watch join the same bytes. Nothing here knows a caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from central_hub.kernel.ids import SHARED, DomainId
from central_hub.registry.model import Instance, Status
from central_hub.registry.picker import Pick
from central_hub.registry.ports import Verdict
from central_hub.registry.visibility import scope_word

CONNECTION_TYPE: Final = "direct_call"

_json: Final = msgspec.json.Encoder()


class InstanceAnswer(msgspec.Struct, kw_only=True):
    """An instance on the wire: the one shape of lists, discovery and the watch.

    `protected` stands only while self-preservation keeps an instance that would have expired.
    """

    instance_id: str
    host: str
    port: int
    protocol: str
    endpoint: str
    health_endpoint: str
    status: Status
    status_reason: str
    protected: bool | msgspec.UnsetType = msgspec.UNSET
    draining: bool
    version: str
    zone: str
    weight: int
    tags: tuple[str, ...]
    metadata: dict[str, Any]  # Any: JSON of the registrant
    resource_tier: str
    tenant_capable: bool
    depends_on: tuple[str, ...]
    subscription_requirements: tuple[str, ...]
    lease_ttl_s: float | None
    registered_at: datetime


def status_of(instance: Instance, verdict: Verdict | None) -> Status:
    """Return the status a reader is shown: this hub's own verdict where there is one."""
    return instance.status if verdict is None else verdict.status


def encode_instance(instance: Instance, verdict: Verdict | None) -> bytes:
    """Encode an instance as a JSON object."""
    return _json.encode(
        InstanceAnswer(
            instance_id=instance.instance_id,
            host=instance.host,
            port=instance.port,
            protocol=instance.protocol,
            endpoint=instance.endpoint,
            health_endpoint=instance.health_endpoint,
            status=instance.status if verdict is None else verdict.status,
            status_reason=instance.status_reason if verdict is None else verdict.reason,
            protected=True if verdict is not None and verdict.protected else msgspec.UNSET,
            draining=instance.draining,
            version=instance.version,
            zone=instance.zone,
            weight=instance.weight,
            tags=instance.tags,
            metadata=instance.metadata,
            resource_tier=instance.resource_tier,
            tenant_capable=instance.tenant_capable,
            depends_on=instance.depends_on,
            subscription_requirements=instance.subscription_requirements,
            lease_ttl_s=instance.lease_ttl_s,
            registered_at=datetime.fromtimestamp(instance.registered_at_ms / 1000, UTC),
        )
    )


def encode_service(
    name: str,
    domain: DomainId,
    instances: Sequence[Instance],
    encoded: Sequence[bytes],
    *,
    revision: int,
    status: Status,
) -> bytes:
    """Encode a service as a JSON object with its instances.

    Args:
        instances: those shown, in order of registration.
        encoded: their encoded forms, in the same order.
        revision: as the caller counts it.
        status: of the service as a whole.
    """
    head = {
        "service_name": name,
        "domain": scope_word(domain),
        "tenant_id": None if domain == SHARED else domain,
        "tenant_namespace": instances[0].tenant_namespace if instances else None,
        "revision": revision,
        "status": status,
        "instance_count": len(instances),
    }
    return b"".join((_json.encode(head)[:-1], b',"instances":[', b",".join(encoded), b"]}"))


def encode_legacy_service(instance: Instance, encoded: Sequence[bytes]) -> bytes:
    """Encode a service as callers from before tenants know it: its address beside its instances."""
    head = {
        "host": instance.host,
        "port": instance.port,
        "protocol": instance.protocol,
        "health_endpoint": instance.health_endpoint,
        "metadata": instance.metadata,
    }
    return b"".join((_json.encode(head)[:-1], b',"instances":[', b",".join(encoded), b"]}"))


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to discovery in two pieces: a beginning per candidate, which holds the pick, and the shared rest.

    `openings` has one entry per candidate (an empty one for a candidate that no draw can pick), or
    the single one that says why there is none.
    """

    openings: tuple[bytes, ...]
    rest: bytes

    def body(self, index: int | None) -> bytes:
        """Join the answer that recommends candidate `index`."""
        return self.openings[index or 0] + self.rest


def encode_discovery(
    name: str, domain: DomainId, pick: Pick, encoded: Sequence[bytes], *, revision: int, reason: str
) -> Discovery:
    """Encode the answer for every candidate that may be recommended.

    Args:
        pick: the eligible candidates with their confidence.
        encoded: the service's instances, encoded, in order of registration.
        revision: as the caller counts it.
        reason: why there is no candidate, shown when there is none.
    """
    head = b'{"service_name":' + _json.encode(name) + b',"recommended_endpoint":'
    drawn = frozenset(pick.table)
    confidence: dict[str, float] = {}
    openings: list[bytes] = []
    for index, (candidate, value) in enumerate(zip(pick.candidates, pick.confidences, strict=True)):
        endpoint = candidate.instance.endpoint
        if value > confidence.get(endpoint, -1.0):
            confidence[endpoint] = value
        openings.append(_opening(head, endpoint, candidate.instance.instance_id) if index in drawn else b"")
    if not openings:
        openings.append(head + b'null,"recommended_instance":null,"reason":' + _json.encode(reason))
    rest = b"".join(
        (
            b',"all_healthy_endpoints":',
            _json.encode(list(confidence)),
            b',"confidence":',
            _json.encode(confidence),
            f',"connection_type":"{CONNECTION_TYPE}","domain":"{scope_word(domain)}","revision":{revision}'.encode(),
            b',"instances":[',
            b",".join(encoded),
            b"]}",
        )
    )
    return Discovery(openings=tuple(openings), rest=rest)


def _opening(head: bytes, endpoint: str, instance_id: str) -> bytes:
    return head + _json.encode(endpoint) + b',"recommended_instance":' + _json.encode(instance_id)


def with_members(body: bytes, members: Mapping[str, object]) -> bytes:
    """Add members to an encoded, non-empty JSON object."""
    return body[:-1] + b"," + _json.encode(members)[1:] if members else body
