"""The events of quotas: what a tenant is told about its limits."""

from __future__ import annotations

from typing import Final

from central_hub.kernel.clock import rfc3339
from central_hub.kernel.events import TYPE_PREFIX, EventType
from central_hub.quotas.model import TenantQuotaLevelReached


def _reached(fact: TenantQuotaLevelReached) -> dict[str, object]:
    return {
        "limit_name": fact.name,
        "level": fact.level,
        "used": fact.reserved,
        "limit": fact.limit,
        "period_start": rfc3339(fact.period_start_ms) if fact.period_start_ms else None,
    }


EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}quota.level-reached.v1", fact=TenantQuotaLevelReached,
        subject=lambda fact: f"quota/{fact.name}", data=_reached,
        summary="50, 80, 95 or 100 percent of a limit is used; without a period it is what is held.",
    ),
)  # fmt: skip
