"""The page about webhooks names every type of event, with the members of its data."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from central_hub.app.hooking import EVENT_TYPES
from central_hub.kernel.messaging import Result
from central_hub.quotas.model import TenantQuotaLevelReached
from central_hub.tenants.model import State, TenantChanged, TenantResumed, TenantStateChanged, TenantSuspended
from central_hub.webhooks.model import (
    BACKOFF_S,
    DEAD_LETTERS_MAX,
    IN_FLIGHT_PER_TENANT_MAX,
    DeadLetter,
    DisabledBecause,
    TenantConfigurationValueChanged,
    TenantFlagsValueChanged,
    WebhookDeliveryParked,
    WebhookDisabled,
)

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "receive-webhooks.md").read_text("utf-8")
LETTER = DeadLetter(
    seq=1, event_id="e", event_type="t", result=Result.REFUSED, status=400, attempts=1, at_ms=1
)  # fmt: skip
FACTS = (
    TenantQuotaLevelReached(name="n", period_start_ms=0, level=50, reserved=1, limit=2),
    TenantChanged(name="n", tier="t", previous_tier="p"),
    TenantSuspended(),
    TenantResumed(),
    TenantStateChanged(state=State.PAST_DUE, previous_state=State.TRIAL),
    TenantConfigurationValueChanged(service="s", environment="e", fingerprint="f"),
    TenantFlagsValueChanged(service="", environment="e", fingerprint="f"),
    WebhookDisabled(webhook_id="w", reason=DisabledBecause.GONE),
    WebhookDeliveryParked(webhook_id="w", letter=LETTER),
)


def test_every_type_is_in_the_table_with_its_data() -> None:
    rows = dict(re.findall(r"^\| `(io\.[^`]+)` \|.*\| (?:`([^`]*)` )?\|$", PAGE, re.MULTILINE))
    assert set(rows) == EVENT_TYPES.names
    for fact in FACTS:
        kind = EVENT_TYPES.of(type(fact).__name__)
        assert kind is not None
        assert ", ".join(msgspec.to_builtins(kind.data(fact))) == rows[kind.name], kind.name
    assert {type(fact) for fact in FACTS} == {kind.fact for kind in EVENT_TYPES.types}


def test_what_is_promised_is_what_the_code_does() -> None:
    text = " ".join(PAGE.split())
    waits = [f"{s:g} s" if s < 60 else f"{s / 60:g} min" if s < 3_600 else f"{s / 3_600:g} h" for s in BACKOFF_S]
    assert f"after up to {', '.join(waits[:-1])} and {waits[-1]}" in text
    assert f"{DEAD_LETTERS_MAX:,} dead letters" in text
    assert f"A tenant has {({4: 'four'})[IN_FLIGHT_PER_TENANT_MAX]} attempts at a time" in text
