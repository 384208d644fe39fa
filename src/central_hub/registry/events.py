"""The events of the registry: instances come and go, and what is said of their health."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.registry.model import (
    Instance,
    RemovalReason,
    ServiceDependencyResolved,
    ServiceDrainChanged,
    ServiceHealthChanged,
    ServiceRegistered,
    ServiceScaled,
    ServicesRegistered,
    ServiceUnregistered,
    Status,
)


class InstanceData(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as it was registered."""

    service_name: str
    instance_id: str
    endpoint: str
    host: str
    port: int
    protocol: str
    version: str
    zone: str
    weight: int
    tags: tuple[str, ...]
    metadata: dict[str, Any]  # Any: JSON of the registrant
    resource_tier: str
    depends_on: tuple[str, ...]
    lease_ttl_s: float | None


class RegisteredData(InstanceData, frozen=True, kw_only=True):
    """An instance that was registered; `replaced` says that it was there before, and is different now."""

    replaced: bool


class BatchRegisteredData(msgspec.Struct, frozen=True, kw_only=True):
    """Instances that were registered in one batch."""

    instances: tuple[InstanceData, ...]


def _fields(instance: Instance) -> dict[str, Any]:  # Any: as the struct has them
    return {name: getattr(instance, name) for name in InstanceData.__struct_fields__}


def _of_instance(fact: Any) -> str:  # Any: a fact about one instance
    return f"service/{fact.service}/{fact.instance_id}"


def _service(fact: Any) -> str:  # Any: a fact about a service
    return fact.service


def _first(fact: ServicesRegistered) -> str:
    names = {instance.service_name for instance in fact.instances}
    return names.pop() if len(names) == 1 else ""


_NAME: Final = "risk-management"
_ID: Final = "risk-1"
_INSTANCE: Final = Instance(
    service_name=_NAME, instance_id=_ID, host="10.0.0.7", port=8_080, version="1.4.2", zone="eu-1", tags=("gpu",),
    metadata={"type": "model-server"}, depends_on=("market-data",), lease_ttl_s=30.0,
)  # fmt: skip

EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}service.registered.v1", fact=ServiceRegistered, order="service/{service}/{instance_id}",
        example=ServiceRegistered(instance=_INSTANCE),
        subject=lambda fact: f"service/{fact.instance.service_name}/{fact.instance.instance_id}",
        service=lambda fact: fact.instance.service_name,
        data=lambda fact: RegisteredData(**_fields(fact.instance), replaced=fact.replaced), shape=RegisteredData,
        summary="An instance was registered, or replaced by a registration that differs.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}service.batch-registered.v1", fact=ServicesRegistered,
        order="service/{service} or service",
        example=ServicesRegistered(instances=(_INSTANCE,)),
        subject=lambda fact: f"service/{_first(fact)}" if _first(fact) else "service",
        service=_first, shape=BatchRegisteredData,
        data=lambda fact: BatchRegisteredData(instances=tuple(InstanceData(**_fields(one)) for one in fact.instances)),
        summary="Instances were registered in one batch.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}service.unregistered.v1", fact=ServiceUnregistered,
        order="service/{service}/{instance_id}", subject=_of_instance,
        example=ServiceUnregistered(service=_NAME, instance_id=_ID, reason=RemovalReason.DEREGISTERED),
        service=_service, data=fields_of("service", "instance_id", "reason"),
        summary="An instance left: it was deregistered, its lease ended, or nothing was heard of it.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}service.drain-changed.v1", fact=ServiceDrainChanged,
        order="service/{service}/{instance_id}", subject=_of_instance,
        example=ServiceDrainChanged(service=_NAME, instance_id=_ID, draining=True),
        service=_service, data=fields_of("service", "instance_id", "draining"),
        summary="An instance takes no new work any more, or takes it again.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}service.health-changed.v1", fact=ServiceHealthChanged,
        order="service/{service}/{instance_id}", subject=_of_instance,
        example=ServiceHealthChanged(
            service=_NAME, instance_id=_ID, status=Status.UNHEALTHY, previous=Status.HEALTHY,
            reason="probe: connection not accepted",
        ),
        service=_service, data=fields_of("service", "instance_id", "status", "previous", "reason"),
        summary="The verdict about an instance is another one.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}service.scaled.v1", fact=ServiceScaled, order="service/{service}",
        example=ServiceScaled(service=_NAME, instances=3, previous=2, caused_by="0198a3c4-0000-7000-8000-000000000004"),
        subject=lambda fact: f"service/{fact.service}", service=_service, cause=lambda fact: fact.caused_by,
        data=fields_of("service", "instances", "previous"),
        summary="A service has another number of instances than a second ago; its first one does not scale it.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}integration.dependency-resolved.v1", fact=ServiceDependencyResolved,
        order="dependency/{caller}/{service}",
        example=ServiceDependencyResolved(caller="trading-engine", service=_NAME),
        subject=lambda fact: f"dependency/{fact.caller}/{fact.service}", service=_service,
        data=fields_of("caller", "service"), summary="A service was seen looking up another one for the first time.",
    ),
)  # fmt: skip
