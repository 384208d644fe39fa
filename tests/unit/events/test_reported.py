"""What services report: held against its shape, its subject set, and found under the hub's name for it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.events.model import Category
from central_hub.events.reading import Wanted
from central_hub.events.reported import (
    CALLS,
    COUNT_MAX,
    FAILED,
    LATENCY_BOUNDS_MS,
    REASON_MAX,
    REPORTED,
    ROUTE_MAX,
    CallsCompleted,
    Latency,
)
from central_hub.kernel.errors import HubError
from central_hub.kernel.events import EventTypes, ReportedType
from central_hub.registry.events import EVENTS
from tests.unit.events.house import ACME, House, event, opened

FAILURE = {"caller": "orders", "callee": "risk", "route": "", "reason": "http_503", "failures": 1}


def reported(kind: ReportedType, **more: object) -> dict[str, object]:
    return event(type=kind.name, data=msgspec.to_builtins(kind.example), **more)


async def told(house: House, **wanted: object) -> list[dict[str, object]]:
    page = await house.reading.page(ACME, 0, msgspec.convert(wanted, Wanted), 100)
    return [msgspec.json.decode(one.body) for one in page.events]


@pytest.mark.parametrize("kind", REPORTED, ids=lambda kind: kind.title)
async def test_a_report_is_told_under_its_type_with_the_subject_that_it_is_about(kind: ReportedType) -> None:
    async with opened() as house:
        await house.publish(reported(kind, subject="something/else"), event(2))
        [found] = await told(house, types=[kind.title])
        assert found["type"] == kind.name
        assert found["subject"] == kind.subject(kind.example)
        assert found["data"] == msgspec.json.decode(msgspec.json.encode(kind.example))
        assert found["hubcategory"] == Category.INTEGRATION.value
        for wanted in ({"category": kind.category}, {"types": [kind.name]}, {"beginnings": ["io.centralhub."]}):
            assert await told(house, **wanted) == [found], wanted


async def test_a_report_is_found_by_who_it_is_about_and_by_who_published_it() -> None:
    async with opened() as house:
        await house.publish(event(type=FAILED, source="/services/orders", data=FAILURE))
        for service, found in (("risk", 1), ("orders", 1), ("other", 0)):
            assert len(await told(house, services=[service])) == found, service


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (None, "data"), ({}, "caller"), ({**FAILURE, "extra": 1}, "extra"), ({**FAILURE, "failures": 0}, ">= 1"),
        ({**FAILURE, "failures": COUNT_MAX + 1}, "<="), ({**FAILURE, "callee": "../x"}, "callee"),
        ({**FAILURE, "route": "x" * (ROUTE_MAX + 1)}, "route"), ({**FAILURE, "reason": ""}, "reason"),
        ({**FAILURE, "reason": "x" * (REASON_MAX + 1)}, "reason"), ("text", "object"), (17, "object"),
    ],
)  # fmt: skip
async def test_a_report_of_another_shape_is_refused_whole(data: object, word: str) -> None:
    async with opened() as house:
        with pytest.raises(HubError, match="invalid_event") as refused:
            await house.publish(event(1), event(2, type=FAILED, data=data))
        assert word in refused.value.message
        assert house.log.records == []


async def test_binary_data_is_no_report() -> None:
    async with opened() as house:
        with pytest.raises(HubError, match="invalid_event"):
            await house.publish(event(type=FAILED, data_base64="e30="))


async def test_what_the_hub_tells_itself_nobody_reports_and_the_nearest_is_named() -> None:
    async with opened() as house:
        for name, hint in (("io.centralhub.service.registered.v1", ""), (FAILED[:-1] + "2", FAILED)):
            with pytest.raises(HubError, match="the hub itself tells") as refused:
                await house.publish(event(type=name, data=FAILURE))
            assert (f"did you mean '{hint}'" in refused.value.message) is bool(hint)


@given(st.lists(st.integers(0, 1_000), min_size=len(LATENCY_BOUNDS_MS) + 1, max_size=len(LATENCY_BOUNDS_MS) + 1))
def test_calls_that_do_not_add_up_are_none(buckets: list[int]) -> None:
    latency = Latency(sum_ms=1, max_ms=1, p50_ms=1, p95_ms=1, p99_ms=1, buckets=tuple(buckets))
    whole = {
        "caller": "a", "callee": "*", "route": "", "window_start": "2026-01-20T10:30:00Z", "window_s": 10,
        "errors": 0, "refused": 0, "latency": latency,
    }  # fmt: skip
    assert msgspec.convert({**whole, "calls": sum(buckets)}, CallsCompleted, from_attributes=True)
    for wrong in ({"calls": sum(buckets) + 1}, {"calls": sum(buckets), "errors": sum(buckets) + 1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**whole, **wrong}, CallsCompleted, from_attributes=True)


def test_a_type_is_told_or_reported_and_not_both() -> None:
    with pytest.raises(ValueError, match="not both"):
        EventTypes(EVENTS, [replace(REPORTED[0], name=EVENTS[0].name)])
    assert EventTypes(EVENTS, REPORTED).find("CrossServiceCallCompleted") is EventTypes((), REPORTED).find(CALLS)
