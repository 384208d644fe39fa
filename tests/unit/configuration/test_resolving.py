"""Sharing and moving: what is resolved in steps is what folding everything anew gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from central_hub.configuration.folding import Placed, differ, fold
from central_hub.configuration.merging import encoded, nested
from central_hub.configuration.model import OWN_PLACES
from central_hub.configuration.resolving import NO_OWN, Resolved, Stack, moved, resolve
from tests.unit.configuration.documents import folded, layer_lists, placed


def split(documents: list[dict[str, Any]]) -> tuple[Stack, Any, dict[str, Any]]:
    """Return a stack, a tenant's own layers, and all leaves folded at once."""
    layers = placed(documents)
    granted = {} if layers[0].layer is None else layers[0].layer.leaves
    platform = tuple(Placed(None, own=False) if own else Placed(layer, own=False) for layer, own in layers)
    own = tuple(layers[place + 1].layer for place in OWN_PLACES)
    return Stack("pro", platform, granted), own, fold(layers, granted)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return encoded(one) == encoded(other)


@given(layer_lists())
def test_a_stack_with_an_overlay_is_what_all_layers_fold_to(documents: list[dict[str, Any]]) -> None:
    stack, own, whole = split(documents)
    assert same(resolve(stack, own).leaves, whole)


@given(layer_lists(mixed=False), st.data())
def test_moving_to_another_stack_is_resolving_anew(documents: list[dict[str, Any]], data: st.DataObject) -> None:
    stack, own, _ = split(documents)
    other = data.draw(layer_lists(mixed=False))
    changed = list(documents)
    for place in data.draw(st.lists(st.integers(0, len(documents) - 1), max_size=4)):
        if place - 1 not in OWN_PLACES:
            changed[place] = other[place]
    after, _, whole = split(changed)
    before = resolve(stack, own)
    now = moved(before, after)
    assert same(now.leaves, whole)
    differs = not same(before.leaves, now.leaves)
    assert now.differs(before) == differs
    assert before.differs(before) is False


@given(layer_lists(mixed=False), layer_lists(mixed=False))
def test_a_tenant_that_changes_its_own_layers_differs_exactly_if_its_value_does(
    documents: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    stack, own, _ = split(documents)
    _, more, _ = split(others)
    before, now = resolve(stack, own), resolve(stack, more)
    assert now.differs(before) == (not same(before.leaves, now.leaves))


def test_entity_tags_follow_the_value_and_not_the_way_to_it() -> None:
    plan, tenant = {"a": 9, "b": {"c": 1}}, {"b": {"c": 0}}
    stack, own, _ = split([plan, {}, {}, tenant, *[{}] * 9])
    other, _, _ = split([plan, tenant, *[{}] * 11])
    assert resolve(stack, own).etag == Resolved(other, NO_OWN, {}).etag
    assert resolve(stack, own).etag != Resolved(stack, NO_OWN, {}).etag
    assert Resolved(stack, NO_OWN, {}).config == b'{"a":9,"b":{"c":1}}'


def test_a_leaf_is_found_by_its_pointer() -> None:
    stack, own, _ = split([{"a": 9, "b": True}, {}, {}, {"a": 3}, *[{}] * 9])
    value = resolve(stack, own)
    assert (value.at("/a"), value.at("/b")) == (3, True)
    assert nested(value.leaves) == {"a": 3, "b": True}


def test_true_is_not_one() -> None:
    assert differ(True, 1)
    assert differ(1, 1.0)
    assert differ([True], [1])
    assert not differ([1, "x"], [1, "x"])
    assert folded({}) is None


@given(layer_lists(mixed=False))
def test_a_document_that_shares_parts_is_the_one_put_together_from_leaves(documents: list[dict[str, Any]]) -> None:
    stack, own, whole = split(documents)
    before = encoded(stack.document)
    value = resolve(stack, own)
    assert value.config == encoded(nested(whole))
    assert encoded(stack.document) == before
