"""The events of a tenant's life."""

from __future__ import annotations

from typing import Final

from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.tenants.model import (
    TenantChanged,
    TenantCreated,
    TenantResumed,
    TenantShredded,
    TenantStateChanged,
    TenantSuspended,
)


def _of_tenant(_: object) -> str:
    return "tenant"


EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}tenant.created.v1", fact=TenantCreated, subject=_of_tenant,
        data=fields_of("name", "tier", "state"), summary="A tenant exists from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.updated.v1", fact=TenantChanged, subject=_of_tenant,
        data=fields_of("name", "tier", "previous_tier"), summary="A tenant has another name or tier.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.suspended.v1", fact=TenantSuspended, subject=_of_tenant, data=fields_of("reason"),
        summary="A tenant's callers may only read from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.resumed.v1", fact=TenantResumed, subject=_of_tenant, data=fields_of(),
        summary="A tenant's callers are served again.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.state-changed.v1", fact=TenantStateChanged, subject=_of_tenant,
        data=fields_of("state", "previous_state", "reason"), summary="A tenant is in another state of its life.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.shredded.v1", fact=TenantShredded,
        subject=lambda fact: f"tenant/{fact.tenant_id}", data=fields_of("tenant_id"),
        summary="A deleted tenant's data can be read by nobody any more; told to the platform.",
    ),
)  # fmt: skip
