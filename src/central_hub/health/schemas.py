"""What health says and takes over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from central_hub.health.model import HEARTBEAT_BATCH_MAX
from central_hub.kernel.ids import INSTANCE_ID_LENGTH_MAX, NAME_LENGTH_MAX
from central_hub.registry.ports import LeaseTerms

InFlight = Annotated[int, Meta(ge=0, le=1_000_000)]
LoadShare = Annotated[float, Meta(ge=0, le=1_000)]
LatencyMs = Annotated[float, Meta(ge=0, le=3_600_000)]
Position = Annotated[int, Meta(ge=0)]
ServiceNameText = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
InstanceIdText = Annotated[str, Meta(min_length=1, max_length=INSTANCE_ID_LENGTH_MAX)]


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """What an instance says with a heartbeat: requests in flight, utilisation (1.0 is all), p95 in ms."""

    in_flight: InFlight | None = None
    load: LoadShare | None = None
    latency_ms_p95: LatencyMs | None = None
    acked_seq: Position | None = None


class BatchBeat(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """One heartbeat of many."""

    service_name: ServiceNameText
    instance_id: InstanceIdText
    in_flight: InFlight | None = None
    load: LoadShare | None = None
    latency_ms_p95: LatencyMs | None = None
    acked_seq: Position | None = None


class HeartbeatBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many heartbeats in one call."""

    instances: Annotated[list[BatchBeat], Meta(max_length=HEARTBEAT_BATCH_MAX)]


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """The lease a heartbeat renewed, from now on."""

    lease: LeaseTerms


class InstanceRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Names an instance."""

    service_name: str
    instance_id: str


class BatchRenewed(msgspec.Struct, frozen=True, kw_only=True):
    """How many leases were renewed; those unknown should register again, those denied are another's."""

    renewed: int
    unknown: list[InstanceRef]
    denied: list[InstanceRef] = []


class ServiceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A service at a glance; latency in whole ms, null before it was measured."""

    status: str
    latency: int | None
    last_check: str | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many are how."""

    healthy: int
    degraded: int
    unhealthy: int
    unknown: int


class InstanceHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance's verdict and what it rests on."""

    instance_id: str
    status: str
    reason: str
    kept_by: str
    since: str | None = None
    last_check: str | None = None
    latency_ms: float | None = None
    protected: bool = False
    lease_ttl_s: float | UnsetType = UNSET
    lease_left_s: float | UnsetType = UNSET
    evidence: dict[str, object] | UnsetType = UNSET


class ServiceHealthDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A service with its instances (at most `INSTANCES_LISTED_MAX`)."""

    service_name: str
    domain: str
    status: str
    latency: int | None
    last_check: str | None
    counts: Counts
    instances: list[InstanceHealth]
    truncated: bool


class AggregateHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant or the system as a whole."""

    status: str
    services: Counts
    instances: Counts
    tenant_id: str | UnsetType | None = UNSET
