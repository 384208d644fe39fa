"""Health over HTTP."""

from __future__ import annotations

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.health.model import HEARTBEAT_BATCH_BYTES_MAX, SCOPE_PLATFORM, SCOPE_READ, SCOPE_WRITE
from central_hub.health.reading import HealthReading
from central_hub.health.schemas import (
    AggregateHealth,
    BatchRenewed,
    Heartbeat,
    HeartbeatBatch,
    Renewed,
    ServiceHealth,
    ServiceHealthDetail,
)
from central_hub.health.usecases import Heartbeats

TAG = "health"
TRUNCATED_HEADER = (("hub-truncated", "true"),)


def operations(heartbeats: Heartbeats, reading: HealthReading) -> tuple[Operation, ...]:
    """Return health's rows of the operations table."""

    async def heartbeat(call: Call) -> Reply:
        said: Heartbeat | None = call.body
        lease = heartbeats.beat(call.ctx, call.path["service_name"], call.path["instance_id"], said)
        return Reply(Renewed(lease=lease))

    async def heartbeat_many(call: Call) -> Reply:
        batch: HeartbeatBatch = call.body
        return Reply(await heartbeats.beat_many(call.ctx, batch.instances))

    async def health_of_services(call: Call) -> Reply:
        listing = await reading.services(call.ctx)
        return Reply(listing.body, headers=TRUNCATED_HEADER if listing.truncated else ())

    async def health_of_service(call: Call) -> Reply:
        return Reply(reading.service(call.ctx, call.path["service_name"]))

    async def health_of_tenant(call: Call) -> Reply:
        return Reply(reading.tenant(call.ctx))

    async def health_of_system(call: Call) -> Reply:
        return Reply(reading.system())

    return (
        Operation(
            id="heartbeat", method="PUT", path="/services/{service_name}/instances/{instance_id}/heartbeat",
            handler=heartbeat, scope=SCOPE_WRITE, tag=TAG, hot=True, signal=True, body=Heartbeat, body_optional=True,
            answer=Renewed, problems=("instance_not_found", "not_owner"),
            summary="Renew an instance's lease and report its load.",
            description="A signal: the answer promises nothing durable. 404 means: register again.",
        ),
        Operation(
            id="heartbeat_many", method="POST", path="/services/heartbeats",
            handler=heartbeat_many, scope=SCOPE_WRITE, tag=TAG, hot=True, signal=True, body=HeartbeatBatch,
            body_bytes_max=HEARTBEAT_BATCH_BYTES_MAX, answer=BatchRenewed,
            summary="Renew many leases in one call.",
            description="Those under `unknown` should register again; those under `denied` belong to another.",
        ),
        Operation(
            id="health_of_services", method="GET", path="/health/services",
            handler=health_of_services, scope=SCOPE_READ, tag=TAG, hot=True, legacy=True,
            answer=dict[str, ServiceHealth], summary="Show every visible service's status, latency and last check.",
        ),
        Operation(
            id="health_of_service", method="GET", path="/health/services/{service_name}",
            handler=health_of_service, scope=SCOPE_READ, tag=TAG, answer=ServiceHealthDetail,
            problems=("service_not_found", "tier_too_low"),
            summary="Show one service's instances, their verdicts and what these rest on.",
        ),
        Operation(
            id="health_of_tenant", method="GET", path="/health/tenant",
            handler=health_of_tenant, scope=SCOPE_READ, tag=TAG, answer=AggregateHealth,
            summary="Sum up the caller's own services and instances.",
        ),
        Operation(
            id="health_of_system", method="GET", path="/health/system",
            handler=health_of_system, scope=SCOPE_PLATFORM, platform=True, tag=TAG, answer=AggregateHealth,
            summary="Sum up every service and instance of the hub.",
        ),
    )  # fmt: skip
