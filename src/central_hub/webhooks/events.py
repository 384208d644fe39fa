"""The events that webhooks know themselves: a tenant's values, and endpoints that were given up."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.webhooks.model import (
    CONFIG_CHANGED,
    FLAGS_CHANGED,
    DeadLetter,
    DisabledBecause,
    Result,
    TenantConfigurationValueChanged,
    TenantFlagsValueChanged,
    ValueChanged,
    WebhookDeliveryParked,
    WebhookDisabled,
)


def _config_subject(fact: ValueChanged) -> str:
    return f"config/{fact.service or '-'}/{fact.environment or '-'}"


class ValueData(msgspec.Struct, frozen=True, kw_only=True):
    """Which value is something else, and its entity tag."""

    service: str
    environment: str
    etag: str


class GivenUpData(msgspec.Struct, frozen=True, kw_only=True):
    """An event that an endpoint did not take."""

    webhook_id: str
    event_id: str
    event_type: str
    seq: int
    result: Result
    attempts: int


def _value(fact: ValueChanged) -> ValueData:
    return ValueData(service=fact.service, environment=fact.environment, etag=fact.fingerprint)


def _given_up(fact: WebhookDeliveryParked) -> GivenUpData:
    letter = fact.letter
    return GivenUpData(
        webhook_id=fact.webhook_id,
        event_id=letter.event_id,
        event_type=letter.event_type,
        seq=letter.seq,
        result=letter.result,
        attempts=letter.attempts,
    )


_WEBHOOK: Final = "0198a3c4-0000-7000-8000-000000000002"
_LETTER: Final = DeadLetter(
    seq=41, event_id="0198a3c4-0000-7000-8000-000000000003", event_type=f"{TYPE_PREFIX}tenant.updated.v1",
    result=Result.REFUSED, status=422, attempts=1, at_ms=1_768_905_000_000,
)  # fmt: skip

EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=CONFIG_CHANGED, fact=TenantConfigurationValueChanged, order="config/{service}/{environment}",
        example=TenantConfigurationValueChanged(
            service="risk-management", environment="production", fingerprint='"Zm9vYmFy"'
        ),
        subject=_config_subject,
        data=_value, shape=ValueData,
        summary="What applies to a tenant, for a service in an environment, is something else: read it again.",
    ),
    EventType(
        name=FLAGS_CHANGED, fact=TenantFlagsValueChanged, order="flags/{environment}",
        example=TenantFlagsValueChanged(service="", environment="production", fingerprint='"Zm9vYmFy"'),
        subject=lambda fact: f"flags/{fact.environment or '-'}",
        data=fields_of("environment"),
        summary="What flags say to a tenant in an environment may be something else: ask again.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}webhook.disabled.v1", fact=WebhookDisabled, order="webhook/{webhook_id}",
        example=WebhookDisabled(webhook_id=_WEBHOOK, reason=DisabledBecause.GONE),
        subject=lambda fact: f"webhook/{fact.webhook_id}", data=fields_of("webhook_id", "reason"),
        summary="An endpoint is told nothing from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}webhook.delivery-parked.v1", fact=WebhookDeliveryParked, order="webhook/{webhook_id}",
        example=WebhookDeliveryParked(webhook_id=_WEBHOOK, letter=_LETTER),
        subject=lambda fact: f"webhook/{fact.webhook_id}", data=_given_up, shape=GivenUpData,
        summary="An event was given up for an endpoint; it can be sent again.",
    ),
)  # fmt: skip
