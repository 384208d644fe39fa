"""The events of a tenant's life."""

from __future__ import annotations

from typing import Final

from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.tenants.model import (
    State,
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
        name=f"{TYPE_PREFIX}tenant.created.v1", fact=TenantCreated, order="tenant", subject=_of_tenant,
        example=TenantCreated(tenant_id="acme", name="Acme Trading", tier="pro"),
        data=fields_of("name", "tier", "state"), summary="A tenant exists from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.updated.v1", fact=TenantChanged, order="tenant", subject=_of_tenant,
        example=TenantChanged(name="Acme Trading", tier="enterprise", previous_tier="pro"),
        data=fields_of("name", "tier", "previous_tier"), summary="A tenant has another name or tier.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.suspended.v1", fact=TenantSuspended, order="tenant", subject=_of_tenant,
        example=TenantSuspended(reason="unpaid"), data=fields_of("reason"),
        summary="A tenant's callers may only read from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.resumed.v1", fact=TenantResumed, order="tenant", subject=_of_tenant,
        example=TenantResumed(), data=fields_of(),
        summary="A tenant's callers are served again.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.state-changed.v1", fact=TenantStateChanged, order="tenant", subject=_of_tenant,
        example=TenantStateChanged(state=State.ACTIVE, previous_state=State.TRIAL),
        data=fields_of("state", "previous_state", "reason"), summary="A tenant is in another state of its life.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.shredded.v1", fact=TenantShredded, order="tenant/{tenant_id}",
        example=TenantShredded(tenant_id="acme"),
        subject=lambda fact: f"tenant/{fact.tenant_id}", data=fields_of("tenant_id"),
        summary="A deleted tenant's data can be read by nobody any more; told to the platform.",
    ),
)  # fmt: skip
