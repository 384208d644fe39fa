"""The events of health: the system as a whole."""

from __future__ import annotations

from typing import Final

from central_hub.health.model import SystemHealthChanged
from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.registry.model import Status

EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}system.health-changed.v1", fact=SystemHealthChanged, order="system",
        subject=lambda _: "system",
        example=SystemHealthChanged(
            status=Status.DEGRADED, previous=Status.HEALTHY, services={"healthy": 11, "degraded": 1},
            instances={"healthy": 40, "unhealthy": 1},
        ),
        data=fields_of("status", "previous", "services", "instances"),
        summary="The system as a whole is in another state.",
    ),
)  # fmt: skip
