"""Documents taken apart and put together; the examples of RFC 7396 and RFC 6902."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.configuration.merging import (
    difference,
    encoded,
    flattened,
    json_patch,
    merge_patch,
    nested,
    parts_of,
    pointer,
)
from central_hub.kernel.errors import HubError
from tests.unit.configuration.documents import documents

# RFC 7396, appendix A.
MERGES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "merged"), MERGES)
def test_a_merge_patch_does_what_the_standard_says(target: Any, patch: Any, merged: Any) -> None:
    assert merge_patch(target, patch) == merged


# RFC 6902, appendix A.
PATCHES: list[tuple[Any, list[dict[str, Any]], Any]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    ({"foo": ["all", "grass", "cows", "eat"]}, [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
     {"foo": ["all", "cows", "eat", "grass"]}),
    ({"baz": "qux", "foo": ["a", 2, "c"]},
     [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
     {"baz": "qux", "foo": ["a", 2, "c"]}),
    ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
     {"foo": "bar", "child": {"grandchild": {}}}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}], {"foo": ["bar", ["abc", "def"]]}),
    ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(("target", "operations", "patched"), PATCHES)
def test_a_json_patch_does_what_the_standard_says(target: Any, operations: Any, patched: Any) -> None:
    before = encoded(target)
    assert json_patch(target, operations) == patched
    assert encoded(target) == before


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "test", "path": "/baz", "value": "bar"}, "patch_test_failed"),
        ({"op": "test", "path": "/one", "value": True}, "patch_test_failed"),
        ({"op": "add", "path": "/no/where", "value": 1}, "invalid_patch"),
        ({"op": "remove", "path": "/nothing"}, "invalid_patch"),
        ({"op": "remove", "path": ""}, "invalid_patch"),
        ({"op": "replace", "path": "/nothing", "value": 1}, "invalid_patch"),
        ({"op": "add", "path": "/list/3", "value": 1}, "invalid_patch"),
        ({"op": "add", "path": "/list/01", "value": 1}, "invalid_patch"),
        ({"op": "add", "path": "baz", "value": 1}, "invalid_patch"),
        ({"op": "add", "path": "/baz/x", "value": 1}, "invalid_patch"),
        ({"op": "add", "path": "/x"}, "invalid_patch"),
        ({"op": "move", "path": "/o/p/q", "from": "/o/p"}, "invalid_patch"),
        ({"op": "move", "path": "/x"}, "invalid_patch"),
        ({"op": "swap", "path": "/baz"}, "invalid_patch"),
        ({"op": "add"}, "invalid_patch"),
    ],
)
def test_what_cannot_be_done_is_refused_whole(operation: dict[str, Any], code: str) -> None:
    document = {"baz": "qux", "one": 1, "list": [1, 2], "o": {"p": {}}}
    with pytest.raises(HubError) as refused:
        json_patch(document, [{"op": "add", "path": "/new", "value": 1}, operation])
    assert refused.value.code == code
    assert document == {"baz": "qux", "one": 1, "list": [1, 2], "o": {"p": {}}}


@given(documents(deletes=False))
def test_merging_nothing_changes_nothing_and_merging_itself_neither(document: dict[str, Any]) -> None:
    assert merge_patch(document, {}) == document
    assert merge_patch(document, document) == document


@given(documents(deletes=False), documents())
def test_the_same_patch_twice_is_the_patch_once(document: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


def _without_empty(document: Any) -> Any:
    if not isinstance(document, dict):
        return document
    kept = {key: _without_empty(value) for key, value in document.items()}
    return {key: value for key, value in kept.items() if value != {}}


@given(documents(deletes=False))
def test_leaves_put_together_are_the_document(document: dict[str, Any]) -> None:
    assert nested(flattened(document)) == _without_empty(document)


@given(documents(deletes=False), documents(deletes=False))
def test_a_difference_is_empty_exactly_when_nothing_differs(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = encoded(_without_empty(one)) == encoded(_without_empty(other))
    assert (difference(one, other) == []) == same


@given(st.lists(st.text(max_size=4), max_size=4))
def test_a_pointer_leads_back_to_its_path(parts: list[str]) -> None:
    assert parts_of(pointer(parts)) == parts
