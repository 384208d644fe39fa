"""The events that webhooks know themselves: a tenant's life, its values, and endpoints that were given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from central_hub.kernel.events import TYPE_PREFIX, EventType
from central_hub.tenants.model import TenantChanged, TenantResumed, TenantStateChanged, TenantSuspended
from central_hub.webhooks.model import (
    CONFIG_CHANGED,
    FLAGS_CHANGED,
    TenantConfigurationValueChanged,
    TenantFlagsValueChanged,
    ValueChanged,
    WebhookDeliveryParked,
    WebhookDisabled,
)

_TENANT: Final = "tenant"


def _of_tenant(_: object) -> str:
    return _TENANT


def _members(*names: str) -> Callable[[Any], dict[str, object]]:
    """Return what shows these fields of a fact, and nothing else of it."""

    def shown(fact: Any) -> dict[str, object]:  # Any: the fact's own type
        return {name: msgspec.to_builtins(getattr(fact, name)) for name in names}

    return shown


def _config_subject(fact: ValueChanged) -> str:
    return f"config/{fact.service or '-'}/{fact.environment or '-'}"


def _given_up(fact: WebhookDeliveryParked) -> dict[str, object]:
    letter = fact.letter
    return {
        "webhook_id": fact.webhook_id, "event_id": letter.event_id, "event_type": letter.event_type,
        "seq": letter.seq, "result": letter.result.value, "attempts": letter.attempts,
    }  # fmt: skip


EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}tenant.updated.v1", fact=TenantChanged, subject=_of_tenant,
        data=_members("name", "tier", "previous_tier"), summary="A tenant has another name or tier.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.suspended.v1", fact=TenantSuspended, subject=_of_tenant, data=_members("reason"),
        summary="A tenant's callers may only read from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.resumed.v1", fact=TenantResumed, subject=_of_tenant, data=_members(),
        summary="A tenant's callers are served again.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}tenant.state-changed.v1", fact=TenantStateChanged, subject=_of_tenant,
        data=_members("state", "previous_state", "reason"), summary="A tenant is in another state of its life.",
    ),
    EventType(
        name=CONFIG_CHANGED, fact=TenantConfigurationValueChanged, subject=_config_subject,
        data=lambda fact: {"service": fact.service, "environment": fact.environment, "etag": fact.fingerprint},
        summary="What applies to a tenant, for a service in an environment, is something else: read it again.",
    ),
    EventType(
        name=FLAGS_CHANGED, fact=TenantFlagsValueChanged, subject=lambda fact: f"flags/{fact.environment or '-'}",
        data=_members("environment"),
        summary="What flags say to a tenant in an environment may be something else: ask again.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}webhook.disabled.v1", fact=WebhookDisabled,
        subject=lambda fact: f"webhook/{fact.webhook_id}", data=_members("webhook_id", "reason"),
        summary="An endpoint is told nothing from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}webhook.delivery-parked.v1", fact=WebhookDeliveryParked,
        subject=lambda fact: f"webhook/{fact.webhook_id}", data=_given_up,
        summary="An event was given up for an endpoint; it can be sent again.",
    ),
)  # fmt: skip
