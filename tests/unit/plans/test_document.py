"""The file an operator edits: plain data, read strictly, written back the same."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.edge.shares import LIMITS
from central_hub.events.model import EVENTS_DAYS, EVENTS_MB, HISTORY_DAYS_FEATURE
from central_hub.kernel.errors import HubError
from central_hub.plans.document import (
    DOCUMENT_BYTES_MAX,
    default_catalogue,
    parse_catalogue,
    parse_yaml,
    print_catalogue,
)
from central_hub.plans.model import HUB_PREFIX
from central_hub.plans.rules import Ladder

SPECIFIED = {
    "api_calls_per_hour": (1_000, 10_000, 100_000),
    "websocket_connections": (5, 50, 500),
    "max_concurrent_requests": (10, 100, 1_000),
    "max_data_storage_mb": (100, 1_000, 10_000),
    "basic_analytics": (True, True, True),
    "advanced_ai": (False, True, True),
    "custom_models": (False, False, True),
    "breaker_failure_rate": (0.5, 0.3, 0.1),
    "breaker_open_s": (60, 30, 10),
}


def test_the_plans_a_hub_starts_with_are_the_promised_ones() -> None:
    ladder = Ladder(default_catalogue())
    assert ladder.names() == ("free", "pro", "enterprise")
    assert {name for name in ladder.catalogue.features if not name.startswith(HUB_PREFIX)} == set(SPECIFIED)
    for feature, values in SPECIFIED.items():
        said = tuple(ladder.catalogue.plans[name].entitlements[feature] for name in ladder.names())
        assert said == values, feature


KEPT = (EVENTS_DAYS, HISTORY_DAYS_FEATURE, EVENTS_MB)
"""How long a tenant's part of the log is kept, and how much of it."""


def test_every_limit_of_the_hub_itself_is_in_every_plan_and_no_plan_gets_less_than_a_lower_one() -> None:
    ladder = Ladder(default_catalogue())
    assert {name for name in ladder.catalogue.features if name.startswith(HUB_PREFIX)} == {*LIMITS, *KEPT}
    for name in (*LIMITS, *KEPT):
        said = [ladder.catalogue.plans[tier].entitlements[name] for tier in ladder.names()]
        in_order = [float("inf") if value is None else float(value) for value in said]
        assert in_order == sorted(in_order), name


def test_what_is_printed_reads_back_the_same() -> None:
    catalogue = default_catalogue()
    assert parse_catalogue(print_catalogue(msgspec.to_builtins(catalogue))) == catalogue


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("plans: [", "line 1"),
        ("plans: {}\nplans: {}", "'plans' stands twice in line 2"),
        ("features: &a {}\nplans: *a", "aliases"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("features: {}\nplans: {}\nplanz: {}", "planz"),
        ("features: {a: {kind: magic}}\nplans: {}", "magic"),
        ("- 1", "Expected `object`"),
        ("", "Expected `object`"),
        ("features: {}\nplans: {a: {rank: one, entitlements: {}}}", "rank"),
        ("features: {a: {kind: value}}\nplans: {p: {rank: 1, entitlements: {a: 2024-01-01}}}", "a"),
        ("[" * 5_000, "not YAML"),
        ("a" * (DOCUMENT_BYTES_MAX + 1), "larger"),
        ("a: \x00", "not YAML"),
    ],
)
def test_what_is_no_file_of_plans_is_refused_with_its_reason(text: str, word: str) -> None:
    with pytest.raises(HubError) as refused:
        parse_catalogue(text)
    assert refused.value.code == "invalid_plans"
    assert word in refused.value.message


def test_an_anchor_alone_is_plain_data() -> None:
    assert parse_yaml("a: &x 1") == {"a": 1}
