"""What the registry remembers: instances, the facts about them, stream names and every limit.

Pure. Health writes `ServiceHealthChanged` and expiries with these same facts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId

INSTANCES_PER_DOMAIN_MAX: Final = 100_000
SERVICES_PER_DOMAIN_MAX: Final = 20_000
INSTANCES_PER_SERVICE_MAX: Final = 10_000
INSTANCES_PER_RECORD_MAX: Final = 50
REGISTER_BATCH_MAX: Final = 500

HOST_LENGTH_MAX: Final = 253
HEALTH_ENDPOINT_LENGTH_MAX: Final = 256
LABEL_LENGTH_MAX: Final = 63
NAMESPACE_LENGTH_MAX: Final = 128
METADATA_BYTES_MAX: Final = 4_096
METADATA_KEYS_MAX: Final = 64
METADATA_DEPTH_MAX: Final = 4
TAGS_MAX: Final = 32
DEPENDS_ON_MAX: Final = 64
REQUIREMENTS_MAX: Final = 8
PORT_MIN: Final = 1
PORT_MAX: Final = 65_535
WEIGHT_MIN: Final = 1
WEIGHT_MAX: Final = 1_000
WEIGHT_DEFAULT: Final = 100
LEASE_TTL_S_MIN: Final = 1.0
LEASE_TTL_S_MAX: Final = 3_600.0

REMOVED_PER_SERVICE_MAX: Final = 256
"""Removed instance ids remembered per service, so that a resumed watch gets them as `remove`."""

TOMBSTONES_PER_DOMAIN_MAX: Final = 4_096
"""Vanished services remembered per domain; a watch older than the oldest of them gets a snapshot."""

PROTOCOLS: Final = frozenset({"http", "https", "grpc", "grpcs", "tcp", "tls", "udp", "ws", "wss"})
RESOURCE_LIMITS: Final = "resource_limits"
"""The key of an instance's metadata that names what it wants of its tenant's limits."""
RESOURCE_TIERS: Final = ("basic", "premium", "enterprise")

SCOPE_READ: Final = "registry:read"
SCOPE_WRITE: Final = "registry:write"
SCOPE_SHARED: Final = "registry:shared"
SCOPE_ADMIN: Final = "registry:admin"

COUNT_INSTANCES: Final = "count/instances"
COUNT_SERVICES: Final = "count/services"
TENANT_STREAM: Final = "tenant"

RANK_PUBLIC: Final = 0
RANK_NOBODY: Final = 1 << 30
"""The rank of a requirement that names no known tier: nobody reaches it."""


class Status(StrEnum):
    """How an instance is; `unknown` means that there is no verdict yet."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class RemovalReason(StrEnum):
    """Why an instance left."""

    DEREGISTERED = "deregistered"
    LEASE_EXPIRED = "lease_expired"
    PROBE_FAILED = "probe_failed"
    TENANT_DELETED = "tenant_deleted"


class Instance(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One running copy of a service, as registered, with what was journaled about it since.

    `revision` is the position in its domain of the last fact about it; the view sets it.
    `lease_ttl_s` is None for an instance that is kept by probes. `metadata` is JSON.
    """

    service_name: str
    instance_id: str
    host: str
    port: int
    protocol: str = "http"
    health_endpoint: str = "/health"
    metadata: dict[str, Any] = {}  # Any: JSON of the registrant, bounded and never interpreted
    tenant_id: str | None = None
    tenant_namespace: str | None = None
    tenant_capable: bool = True
    subscription_requirements: tuple[str, ...] = ()
    resource_tier: str = "basic"
    version: str = ""
    zone: str = ""
    weight: int = WEIGHT_DEFAULT
    tags: tuple[str, ...] = ()
    lease_ttl_s: float | None = None
    probe: bool = False
    depends_on: tuple[str, ...] = ()
    owner: str = ""
    registered_at_ms: int = 0
    draining: bool = False
    drained_by: str = ""
    drain_seq: int = 0
    active_since_ms: int = 0
    status: Status = Status.UNKNOWN
    status_reason: str = ""
    status_since_ms: int = 0
    revision: int = 0

    @property
    def endpoint(self) -> str:
        """The address a caller connects to, `protocol://host:port`."""
        return endpoint_of(self.protocol, self.host, self.port)


class ServiceRegistered(Fact, frozen=True, kw_only=True):
    """An instance was registered, or replaced by a registration that differs."""

    instance: Instance
    replaced: bool = False


class ServicesRegistered(Fact, frozen=True, kw_only=True):
    """Up to `INSTANCES_PER_RECORD_MAX` instances were registered in one record."""

    instances: tuple[Instance, ...]


class ServiceUnregistered(Fact, frozen=True, kw_only=True):
    """An instance left."""

    service: str
    instance_id: str
    reason: RemovalReason = RemovalReason.DEREGISTERED


class ServiceDrainChanged(Fact, frozen=True, kw_only=True):
    """An instance takes no new work any more, or takes it again."""

    service: str
    instance_id: str
    draining: bool
    by: str = ""


class ServiceHealthChanged(Fact, frozen=True, kw_only=True):
    """The verdict about an instance changed."""

    service: str
    instance_id: str
    status: Status
    reason: str = ""
    previous: Status = Status.UNKNOWN
    evidence: dict[str, Any] = msgspec.field(
        default_factory=dict[str, Any]
    )  # Any: JSON of the health feature, shown and never interpreted here


class ServiceDependencyResolved(Fact, frozen=True, kw_only=True):
    """A service was seen looking up another one for the first time (an event, not a fact)."""

    caller: str
    service: str


class ServiceScaled(Fact, frozen=True, kw_only=True):
    """A service has another number of instances than it was last said to have (an event, not a fact).

    `caused_by` is the id of the newest of the records that did it.
    """

    service: str
    instances: int
    previous: int
    caused_by: str = ""


FACTS: Final[tuple[type[Fact], ...]] = (
    ServiceRegistered,
    ServicesRegistered,
    ServiceUnregistered,
    ServiceDrainChanged,
    ServiceHealthChanged,
    ServiceDependencyResolved,
    ServiceScaled,
)

VIEW_FACTS: Final[frozenset[type[Fact]]] = frozenset(FACTS) - {ServiceDependencyResolved, ServiceScaled}


def endpoint_of(protocol: str, host: str, port: int) -> str:
    """Write an address as callers use it; an IPv6 literal gets its brackets."""
    return f"{protocol}://[{host}]:{port}" if ":" in host else f"{protocol}://{host}:{port}"


def instance_stream(service: str, instance_id: str) -> str:
    """Name the aggregate of one instance."""
    return f"instance/{service}/{instance_id}"


def service_stream(service: str) -> str:
    """Name the uniqueness stream that a service's first registration writes."""
    return f"service/{service}"


ServiceKey = tuple[DomainId, str]
