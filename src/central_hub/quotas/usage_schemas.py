"""What HTTP adds to metering: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from central_hub.kernel.clock import TIME_MS_MAX
from central_hub.kernel.ids import NAME_PATTERN
from central_hub.quotas.metering import Row
from central_hub.quotas.model import (
    EVENT_ID_LENGTH_MAX,
    EVENTS_PER_BATCH_MAX,
    PAGE_MAX,
    QUANTITY_MAX,
    RESOURCE_PATTERN,
)

Meter = Annotated[str, msgspec.Meta(pattern=RESOURCE_PATTERN)]
EventId = Annotated[str, msgspec.Meta(pattern=rf"^[!-~]{{1,{EVENT_ID_LENGTH_MAX}}}$")]
Period = Literal["hour", "day", "month"]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]


class UsageEventBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of something was used. `id` is unique within its meter; send `at_ms` with what may be repeated."""

    id: EventId
    meter: Meter
    quantity: Annotated[int, msgspec.Meta(ge=0, le=QUANTITY_MAX)] = 1
    at_ms: TimeMs | None = None


class RecordUsage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Usage events."""

    events: Annotated[list[UsageEventBody], msgspec.Meta(min_length=1, max_length=EVENTS_PER_BATCH_MAX)]


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which use is wanted: of periods that begin from `from_ms` on and before `to_ms`; meters after `cursor`."""

    period: Period = "day"
    meter: Meter | None = None
    from_ms: TimeMs = 0
    to_ms: TimeMs = TIME_MS_MAX
    cursor: Meter | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 1_000


class UsageRows(msgspec.Struct, frozen=True, kw_only=True):
    """Use by meter and time; whole meters on each page."""

    rows: list[Row]
    next_cursor: str | None = None


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which month is wanted, as YYYY-MM, of tenants after `cursor`."""

    month: Annotated[str, msgspec.Meta(pattern=r"^(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])$")]
    cursor: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100


class ExportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a month's bill: a tenant's use of one meter at one tier."""

    tenant_id: str
    meter: str
    period_start: str
    period_end: str
    tier: str
    quantity: int
    events: int
    final: bool


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """A month's use of some tenants, in order of tenant, meter and tier."""

    rows: list[ExportRow]
    next_cursor: str | None = None
