"""What may be defined: each refusal at its border."""

from __future__ import annotations

from typing import Any

import pytest

from central_hub.flags import model, rules
from central_hub.flags.model import FlagType, Override, Segment, State
from central_hub.kernel.errors import HubError
from tests.unit.flags.support import condition, flag, rule

KNOWN = rules.Known(
    tiers=("free", "pro"), segments={"beta"}, features={"advanced_ai"}, is_tenant=lambda name: name == "acme"
)


def refusal(call: Any, *given: Any, **more: Any) -> str:
    with pytest.raises(HubError) as caught:
        call(*given, **more)
    return caught.value.code


@pytest.mark.parametrize("key", ["a", "new-search", "Team.new_search.v2", "x" * 128, "-", "0"])
def test_a_key_stands_in_a_path_as_it_is(key: str) -> None:
    assert rules.is_key(key)
    assert rules.check_definition(flag(key), KNOWN).key == key


@pytest.mark.parametrize(
    "key", ["", "x" * 129, "..", "a..b", ".a", "a.", "a/b", "../admin", "a?b", "a b", "a%2Fb", "ä", "a\n", "a#b"]
)
def test_a_key_that_would_change_the_path_is_refused(key: str) -> None:
    assert refusal(rules.check_definition, flag(key), KNOWN) == "invalid_flag"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (FlagType.BOOLEAN, [True, False], [1, 0, "true", None, 1.0]),
        (FlagType.STRING, ["", "x", "x" * 4_000], [1, True, None, ["x"], "x" * 4_095]),
        (FlagType.INTEGER, [0, -5, 2**53 - 1], [1.0, 1.5, True, "1", 2**53, None]),
        (FlagType.NUMBER, [1, 1.5, -0.0, 2**53 - 1], [True, "1", None, float("inf"), float("nan"), 1e300]),
        (FlagType.OBJECT, [{}, {"a": [1, {"b": None}]}], [[], "x", 1, None, {"a": "x" * 4_096}, {"a": 2**70}]),
    ],
)
def test_a_value_is_of_its_flags_type(kind: FlagType, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        kept = rules.check_definition(flag(type=kind, variants={"v": value}, default="v"), KNOWN).variants["v"]
        assert kept == value
        assert kind is not FlagType.NUMBER or isinstance(kept, float)
    for value in bad:
        wanted = flag(type=kind, variants={"v": value}, default="v")
        assert refusal(rules.check_definition, wanted, KNOWN) == "invalid_flag", value


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"variants": {}}, "invalid_flag"),
        ({"variants": {f"v{number}": True for number in range(33)}, "default": "v0"}, "invalid_flag"),
        ({"variants": {"-bad": True}, "default": "-bad"}, "invalid_flag"),
        ({"default": "maybe"}, "unknown_variant"),
        ({"rules": (rule("maybe"),)}, "unknown_variant"),
        ({"rules": (rule(tiers=["platinum"]),)}, "unknown_tier"),
        ({"rules": (rule(segments=["nobody"]),)}, "unknown_segment"),
        ({"rules": (rule(tenants=["globex"]),)}, "unknown_tenant"),
        ({"rules": (rule(environments=["Prod!"]),)}, "invalid_flag"),
        ({"rules": (rule(percentage=-0.1),)}, "invalid_flag"),
        ({"rules": (rule(percentage=100.1),)}, "invalid_flag"),
        ({"rules": (rule(percentage=float("nan")),)}, "invalid_flag"),
        ({"rules": (rule(),) * 65}, "invalid_flag"),
        ({"only_tenants": ("globex",)}, "unknown_tenant"),
        ({"key": "advanced_ai"}, "flag_is_entitlement"),
    ],
)
def test_a_definition_that_names_what_is_not_there_is_refused(fields: dict[str, Any], code: str) -> None:
    assert refusal(rules.check_definition, flag(**{"key": "search", **fields}), KNOWN) == code


def test_a_definition_at_its_limits_is_kept() -> None:
    at_most = flag(
        variants={f"v{number}": True for number in range(model.VARIANTS_MAX)},
        default="v0",
        rules=tuple(
            rule("v0", tiers=["pro"], segments=["beta"], tenants=["acme"], environments=["staging"], percentage=share)
            for share in (0, 100, *(50.0,) * (model.RULES_MAX - 2))
        ),
        only_tenants=("acme",),
    )
    assert rules.check_definition(at_most, KNOWN) == at_most


@pytest.mark.parametrize(
    "bad",
    [
        Segment(name="Bad!", keys=("u",)),
        Segment(name="nobody"),
        Segment(name="s", conditions=(condition("a", "exists", 1),)),
        Segment(name="s", conditions=(condition("a", "in"),)),
        Segment(name="s", conditions=(condition("a", "starts_with", "x", "y"),)),
        Segment(name="s", conditions=(condition("a", "contains", 1),)),
        Segment(name="s", conditions=(condition("a", "gt", "1"),)),
        Segment(name="s", conditions=(condition("a", "lte", True),)),
        Segment(name="s", conditions=(condition("a", "in", 2**60),)),
        Segment(name="s", conditions=(condition("a", "in", float("nan")),)),
    ],
)
def test_a_segment_that_cannot_be_asked_is_refused(bad: Segment) -> None:
    assert refusal(rules.check_segment, bad) == "invalid_segment"


def test_a_segment_lists_or_asks() -> None:
    for good in (
        Segment(name="s", keys=("u",)),
        Segment(name="s", conditions=(condition("a", "exists"), condition("b", "in", 1, "x", True))),
        Segment(name="s", conditions=(condition("a", "gte", 1.5), condition("b", "ends_with", "x"))),
    ):
        assert rules.check_segment(good) is good


def test_a_tenant_overrides_what_the_operator_left_to_it() -> None:
    wanted = Override(key="search", variant="on")
    assert rules.check_override(wanted, flag(overridable=True), by_operator=False) is wanted
    assert rules.check_override(wanted, flag(), by_operator=True) is wanted
    assert refusal(rules.check_override, wanted, flag(), by_operator=False) == "flag_not_overridable"
    assert refusal(rules.check_override, wanted, None, by_operator=True) == "flag_not_found"
    gone = flag(state=State.ARCHIVED, overridable=True)
    assert refusal(rules.check_override, wanted, gone, by_operator=True) == "flag_not_found"
    maybe = Override(key="search", variant="maybe")
    assert refusal(rules.check_override, maybe, flag(), by_operator=True) == "unknown_variant"


def test_a_bound_credential_speaks_for_its_environment_only() -> None:
    assert rules.check_environment("", "", "production") == "production"
    assert rules.check_environment("", "staging", "production") == "staging"
    assert rules.check_environment("staging", "", "production") == "staging"
    assert rules.check_environment("staging", "staging", "production") == "staging"
    assert refusal(rules.check_environment, "staging", "production", "production") == "environment_mismatch"


def test_a_change_names_the_revision_it_replaces() -> None:
    for given, revision in ((None, 0), ('"3"', 3), ('"2", "3"', 3), ("*", 3)):
        rules.check_revision(given, revision)
    assert refusal(rules.check_revision, None, 3) == "precondition_required"
    for given, revision in (('"2"', 3), ("3", 3), ('W/"3"', 3), ("*", 0), ('"1"', 0)):
        assert refusal(rules.check_revision, given, revision) == "revision_moved"
