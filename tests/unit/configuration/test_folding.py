"""How layers make the effective value: rank, deletes, locks, bounds, types, and what a plan grants."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from central_hub.configuration.folding import ABSENT, Placed, fold, trace
from central_hub.configuration.merging import flattened, merge_patch, nested
from central_hub.configuration.model import GUARDS
from tests.unit.configuration.documents import documents, folded, layer_lists, placed


def effective(*given_documents: dict[str, Any], own: int = -1) -> dict[str, Any]:
    layers = [Placed(folded(document), own=at == own) for at, document in enumerate(given_documents)]
    return nested(fold(layers, {}))


def _pruned(document: dict[str, Any]) -> dict[str, Any]:
    return nested({path: value for path, value in flattened(document).items() if value is not None})


@given(documents(deletes=False), documents(), documents())
def test_layers_fold_as_merge_patches_one_after_another(one: Any, two: Any, three: Any) -> None:
    assert effective(one, two, three) == _pruned(merge_patch(merge_patch(one, two), three))


@given(documents(), documents())
def test_an_empty_layer_anywhere_changes_nothing(one: Any, two: Any) -> None:
    assert effective({}, one, {}, two, {}) == effective(one, two)


@given(documents(), documents())
def test_a_layer_twice_is_a_layer_once(one: Any, two: Any) -> None:
    assert effective(one, two, two) == effective(one, two)


@given(documents(deletes=False), documents(deletes=False))
def test_the_later_layer_wins_wherever_it_says_something(one: Any, two: Any) -> None:
    found = flattened(effective(one, two))
    assert all(found[path] == value for path, value in flattened(two).items())


@given(layer_lists())
def test_whatever_layers_say_nothing_is_above_what_the_plan_grants(given_documents: list[dict[str, Any]]) -> None:
    layers = placed(given_documents)
    granted = {} if layers[0].layer is None else layers[0].layer.leaves
    values = fold(layers, granted)
    for path, grant in granted.items():
        assert path in values
        if isinstance(grant, int | float):
            assert values[path] <= grant
        else:
            assert values[path] == grant


def test_null_takes_away_what_is_below_it() -> None:
    assert effective({"a": {"b": 1, "c": {"d": 2}}, "e": 3}, {"a": None}) == {"e": 3}
    assert effective({"a": {"b": 1}}, {"a": None}, {"a": {"c": 2}}) == {"a": {"c": 2}}


def test_a_lock_keeps_what_is_there_and_all_below() -> None:
    locked = {"a": {"b": 1}, GUARDS: {"lock": ["/a"]}}
    assert effective(locked, {"a": {"b": 2, "c": 3}}, {"a": None}) == {"a": {"b": 1}}


def test_a_ceiling_bounds_later_layers_and_not_its_own() -> None:
    bounded = {"a": 20, GUARDS: {"ceiling": {"/a": 10}, "floor": {"/a": 5}}}
    assert effective(bounded) == {"a": 20}
    assert effective(bounded, {"a": 11}) == {"a": 10}
    assert effective(bounded, {"a": 7}) == {"a": 7}
    assert effective(bounded, {"a": 1}) == {"a": 5}
    assert effective({GUARDS: {"floor": {"/a": 9}}}, {GUARDS: {"ceiling": {"/a": 3}}}, {"a": 5}) == {"a": 3}


def test_a_type_stays_what_the_first_layer_made_it() -> None:
    assert effective({"a": 1}, {"a": "x"}) == {"a": 1}
    assert effective({"a": True}, {"a": 1}) == {"a": True}
    assert effective({"a": 1}, {"a": 2.5}) == {"a": 2.5}
    assert effective({"a": 1}, {"a": {"b": 2}}) == {"a": 1}
    assert effective({"a": 1}, {"a": None}, {"a": "x"}) == {}


def test_a_tenants_guards_bind_its_own_later_layers_only() -> None:
    own = Placed(folded({"a": 5, GUARDS: {"lock": ["/a"], "ceiling": {"/b": 3}}}), own=True)
    service = Placed(folded({"a": 9, "b": 9}), own=False)
    combination = Placed(folded({"a": 7, "b": 8}), own=True)
    assert fold([own, service], {}) == {"/a": 9, "/b": 9}
    assert fold([own, combination], {}) == {"/a": 5, "/b": 3}


def test_a_trace_names_the_layer_and_what_binds_it() -> None:
    layers = [
        Placed(folded({"a": 10}), own=False),
        Placed(folded({"a": 50, GUARDS: {"lock": ["/a"]}}), own=False),
        Placed(folded({"a": 3}), own=True),
    ]
    found = trace("/a", layers, {"/a": 10})
    assert (found.value, found.place, found.locked_by, found.limited_by) == (10, 1, 1, 0)
    assert trace("/b", layers, {}).value is ABSENT
