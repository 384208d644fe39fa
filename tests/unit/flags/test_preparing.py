"""Evaluation: rules in order, percentages that only grow, conditions, and explanations that agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.flags.conditions import all_hold
from central_hub.flags.evaluation import Asker
from central_hub.flags.explaining import Walk
from central_hub.flags.model import Definition, FlagType, Rule, Segment, State
from central_hub.flags.preparing import PLACES, Prepared, TargetingKeyMissing, place, places_of, prepare
from tests.unit.flags.support import ACME, condition, flag, rule

SEGMENTS = {
    "beta": Segment(name="beta", keys=("u1", "u2")),
    "adults": Segment(name="adults", conditions=(condition("age", "gte", 18),)),
    "mixed": Segment(name="mixed", keys=("u3",), conditions=(condition("country", "in", "CA"),)),
}


def prepared(
    definition: Definition, tenant: str = "acme", tier: str = "pro", environment: str = "production"
) -> Prepared:
    return prepare(definition, SEGMENTS.get, tenant_id=tenant, tier=tier, environment=environment)


def says(definition: Definition, context: dict[str, Any] | None = None, **asker: str) -> tuple[str, str, str]:
    outcome = prepared(definition, **asker).evaluate(context or {})
    return outcome.variant, outcome.reason, outcome.source


@pytest.mark.parametrize(
    ("fields", "context", "expected"),
    [
        ({}, {}, ("off", "STATIC", "default")),
        ({"state": State.DISABLED, "rules": (rule(),)}, {}, ("off", "DISABLED", "default")),
        ({"rules": (rule(),)}, {}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(tenants=["acme"]),)}, {}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(tenants=["globex"]),)}, {}, ("off", "STATIC", "default")),
        ({"rules": (rule(tiers=["pro", "free"]),)}, {}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(tiers=["free"]),)}, {}, ("off", "STATIC", "default")),
        ({"rules": (rule(environments=["production"]),)}, {}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(environments=["staging"]),)}, {}, ("off", "STATIC", "default")),
        ({"rules": (rule(tenants=["acme"], tiers=["free"]),)}, {}, ("off", "STATIC", "default")),
        ({"rules": (rule("off", tiers=["pro"]), rule())}, {}, ("off", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(segments=["beta"]),)}, {"targetingKey": "u1"}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(segments=["beta"]),)}, {"targetingKey": "u9"}, ("off", "DEFAULT", "default")),
        ({"rules": (rule(segments=["adults"]),)}, {"age": 18}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(segments=["adults"]),)}, {"age": 17.9}, ("off", "DEFAULT", "default")),
        ({"rules": (rule(segments=["adults"]),)}, {"age": "18"}, ("off", "DEFAULT", "default")),
        ({"rules": (rule(segments=["adults"]),)}, {}, ("off", "DEFAULT", "default")),
        ({"rules": (rule(segments=["mixed"]),)}, {"country": "CA"}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(segments=["gone"]),)}, {}, ("off", "STATIC", "default")),
        ({"rules": (rule(segments=["beta", "adults"]),)}, {"age": 40}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(percentage=100),)}, {"targetingKey": "u"}, ("on", "SPLIT", "rule")),
        ({"rules": (rule(percentage=0),)}, {"targetingKey": "u"}, ("off", "SPLIT", "default")),
        ({"rules": (rule(percentage=0), rule())}, {"targetingKey": "u"}, ("on", "TARGETING_MATCH", "rule")),
        ({"rules": (rule(percentage=100, segments=["adults"]),)}, {"age": 3}, ("off", "DEFAULT", "default")),
    ],
)
def test_the_first_rule_that_holds_decides(
    fields: dict[str, Any], context: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert says(flag(**fields), context) == expected


@pytest.mark.parametrize(
    "rules",
    [
        (rule(percentage=50),),
        (rule(segments=["beta"]),),
        (rule(segments=["mixed"]),),
        (rule("off", segments=["adults"]), rule(percentage=1)),
    ],
)
def test_a_rule_about_who_is_asking_needs_a_targeting_key(rules: tuple[Rule, ...]) -> None:
    for context in ({}, {"targetingKey": ""}, {"age": 3}):
        with pytest.raises(TargetingKeyMissing):
            prepared(flag(rules=rules)).evaluate(context)


def test_no_targeting_key_is_needed_where_no_rule_asks_for_it() -> None:
    assert says(flag(rules=(rule(segments=["adults"]), rule(percentage=50))), {"age": 20})[0] == "on"
    assert says(flag(rules=(rule(tenants=["globex"], percentage=50),))) == ("off", "STATIC", "default")


@pytest.mark.parametrize(
    ("test", "context", "holds"),
    [
        (("a", "in", 1, "x"), {"a": 1}, True),
        (("a", "in", 1, "x"), {"a": True}, False),
        (("a", "in", True), {"a": True}, True),
        (("a", "in", True), {"a": 1}, False),
        (("a", "in", 1), {"a": 1.0}, True),
        (("a", "in", "x"), {"a": ["y", "x"]}, True),
        (("a", "in", "x"), {"a": {"x": 1}}, False),
        (("a", "in", "x"), {"a": [["x"]]}, False),
        (("a", "not_in", "x"), {"a": "y"}, True),
        (("a", "not_in", "x"), {"a": "x"}, False),
        (("a", "not_in", "x"), {}, False),
        (("a", "starts_with", "ab"), {"a": "abc"}, True),
        (("a", "starts_with", "ab"), {"a": "cab"}, False),
        (("a", "ends_with", "@x.io"), {"a": "me@x.io"}, True),
        (("a", "contains", "b"), {"a": "abc"}, True),
        (("a", "contains", "b"), {"a": ["b"]}, True),
        (("a", "starts_with", "b"), {"a": ["b"]}, False),
        (("a", "contains", "1"), {"a": 1}, False),
        (("a", "lt", 5), {"a": 4.9}, True),
        (("a", "lt", 5), {"a": 5}, False),
        (("a", "lte", 5), {"a": 5}, True),
        (("a", "gt", 5), {"a": 5}, False),
        (("a", "gt", 5), {"a": True}, False),
        (("a", "gt", 5), {"a": "9"}, False),
        (("a", "gte", 5), {"a": 5}, True),
        (("a", "exists"), {"a": False}, True),
        (("a", "exists"), {"a": None}, False),
        (("a", "exists"), {}, False),
    ],
)
def test_conditions(test: tuple[Any, ...], context: dict[str, Any], holds: bool) -> None:
    ask = all_hold(Segment(name="s", conditions=(condition(*test),)))
    assert ask is not None
    assert ask(context) is holds


def test_all_conditions_of_a_segment_have_to_hold() -> None:
    ask = all_hold(Segment(name="s", conditions=(condition("a", "exists"), condition("b", "in", 1))))
    assert ask is not None
    assert [ask(one) for one in ({"a": 0, "b": 1}, {"a": 0}, {"b": 1})] == [True, False, False]
    assert all_hold(Segment(name="s", keys=("u",))) is None


@given(st.text(max_size=20), st.text(max_size=20), st.floats(0, 100), st.floats(0, 100))
def test_whoever_is_in_stays_in_when_the_percentage_grows(key: str, subject: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    at = place(key, subject)
    assert 0 <= at < PLACES
    assert not at < places_of(small) or at < places_of(large)
    assert at < places_of(100)
    assert not at < places_of(0)


def test_places_are_the_same_for_ever() -> None:
    """Written down: another hash would move every subject of every flag."""
    assert [place("new-search", f"u{number}") for number in range(4)] == [64_932, 70_967, 36_571, 6_175]


def test_places_are_spread_evenly_and_independently_of_each_other() -> None:
    subjects = [f"user-{number}" for number in range(20_000)]
    for share in (1, 10, 50):
        inside = sum(place("flag", one) < places_of(share) for one in subjects) / len(subjects) * 100
        assert inside == pytest.approx(share, abs=4 * (share * (100 - share) / len(subjects)) ** 0.5)
    both = sum(place("a", one) < PLACES // 2 and place("b", one) < PLACES // 2 for one in subjects) / len(subjects)
    assert both == pytest.approx(0.25, abs=0.015)


def test_percentages_in_a_row_share_the_places() -> None:
    split = flag(
        type=FlagType.STRING, variants={"a": "A", "b": "B", "c": "C"}, default="c",
        rules=(rule("a", percentage=20), rule("b", percentage=50)),
    )  # fmt: skip
    got = [says(split, {"targetingKey": f"u{number}"})[0] for number in range(5_000)]
    assert got.count("a") / 50 == pytest.approx(20, abs=3)
    assert got.count("b") / 50 == pytest.approx(30, abs=3)
    assert {says(split, {"targetingKey": f"u{number}"})[1] for number in range(50)} == {"SPLIT"}


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (FlagType.NUMBER, 1.0, "1.0"),
        (FlagType.INTEGER, 1, "1"),
        (FlagType.BOOLEAN, False, "false"),
        (FlagType.STRING, "ä", '"ä"'),
        (FlagType.OBJECT, {"a": [1, 2.0, None]}, '{"a":[1,2.0,null]}'),
    ],
)
def test_an_answer_has_every_member_and_keeps_its_type(kind: FlagType, value: Any, written: str) -> None:
    encoded = prepared(flag(type=kind, variants={"v": value}, default="v")).otherwise.encoded.decode()
    assert f'"value":{written},' in encoded
    assert set(json.loads(encoded)) == {"key", "value", "reason", "variant", "metadata"}


def test_what_the_protocol_has_no_word_for_is_unknown() -> None:
    outcome = prepared(flag(rules=(rule(segments=["adults"]),))).evaluate({})
    assert outcome.reason == "DEFAULT"
    assert json.loads(outcome.encoded)["reason"] == "UNKNOWN"


def test_a_rule_about_others_leaves_no_trace() -> None:
    """Neither the answer nor the fingerprint of one tenant says that a rule for another one came."""
    before, after = flag(), flag(rules=(rule(tenants=["globex"], percentage=50), rule(tiers=["free"])))
    assert prepared(before).otherwise.encoded == prepared(after).otherwise.encoded
    assert prepared(before).digest == prepared(after).digest
    assert prepared(before, tenant="globex").digest != prepared(after, tenant="globex").digest


def test_the_digest_moves_with_whatever_may_change_an_answer() -> None:
    seen = {
        prepared(one).digest
        for one in (
            flag(), flag(default="on"), flag(variants={"on": True, "off": True}), flag("other"),
            flag(state=State.DISABLED), flag(rules=(rule(),)), flag(rules=(rule(percentage=1),)),
            flag(rules=(rule(percentage=2),)), flag(rules=(rule("off", percentage=2),)),
            flag(rules=(rule(segments=["beta"]),)), flag(rules=(rule(segments=["adults"]),)),
            flag(rules=(rule(segments=["adults"], percentage=2),)),
        )
    }  # fmt: skip
    assert len(seen) == 12


RULES = st.builds(
    Rule,
    variant=st.sampled_from(["on", "off"]),
    tenants=st.sampled_from([(), ("acme",), ("globex",), ("acme", "globex")]),
    tiers=st.sampled_from([(), ("pro",), ("free",)]),
    environments=st.sampled_from([(), ("production",), ("staging",)]),
    segments=st.sampled_from([(), ("beta",), ("adults",), ("mixed", "adults")]),
    percentage=st.sampled_from([None, None, 0.0, 30.0, 100.0]),
)
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "targetingKey": st.sampled_from(["u1", "u2", "u3", "u4", ""]),
        "age": st.sampled_from([3, 30, "x"]),
        "country": st.sampled_from(["CA", "US"]),
    },
)


@given(st.lists(RULES, max_size=5), CONTEXTS, st.sampled_from([State.ENABLED, State.DISABLED]), st.booleans())
def test_an_explanation_says_what_evaluation_does(
    rules: list[Rule], context: dict[str, Any], state: State, whole: bool
) -> None:
    definition = flag(rules=tuple(rules), state=state)
    walk = Walk(definition, SEGMENTS.get, Asker(ACME, "pro", "production"), context)
    told = walk.explain(None, whole=whole)
    try:
        outcome = prepared(definition).evaluate(context)
    except TargetingKeyMissing:
        assert (told.error, told.reason) == ("TARGETING_KEY_MISSING", "ERROR")
    else:
        assert (told.variant, told.value, told.reason) == (outcome.variant, outcome.value, outcome.reason)
        assert [step.decided for step in told.steps] == [False] * (len(told.steps) - 1) + [True]


@pytest.mark.parametrize(
    ("one", "context", "because"),
    [
        (rule(tenants=["globex"], tiers=["free"]), {}, "it names other tenants"),
        (rule(tenants=["acme"], tiers=["free"]), {}, "it names other tiers"),
        (rule(tiers=["pro"], environments=["staging"]), {}, "it names other environments"),
        (rule(segments=["adults"]), {"age": 20}, "everything it names holds"),
        (rule(segments=["adults"]), {"age": 2}, "the context is in none of its segments"),
        (rule(segments=["beta"]), {"targetingKey": "u1"}, "everything it names holds"),
        (rule(segments=["beta"]), {"targetingKey": "u9"}, "the context is in none of its segments"),
        (rule(segments=["beta"]), {}, "its segment lists targeting keys, and the context has none"),
        (rule(percentage=5), {}, "it is for a percentage, and the context has no targeting key"),
    ],
)
def test_an_explanation_says_what_a_rule_turned_on(one: Rule, context: dict[str, Any], because: str) -> None:
    walk = Walk(flag(rules=(one,)), SEGMENTS.get, Asker(ACME, "pro", "production"), context)
    step = walk.explain(None, whole=True).steps[0]
    assert (step.because, step.decided) == (because, because == "everything it names holds")


def test_a_tenant_is_not_shown_rules_about_others() -> None:
    definition = flag(
        rules=(rule(name="globex-first", tenants=["globex"]), rule(name="adults", segments=["adults"]), rule("off"))
    )
    walk = Walk(definition, SEGMENTS.get, Asker(ACME, "pro", "production"), {})
    shown = walk.explain(None, whole=False)
    assert [(step.step, step.rule, step.name) for step in shown.steps] == [("rule", 1, ""), ("rule", 2, "")]
    whole = Walk(definition, SEGMENTS.get, Asker(ACME, "pro", "production"), {}).explain(None, whole=True)
    assert [(step.rule, step.name) for step in whole.steps] == [(1, "globex-first"), (2, "adults"), (3, "")]
    assert whole.steps[0].because == "it names other tenants"
