"""The language of requirements: sugar means what it says, and what cannot be read is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.errors import HubError
from central_hub.routing.constraints import COST, Between, Require, Wanted, sized, wanted_of
from central_hub.routing.model import UNITS_MAX


def wanted(**require: Any) -> Wanted:
    return wanted_of(msgspec.convert(require, Require))


@pytest.mark.parametrize(
    ("said", "milliseconds"),
    [("< 100ms", 100), ("<= 0.5s", 500), ("250", 250), ("< 2 s", 2_000), ("<1.5ms", 1.5), (40, 40), ("< 1m", 60_000)],
)
def test_a_latency_is_read(said: object, milliseconds: float) -> None:
    found = wanted(latency_ms=said)
    assert (found.latency_max_ms, found.latency_level) == (milliseconds, 0.95)


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("> 95%", 0.95, 1e12), (">= 0.9", 0.9, 1e12), ("< 5%", -1e12, 0.05), (0.8, 0.8, 1e12), ({"max": 2.0}, -1e12, 2.0)],
)
def test_a_quality_is_read(said: object, least: float, most: float) -> None:
    (found,) = wanted(quality={"accuracy": said}).predicates
    assert isinstance(found, Between)
    assert (found.field, found.least, found.most, found.unknown_passes) == ("quality.accuracy", least, most, False)


@pytest.mark.parametrize(
    "require",
    [
        {"latency_ms": "> 5ms"}, {"latency_ms": "5 parsecs"}, {"latency_ms": "quick"}, {"latency_ms": 0},
        {"quality": {"accuracy": "> 5ms"}}, {"quality": {"accuracy": {}}}, {"cost_max": "> 1"}, {"cost_max": "1 eur"},
        {"latency_ms": {"max": 1.0, "p": 0.6}}, {"quality": {"a": {"min": 1.0, "max": 0.5}}},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(require: dict[str, Any]) -> None:
    with pytest.raises(HubError, match="invalid_constraint"):
        wanted(**require)


@given(st.text(max_size=32))
def test_no_text_is_read_as_anything_but_a_bound_or_a_refusal(text: str) -> None:
    try:
        found = wanted(latency_ms=text) if text else Wanted()
    except (HubError, msgspec.ValidationError):
        return
    assert found.latency_max_ms >= 0.0


def test_the_same_requirements_are_equal_in_whatever_order_they_came() -> None:
    one = wanted(region=["eu", "us"], features=["tools", "json"], quality={"b": 1.0, "a": "> 1%"})
    other = wanted(quality={"a": "> 1%", "b": 1.0}, features=["json", "tools"], region=["us", "eu", "us"])
    assert one == other
    assert hash(one) == hash(other)


def test_size_and_price_hang_on_the_request() -> None:
    found = sized(wanted(cost_max="< 0.5"), (10.0, 0.0))
    assert [(one.field, one.least, one.most) for one in found] == [("input_max", 10.0, UNITS_MAX), (COST, 0.0, 0.5)]
    assert sized(wanted(), (0.0, 0.0)) == ()
