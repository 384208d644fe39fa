"""The rows of metering and their handlers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.ids import DomainId
from central_hub.quotas.metering import Metering, NewEvent, Recorded, Row
from central_hub.quotas.model import SCOPE_READ, SCOPE_WRITE
from central_hub.quotas.periods import MONTH, bounds_ms
from central_hub.quotas.ports import Tenants
from central_hub.quotas.usage_schemas import Export, ExportQuery, ExportRow, RecordUsage, UsageQuery, UsageRows

USAGE: Final = "usage"
SCOPE_EXPORT: Final = "tenants:admin"


class UsageRoutes:
    """Handlers: each translates a call and its answer, nothing more."""

    def __init__(self, metering: Metering, tenants: Tenants) -> None:
        self._metering = metering
        self._tenants = tenants

    async def record_usage(self, call: Call) -> Reply:
        """Take usage events."""
        body: RecordUsage = call.body
        events = [NewEvent(id=one.id, meter=one.meter, quantity=one.quantity, at_ms=one.at_ms) for one in body.events]
        return Reply(body=await self._metering.record(call.ctx, events))

    async def list_usage(self, call: Call) -> Reply:
        """Show what a tenant's meters add up to."""
        wanted: UsageQuery = call.query
        rows: list[Row] = []
        more: str | None = None
        found = self._metering.rows(
            call.ctx.domain,
            wanted.period,
            from_ms=wanted.from_ms,
            to_ms=wanted.to_ms,
            meter=wanted.meter,
            after=wanted.cursor or "",
        )
        for row in found:
            if len(rows) >= wanted.limit and row.meter != rows[-1].meter:
                more = rows[-1].meter
                break
            rows.append(row)
        return Reply(body=UsageRows(rows=rows, next_cursor=more))

    async def export_usage(self, call: Call) -> Reply:
        """Show a month's use of every tenant."""
        wanted: ExportQuery = call.query
        start_ms, end_ms = _month(wanted.month)
        tenants = self._tenants.tenants_after(wanted.cursor or "", wanted.limit + 1)
        rows: list[ExportRow] = []
        for tenant in tenants[: wanted.limit]:
            found = self._metering.rows(DomainId(tenant.id), MONTH, from_ms=start_ms, to_ms=end_ms)
            rows += [ExportRow(tenant_id=tenant.id, **msgspec.structs.asdict(row)) for row in found]
            await asyncio.sleep(0)  # others get their turn between two tenants
        more = tenants[wanted.limit - 1].id if len(tenants) > wanted.limit else None
        return Reply(body=Export(rows=rows, next_cursor=more))


def operations(routes: UsageRoutes) -> tuple[Operation, ...]:
    """Return the rows of metering."""
    row: dict[str, Any] = {"tag": USAGE, "tenant_param": "tenant_id"}  # Any: Operation's own types
    return (
        Operation(
            id="record_usage", method="POST", path="/tenants/{tenant_id}/usage/events", handler=routes.record_usage,
            body=RecordUsage, answer=Recorded, status=201, scope=SCOPE_WRITE, problems=("limit_reached",),
            summary="Record usage events; each is counted once, however often it is sent.", **row,
        ),
        Operation(
            id="list_usage", method="GET", path="/tenants/{tenant_id}/usage/meters", handler=routes.list_usage,
            query=UsageQuery, answer=UsageRows, scope=SCOPE_READ,
            summary="Show what usage events add up to, by hour, day or month.", **row,
        ),
        Operation(
            id="export_usage", method="GET", path="/usage/export", handler=routes.export_usage, query=ExportQuery,
            answer=Export, scope=SCOPE_EXPORT, platform=True, tag=USAGE,
            summary="Export a month's use of every tenant, by meter and tier, for billing.",
        ),
    )  # fmt: skip


def _month(text: str) -> tuple[int, int]:
    year, month = int(text[:4]), int(text[5:])
    return bounds_ms(MONTH, int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1_000))
