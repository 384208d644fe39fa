"""The events of quotas: what a tenant is told about its limits."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.quotas.model import TenantQuotaLevelReached, TenantResourcesAllocated, TenantResourcesFreed


class LevelData(msgspec.Struct, frozen=True, kw_only=True):
    """So many percent of a limit; without the beginning of a period it is of what is held."""

    limit_name: str
    level: int
    used: int
    limit: int
    period_start: str | None


def _reached(fact: TenantQuotaLevelReached) -> LevelData:
    return LevelData(
        limit_name=fact.name,
        level=fact.level,
        used=fact.reserved,
        limit=fact.limit,
        period_start=rfc3339(fact.period_start_ms) if fact.period_start_ms else None,
    )


EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}quota.allocated.v1", fact=TenantResourcesAllocated,
        subject=lambda fact: f"quota/{fact.resource}", data=fields_of("lease_id", "resource", "amount", "ttl_ms"),
        summary="A tenant holds an amount of a resource from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}quota.released.v1", fact=TenantResourcesFreed, subject=lambda _: "quota",
        data=fields_of("lease_ids", "reason"), summary="Quota leases have ended: released, or not renewed.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}quota.level-reached.v1", fact=TenantQuotaLevelReached,
        subject=lambda fact: f"quota/{fact.name}", data=_reached, shape=LevelData,
        summary="50, 80, 95 or 100 percent of a limit is used; without a period it is what is held.",
    ),
)  # fmt: skip
