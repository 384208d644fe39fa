"""The events of health: the system as a whole."""

from __future__ import annotations

from typing import Final

from central_hub.health.model import SystemHealthChanged
from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of

EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}system.health-changed.v1", fact=SystemHealthChanged, subject=lambda _: "system",
        data=fields_of("status", "previous", "services", "instances"),
        summary="The system as a whole is in another state.",
    ),
)  # fmt: skip
