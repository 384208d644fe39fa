"""What is remembered of quotas: the facts, the state they fold into, stream names and limits. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact

AMOUNT_MAX: Final = 1_000_000_000_000
"""Most that one allocation may ask for."""
TTL_S_MIN: Final = 1.0
TTL_S_MAX: Final = 86_400.0
TTL_S: Final = 60.0
LEASES_PER_TENANT_MAX: Final = 10_000
RESOURCE_LENGTH_MAX: Final = 64
RESOURCE_PATTERN: Final = r"^[a-z][a-z0-9_]{0,63}$"
KEY_LENGTH_MAX: Final = 128
PAGE_MAX: Final = 1_000
FREED_PER_RECORD_MAX: Final = 128
"""Leases that end in one record."""

PAUSE_MIN_MS: Final = 1_000.0
"""A gap between two looks that long means that the hub itself stood still: holders get that time back."""
PAUSES_KEPT_MAX: Final = 64
SOONEST_KEPT_MS: Final = 100.0
"""How long the answer to "when does the next lease end" is reused by refusals."""

COUNT_LEASES: Final = "count/quota-leases"

BLOCKS_PER_PERIOD: Final = 100
"""Use is spent from blocks of the limit's hundredth, each durable before anything of it is spent; so much at most is
lost when the hub dies."""
SLICE_MIN_SHARE: Final = 100
"""The smallest slice is the limit's hundredth part, so that the end of a budget does not cost a call per decision."""
SLICE_MAX_SHARE: Final = 50
"""The largest slice is the limit's fiftieth part, however few have asked: others may be about to."""
SLICE_LARGE: Final = 100
"""A slice of so much is never too large, whatever the limit."""
SLICES_KEPT_MAX: Final = 10_000
"""Slices of one budget that can still be returned."""
HOLDERS_MAX: Final = 10_000
HOLDER_SEEN_MS: Final = 60_000.0
"""Who has not asked for a slice for so long is not counted when the rest is shared out."""
BUDGETS_KEPT_MAX: Final = 100_000
LEVELS: Final = (50, 80, 95, 100)
"""Shares of a limit, in percent, at which a tenant is warned."""
LEVEL_SLACK: Final = 10
"""How far, in percent of the limit, what is held has to fall below a level before that is told again."""

EVENTS_PER_BATCH_MAX: Final = 200
EVENT_ID_LENGTH_MAX: Final = 128
QUANTITY_MAX: Final = 1_000_000_000_000_000
METERS_PER_TENANT_MAX: Final = 50
LATE_MS: Final = 86_400_000
"""How late a usage event may come. For so long its id is remembered, and after that the hour and the day are final."""
AHEAD_MS: Final = 300_000
"""How far ahead of the hub's clock a usage event may be."""
EVENT_IDS_PER_TENANT_MAX: Final = 200_000
"""Ids of usage events that a tenant may have within `LATE_MS`; add up more at the source."""
HOURS_KEPT_MS: Final = 7 * 86_400_000
DAYS_KEPT_MS: Final = 400 * 86_400_000

USAGE_STREAM: Final = "usage"

SCOPE_READ: Final = "quota:read"
SCOPE_WRITE: Final = "quota:write"
SCOPE_ADMIN: Final = "quota:admin"


class Ending(StrEnum):
    """Why a quota lease ended."""

    RELEASED = "released"
    EXPIRED = "expired"


class Lease(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A held amount of a resource.

    `fencing_token` is the position in its domain at which it became true: a later lease has a larger one, for ever.
    """

    id: str
    resource: str
    amount: int
    ttl_ms: int
    holder: str
    fencing_token: int
    allocated_at_ms: int


class TenantResourcesAllocated(Fact, frozen=True, kw_only=True):
    """A tenant holds an amount of a resource from now on."""

    lease_id: str
    resource: str
    amount: int
    ttl_ms: int
    holder: str


class TenantResourcesFreed(Fact, frozen=True, kw_only=True):
    """Quota leases have ended; what they held can be allocated again."""

    lease_ids: tuple[str, ...]
    reason: Ending


class Reserved(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How much of a limit was set aside in a period: everything that can have been spent, and the rest of one block."""

    name: str
    period_start_ms: int
    amount: int


class TenantBudgetReserved(Fact, frozen=True, kw_only=True):
    """So much of a limit may be spent in a period; `reserved` is the sum of the period's blocks, this one included."""

    name: str
    period_start_ms: int
    amount: int
    reserved: int


class TenantQuotaLevelReached(Fact, frozen=True, kw_only=True):
    """So many percent of a limit are set aside in a period, or held (then without a period); an event."""

    name: str
    period_start_ms: int
    level: int
    reserved: int
    limit: int


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """So much of something was used at a time; `id` is unique within its meter."""

    id: str
    meter: str
    quantity: int
    at_ms: int


class UsageRecorded(Fact, frozen=True, kw_only=True):
    """A tenant used something, at the tier it then had."""

    tier: str
    events: tuple[UsageEvent, ...]


VIEW_FACTS: Final[tuple[type[Fact], ...]] = (
    TenantResourcesAllocated,
    TenantResourcesFreed,
    TenantBudgetReserved,
)
FACTS: Final[tuple[type[Fact], ...]] = (*VIEW_FACTS, TenantQuotaLevelReached, UsageRecorded)


def lease_stream(lease_id: str) -> str:
    """Name the aggregate of one quota lease."""
    return f"quota-lease/{lease_id}"


def budget_stream(name: str) -> str:
    """Name the aggregate of one limit's use."""
    return f"quota-budget/{name}"


def held_count(resource: str) -> str:
    """Name the counting stream of what is held of a resource."""
    return f"count/quota/{resource}"
