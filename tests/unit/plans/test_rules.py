"""Resolution: the highest layer that names a feature decides, and what is unknown is denied."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.errors import HubError
from central_hub.plans.model import Above, Addon, Catalogue, Feature, Grant, Override, Plan, Value
from central_hub.plans.ports import EntitlementKind
from central_hub.plans.rules import (
    NOTHING_ABOVE,
    Ladder,
    check_catalogue,
    check_value,
    decide,
    differences,
    fits,
    layers_of,
)
from tests.unit.plans.support import LIMIT, NOW_MS, SWITCH, WORD, above, catalogue

LADDER = Ladder(catalogue())
FEATURES = (LIMIT, SWITCH, WORD)
PLANS = ("low", "mid", "top")

VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 200), st.text(max_size=3))
GRANTS = st.lists(
    st.builds(
        Grant,
        id=st.uuids().map(str),
        feature=st.sampled_from(FEATURES),
        value=VALUES,
        priority=st.integers(0, 3),
        expires_at_ms=st.sampled_from([0, NOW_MS - 1, NOW_MS, NOW_MS + 1, NOW_MS + 9]),
        created_at_ms=st.integers(0, 3),
    ),
    max_size=5,
)
OVERRIDES = st.lists(st.builds(Override, feature=st.sampled_from(FEATURES), value=VALUES), max_size=3)
ADDONS = st.lists(st.sampled_from(["more", "most", "gone"]), max_size=3)
ABOVE = st.builds(lambda grants, overrides, addons: above(*grants, *overrides, *addons), GRANTS, OVERRIDES, ADDONS)


def answer(tier: str, feature: str, layers: Above = NOTHING_ABOVE, now_ms: int = NOW_MS) -> Any:
    return decide(LADDER, layers, tier, feature, now_ms)


def brief(tier: str, feature: str, layers: Above = NOTHING_ABOVE, now_ms: int = NOW_MS) -> tuple[Any, ...]:
    found = answer(tier, feature, layers, now_ms)
    return found.allowed, found.limit if feature == LIMIT else found.value, found.source


def grant(grant_id: str, value: Value, feature: str = LIMIT, **more: Any) -> Grant:
    return Grant(id=grant_id, feature=feature, value=value, **more)


def test_a_plan_answers_for_itself() -> None:
    assert brief("low", LIMIT) == (True, 10, "plan:low")
    assert brief("top", LIMIT) == (True, None, "plan:top")
    assert brief("low", SWITCH) == (False, None, "plan:low")
    assert brief("mid", SWITCH) == (True, None, "plan:mid")
    assert brief("low", WORD) == (True, "small", "plan:low")
    metered = answer("low", LIMIT)
    assert (metered.unit, metered.period, metered.soft, metered.kind) == ("calls", "hour", False, "metered")


def test_a_limit_of_nothing_is_a_denial() -> None:
    assert brief("mid", LIMIT, above(Override(feature=LIMIT, value=0))) == (False, 0, "override")


def test_each_layer_stands_above_the_one_before() -> None:
    layers: list[Any] = ["more", grant("g", 7), Override(feature=LIMIT, value=3)]
    sources = [brief("low", LIMIT, above(*layers[:count]))[2] for count in range(4)]
    assert sources == ["plan:low", "addon:more", "grant:g", "override"]
    assert brief("low", LIMIT, above("more", "most"))[1:] == (90, "addon:most")


def test_between_grants_priority_decides_then_how_long_they_last_then_age() -> None:
    assert brief("low", LIMIT, above(grant("a", 1, priority=1), grant("b", 2)))[2] == "grant:a"
    ends, stays = grant("a", 1, expires_at_ms=NOW_MS + 5), grant("b", 2)
    assert brief("low", LIMIT, above(ends, stays))[2] == "grant:b"
    assert brief("low", LIMIT, above(ends, grant("c", 3, expires_at_ms=NOW_MS + 4)))[2] == "grant:a"
    assert brief("low", LIMIT, above(grant("a", 1, created_at_ms=2), grant("b", 2, created_at_ms=1)))[2] == "grant:a"


def test_a_grant_ends_at_its_time() -> None:
    layers = above(grant("g", 7, expires_at_ms=NOW_MS))
    assert brief("low", LIMIT, layers, NOW_MS - 1)[2] == "grant:g"
    assert brief("low", LIMIT, layers, NOW_MS)[2] == "plan:low"


def test_a_word_of_another_kind_is_passed_over() -> None:
    assert brief("low", LIMIT, above(Override(feature=LIMIT, value="lots"), grant("g", True)))[2] == "plan:low"


@pytest.mark.parametrize("feature", FEATURES)
def test_an_unknown_tier_is_denied_whatever_stands_above_it(feature: str) -> None:
    found = answer("platinum", feature, above(Override(feature=feature, value=True), grant("g", 9)))
    assert (found.allowed, found.source, found.upgrade_to) == (False, "none", None)
    assert found.limit == (0 if feature == LIMIT else None)


@given(ABOVE, st.sampled_from([*PLANS, "platinum"]))
def test_an_unknown_feature_is_denied_whatever_stands_above(layers: Above, tier: str) -> None:
    found = answer(tier, "teleport", layers)
    assert (found.allowed, found.source, found.upgrade_to, found.value) == (False, "none", None, None)


@given(ABOVE, st.sampled_from(PLANS), st.sampled_from(FEATURES))
def test_the_first_layer_whose_word_fits_decides(layers: Above, tier: str, feature: str) -> None:
    known = LADDER.catalogue.features[feature]
    words = [
        (source, value)
        for source, value in layers_of(LADDER.catalogue, layers, tier, feature, NOW_MS)
        if fits(known, value)
    ]
    found = answer(tier, feature, layers)
    assert found.source == words[0][0]
    assert (found.limit if feature == LIMIT else found.value) == (None if feature == SWITCH else words[0][1])


@given(ABOVE, st.sampled_from(PLANS), st.sampled_from(FEATURES))
def test_layers_come_in_order_of_rank_and_never_an_ended_grant(layers: Above, tier: str, feature: str) -> None:
    order = ["override", "grant", "addon", "plan"]
    sources = [source for source, _ in layers_of(LADDER.catalogue, layers, tier, feature, NOW_MS)]
    ranks = [order.index(source.split(":")[0]) for source in sources]
    assert ranks == sorted(ranks)
    assert sources[-1] == f"plan:{tier}"
    ended = {f"grant:{one.id}" for one in layers.grants.values() if not one.is_live(NOW_MS)}
    assert not ended & set(sources)


@given(ABOVE, st.sampled_from(PLANS), st.sampled_from(FEATURES), VALUES)
def test_an_override_that_fits_has_the_last_word(layers: Above, tier: str, feature: str, value: Value) -> None:
    known = LADDER.catalogue.features[feature]
    overridden = msgspec.structs.replace(
        layers, overrides={**layers.overrides, feature: Override(feature=feature, value=value)}
    )
    assert (answer(tier, feature, overridden).source == "override") == fits(known, value)


@given(ABOVE, st.sampled_from(PLANS), st.sampled_from(FEATURES))
def test_what_is_said_of_other_features_changes_nothing(layers: Above, tier: str, feature: str) -> None:
    def only(mine: bool) -> Above:
        return Above(
            addons=layers.addons,
            grants={name: one for name, one in layers.grants.items() if not mine or one.feature == feature},
            overrides={name: one for name, one in layers.overrides.items() if not mine or name == feature},
        )

    assert answer(tier, feature, only(mine=True)) == answer(tier, feature, only(mine=False))


@given(ABOVE, st.sampled_from(PLANS), st.sampled_from(FEATURES))
def test_an_upgrade_is_a_higher_plan_that_grants_more_and_the_lowest_of_them(
    layers: Above, tier: str, feature: str
) -> None:
    found = answer(tier, feature, layers)
    higher = [name for name in PLANS if LADDER.ranks[name] > LADDER.ranks[tier]]
    if feature == SWITCH:
        better = [name for name in higher if answer(name, feature).allowed and not found.allowed]
    elif feature == LIMIT:
        offers = {name: answer(name, feature).limit for name in higher}
        better = [
            name for name, limit in offers.items() if found.limit is not None and (limit is None or limit > found.limit)
        ]
    else:
        better = []
    assert found.upgrade_to == (better[0] if better else None)


@pytest.mark.parametrize(
    ("feature", "good", "bad"),
    [
        (LIMIT, [None, 0, 5, 2**53 - 1], [True, -1, 1.5, "5", 2**53]),
        (SWITCH, [True, False], [None, 0, 1, "yes"]),
        (WORD, ["", "x" * 256, 1, 0.5, False, -3], [None, "x" * 257, 2**53, float("nan"), float("inf")]),
    ],
)
def test_a_value_is_of_its_features_kind(feature: str, good: list[Value], bad: list[Value]) -> None:
    for value in good:
        check_value(LADDER.catalogue, feature, value)
    for value in bad:
        with pytest.raises(HubError) as refused:
            check_value(LADDER.catalogue, feature, value)
        assert refused.value.code == "invalid_entitlement"


def test_a_value_of_nothing_known_is_refused() -> None:
    with pytest.raises(HubError) as refused:
        check_value(LADDER.catalogue, "teleport", True)
    assert refused.value.code == "unknown_feature"


def plan(rank: int = 10, **said: Value) -> Plan:
    return Plan(rank=rank, entitlements={LIMIT: 1, SWITCH: True, WORD: "w", **said})


SOUND = catalogue()
BOOLEAN = EntitlementKind.BOOLEAN


@pytest.mark.parametrize(
    ("unsound", "word"),
    [
        (catalogue(plans={}), "1 to 64 plans"),
        (catalogue(plans={f"p{at}": plan(at + 1) for at in range(65)}), "1 to 64 plans"),
        (catalogue(plans={"a": plan(1), "b": plan(1)}), "rank of its own"),
        (catalogue(plans={"a": plan(0)}), "rank of its own"),
        (catalogue(plans={"a": plan(1_000_001)}), "rank of its own"),
        (catalogue(plans={"A b": plan()}), "not a name"),
        (catalogue(plans={"a": plan(teleport=True)}), "teleport"),
        (catalogue(plans={"a": plan(calls="many")}), "whole number"),
        (catalogue(plans={"a": Plan(rank=1, entitlements={LIMIT: 1, SWITCH: True})}), "every plan lists every feature"),
        (catalogue(addons={"a": Addon(entitlements={})}), "says nothing"),
        (catalogue(addons={"a": Addon(entitlements={SWITCH: 3})}), "true or false"),
        (catalogue(addons={"a": Addon(entitlements={"teleport": True})}), "teleport"),
        (catalogue(addons={"a": Addon(entitlements={SWITCH: True}, priority=1_001)}), "priority"),
        (catalogue(addons={f"a{at}": Addon(entitlements={SWITCH: True}) for at in range(129)}), "128 add-ons"),
        (catalogue(features={**SOUND.features, SWITCH: Feature(kind=BOOLEAN, unit="x")}), "neither unit nor period"),
        (catalogue(features={**SOUND.features, SWITCH: Feature(kind=BOOLEAN, soft=True)}), "cannot be soft"),
        (
            catalogue(features={**SOUND.features, LIMIT: Feature(kind=EntitlementKind.METERED, unit="x" * 33)}),
            "too long",
        ),
    ],
)
def test_an_unsound_catalogue_is_refused_with_its_reason(unsound: Catalogue, word: str) -> None:
    with pytest.raises(HubError) as refused:
        check_catalogue(unsound)
    assert refused.value.code == "invalid_plans"
    assert word in refused.value.message


def test_a_sound_one_is_taken() -> None:
    assert check_catalogue(SOUND) is SOUND


def test_a_ladder_knows_the_order_of_plans() -> None:
    assert LADDER.names() == PLANS
    assert (LADDER.rank_of("mid"), LADDER.rank_of("platinum"), LADDER.highest_rank) == (20, None, 30)
    assert [LADDER.tier_at(rank) for rank in (1, 10, 11, 30, 31)] == ["low", "low", "mid", "top", None]


def test_differences_name_each_leaf() -> None:
    after = catalogue(
        plans={**SOUND.plans, "low": plan(11, calls=20, ai=False, model="small"), "new": plan(40)},
        addons={"more": SOUND.addons["more"]},
    )
    assert [(one.action, one.path, one.before, one.after) for one in differences(SOUND, after)] == [
        ("remove", "addons.most.ai", True, None),
        ("remove", "addons.most.calls", 90, None),
        ("remove", "addons.most.priority", 5, None),
        ("change", "plans.low.calls", 10, 20),
        ("change", "plans.low.rank", 10, 11),
        ("add", "plans.new.ai", None, True),
        ("add", "plans.new.calls", None, 1),
        ("add", "plans.new.model", None, "w"),
        ("add", "plans.new.rank", None, 40),
    ]
    assert differences(SOUND, SOUND) == []


def test_one_and_yes_are_not_the_same() -> None:
    before, after = catalogue(plans={"a": plan(model=1)}), catalogue(plans={"a": plan(model=True)})
    assert [one.path for one in differences(before, after)] == ["plans.a.model"]
