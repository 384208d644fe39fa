"""What is sent: how large at most, and what an event holds."""

from __future__ import annotations

import dataclasses
import json

import pytest

from central_hub.events.reading import Told as Event
from central_hub.kernel.events import TYPE_PREFIX, EventTypes, cloud_event
from central_hub.kernel.messaging import Result
from central_hub.kernel.records import Actor, Applied, Category
from central_hub.quotas.model import TenantQuotaLevelReached
from central_hub.webhooks.lines import Told
from central_hub.webhooks.model import BODY_BYTES_MAX, Webhook
from tests.unit.webhooks.house import ACME, LEVEL, TYPES, House, opened


def told(*, correlation: str = "", padding: int = 0) -> Told:
    fact = TenantQuotaLevelReached(name="max_jobs", period_start_ms=1_700_000_000_000, level=95, reserved=95, limit=100)
    applied = Applied(
        pos=7, domain=ACME, domain_seq=3, streams=("quota",), category=Category.EVENT, type="TenantQuotaLevelReached",
        id="018bcfe5-6800-7000-8000-000000000000", time_ms=1_700_000_000_000,
        actor=Actor(principal="key:k", kind="key", origin="10.0.0.1", correlation=correlation), fact=fact,
    )  # fmt: skip
    kind = TYPES.of(applied.type)
    assert kind is not None
    body = cloud_event(kind, applied, "inc1") + b" " * padding
    event = Event(seq=3, type=kind.name, title=kind.title, service="", category=kind.category, body=body)
    return Told(event, applied)


async def webhook(house: House) -> Webhook:
    return (await house.create()).webhook


async def test_an_event_says_what_happened_and_not_who_from_where() -> None:
    async with opened() as house:
        await house.sending.send(ACME, await webhook(house), told(correlation="c-1"))
        (body,) = house.receiver.bodies
        event = json.loads(body)
        assert (event["correlationid"], event["hubseq"], event["tenantid"]) == ("c-1", "inc1.3", "acme")
        assert event["data"]["period_start"] == "2023-11-14T22:13:20.000Z"
        assert b"key:k" not in body
        assert b"10.0.0.1" not in body


async def test_what_is_too_large_is_not_sent() -> None:
    async with opened() as house:
        own = await webhook(house)
        outcome = await house.sending.send(ACME, own, told(padding=BODY_BYTES_MAX))
        assert outcome.result is Result.TOO_LARGE
        assert house.receiver.got == []


def test_every_type_of_event_is_named_and_described_alike() -> None:
    for kind in TYPES.types:
        words = kind.name.removeprefix(TYPE_PREFIX).split(".")
        assert kind.name.startswith(TYPE_PREFIX)
        assert len(words) == 3
        assert words[2] == "v1"
        assert kind.summary.endswith(".")
    assert TYPES.of("TenantCreated") is None
    assert LEVEL in TYPES.names


def test_a_fact_is_one_type_of_event() -> None:
    kind = TYPES.types[0]
    with pytest.raises(ValueError, match="one fact"):
        EventTypes((kind, dataclasses.replace(kind, name="another")))
    with pytest.raises(ValueError, match="one fact"):
        EventTypes((kind, TYPES.types[1], dataclasses.replace(TYPES.types[2], name=kind.name)))
