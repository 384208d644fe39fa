"""The events of quotas: what a tenant is told about its limits."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.quotas.model import Ending, TenantQuotaLevelReached, TenantResourcesAllocated, TenantResourcesFreed


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
        name=f"{TYPE_PREFIX}quota.allocated.v1", fact=TenantResourcesAllocated, order="quota/{resource}",
        example=TenantResourcesAllocated(
            lease_id="0198a3c4-0000-7000-8000-000000000001", resource="websocket_connections", amount=5, ttl_ms=60_000,
            holder="key-1",
        ),
        subject=lambda fact: f"quota/{fact.resource}", data=fields_of("lease_id", "resource", "amount", "ttl_ms"),
        summary="A tenant holds an amount of a resource from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}quota.released.v1", fact=TenantResourcesFreed, order="quota",
        example=TenantResourcesFreed(
            lease_ids=("0198a3c4-0000-7000-8000-000000000001",), reason=Ending.RELEASED
        ),
        subject=lambda _: "quota",
        data=fields_of("lease_ids", "reason"), summary="Quota leases have ended: released, or not renewed.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}quota.level-reached.v1", fact=TenantQuotaLevelReached, order="quota/{limit}",
        example=TenantQuotaLevelReached(
            name="api_calls_per_hour", period_start_ms=1_768_903_200_000, level=80, reserved=8_000, limit=10_000
        ),
        subject=lambda fact: f"quota/{fact.name}", data=_reached, shape=LevelData,
        summary="50, 80, 95 or 100 percent of a limit is used; without a period it is what is held.",
    ),
)  # fmt: skip
