"""Filters, terms and ids of deliveries."""

from __future__ import annotations

import fnmatch
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.events.reading import Told
from central_hub.kernel.errors import HubError
from central_hub.subscriptions.model import (
    BACKOFF_STEPS_MAX,
    IN_FLIGHT_MAX,
    MAX_DELIVERIES_MAX,
    PATTERN_LENGTH_MAX,
    PATTERNS_MAX,
    STARS_MAX,
    Filter,
    Terms,
)
from central_hub.subscriptions.rules import (
    Matcher,
    check_filter,
    check_terms,
    delivery_id,
    is_given_up,
    read_delivery,
    wait_s,
)

WORDS = st.text("ab.", min_size=1, max_size=8)
PATTERNS = st.text("ab.*", min_size=1, max_size=8).filter(lambda text: text.count("*") <= STARS_MAX)


def told(**fields: str) -> Told:
    usual = {"type": "com.a.placed", "title": "", "service": "orders", "category": "domain"}
    fields = {"source": "/services/orders", **fields}
    return Told(seq=1, body=b"{}", **{**usual, **fields})


@given(st.lists(PATTERNS, max_size=4), WORDS)
def test_a_pattern_means_what_a_glob_means(patterns: list[str], word: str) -> None:
    matcher = Matcher(Filter(types=tuple(patterns)))
    expected = not patterns or any(re.match(fnmatch.translate(one), word) for one in patterns)
    assert matcher.wants(told(type=word)) == expected


def test_all_that_is_given_must_hold() -> None:
    matcher = Matcher(Filter(types=("com.*",), categories=("domain",), services=("orders",), sources=("/services/*",)))
    assert matcher.wants(told())
    for fields in ({"type": "org.x"}, {"category": "config"}, {"service": "risk"}, {"source": "/tenants/acme"}):
        assert not matcher.wants(told(**fields)), fields


def test_a_type_goes_by_its_name_too_and_nobody_is_told_of_itself() -> None:
    assert Matcher(Filter(types=("ServiceRegistered",))).wants(told(type="io.x", title="ServiceRegistered"))
    assert not Matcher(Filter(), own="subscription/me").wants(told(), "subscription/me")
    assert Matcher(Filter(), own="subscription/me").wants(told(), "subscription/other")


def test_a_filter_has_each_word_once_in_order() -> None:
    assert check_filter(Filter(types=("b", "a", "b"))).types == ("a", "b")


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(types=("a b",)),
        Filter(types=("",)),
        Filter(types=("a\n",)),
        Filter(types=("x" * (PATTERN_LENGTH_MAX + 1),)),
        Filter(types=("*" * (STARS_MAX + 1),)),
        Filter(types=tuple(f"t{number}" for number in range(PATTERNS_MAX + 1))),
        Filter(categories=("A",)),
        Filter(services=("*",)),
        Filter(sources=("a b",)),
    ],
)
def test_what_is_no_filter_is_refused(wanted: Filter) -> None:
    with pytest.raises(HubError) as caught:
        check_filter(wanted)
    assert caught.value.code == "invalid_filter"


@pytest.mark.parametrize(
    "changes",
    [
        {"ack_wait_s": 0.01},
        {"ack_wait_s": 1e9},
        {"ack_wait_s": float("nan")},
        {"backoff_s": ()},
        {"backoff_s": (-1.0,)},
        {"backoff_s": (1e9,)},
        {"backoff_s": (1.0,) * (BACKOFF_STEPS_MAX + 1)},
        {"max_deliveries": 0},
        {"max_deliveries": MAX_DELIVERIES_MAX + 1},
        {"max_in_flight": 0},
        {"max_in_flight": IN_FLIGHT_MAX + 1},
    ],
)
def test_what_are_no_terms_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(HubError) as caught:
        check_terms(msgspec.structs.replace(Terms(), **changes))
    assert caught.value.code == "invalid_terms"


def test_the_last_step_stands_for_all_later_ones() -> None:
    terms = Terms(backoff_s=(1.0, 5.0), max_deliveries=3)
    assert [wait_s(terms, attempts) for attempts in (1, 2, 3, 9)] == [1.0, 5.0, 5.0, 5.0]
    assert [is_given_up(terms, attempts) for attempts in (1, 2, 3, 4)] == [False, False, True, True]


@given(st.integers(0, 10**17), st.integers(0, 10**8))
def test_the_id_of_a_delivery_is_read_in_its_own_history_only(seq: int, attempt: int) -> None:
    text = delivery_id("inc1", seq, attempt)
    assert read_delivery(text, "inc1") == (seq, attempt)
    assert read_delivery(text, "inc2") is None


@given(st.text(max_size=200))
def test_anything_else_is_no_delivery(text: str) -> None:
    found = read_delivery(text, "inc1")
    assert found is None or text == delivery_id("inc1", *found) or text.startswith("inc1.0") or ".0" in text
