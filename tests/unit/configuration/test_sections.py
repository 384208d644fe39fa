"""What may be configured: schemas that are taken, documents that fit them, and what is refused with a hint."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.configuration.folding import Placed, fold
from central_hub.configuration.merging import nested
from central_hub.configuration.sections import Section, Sections
from central_hub.kernel.errors import HubError
from tests.unit.configuration.documents import folded

RISK: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mode": {"type": "string", "enum": ["strict", "loose"]},
        "depth": {"type": "integer", "minimum": 0, "maximum": 9},
        "limits": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
        "hosts": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "free": {"type": "object", "additionalProperties": True},
    },
}
SECTIONS = Sections(lambda: {"features": {"type": "object", "properties": {"advanced_ai": {"type": "boolean"}}}})


def check(document: dict[str, Any]) -> None:
    SECTIONS.check({"risk": RISK}, document)


def refusal(document: dict[str, Any]) -> HubError:
    with pytest.raises(HubError) as refused:
        check(document)
    return refused.value


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"risk": {"mode": "strict", "depth": 3, "limits": {"any": 1.5}}},
        {"risk": {"mode": None, "limits": None}},
        {"risk": None},
        {"risk": {"hosts": [{"name": "a"}], "free": {"x": {"y": [1, "two"]}}}},
        {"$guards": {"lock": ["/risk", "/risk/mode"], "ceiling": {"/risk/depth": 3, "/risk/limits/x": 2}}},
    ],
)
def test_what_the_schemas_describe_is_taken(document: dict[str, Any]) -> None:
    check(document)


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        ({"risks": {}}, "unknown_key", "Did you mean 'risk'?"),
        ({"risk": {"dept": 1}}, "unknown_key", "Did you mean 'depth'?"),
        ({"risk": {"hosts": [{"nam": "a"}]}}, "unknown_key", "/risk/hosts/0/nam"),
        ({"features": {"advanced": True}}, "unknown_key", "Did you mean 'advanced_ai'?"),
        ({"risk": {"depth": 10}}, "invalid_value", "/risk/depth"),
        ({"risk": {"depth": "3"}}, "invalid_value", "/risk/depth"),
        ({"risk": {"mode": "other"}}, "invalid_value", "/risk/mode"),
        ({"risk": {"limits": {"x": -1}}}, "invalid_value", "/risk/limits/x"),
        ({"risk": {"mode": {}}}, "invalid_value", "/risk/mode"),
        ({"risk": 3}, "invalid_value", "/risk"),
        ({"$guards": {"lock": ["/risky"]}}, "unknown_key", "Did you mean 'risk'?"),
        ({"$guards": {"ceiling": {"/risk/mode": 1}}}, "invalid_guard", "no number"),
    ],
)
def test_what_they_do_not_is_refused_with_the_place(document: dict[str, Any], code: str, words: str) -> None:
    refused = refusal(document)
    assert refused.code == code
    assert words in refused.message


def test_every_place_that_is_wrong_is_named() -> None:
    errors: Any = refusal({"risk": {"depth": 99, "mode": "x"}}).fields["errors"]
    assert {error["path"] for error in errors} == {"/risk/depth", "/risk/mode"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "is a section"),
        ({"type": "object", "properties": {"a": {}}}, "has no type"),
        ({"type": "object", "properties": {"a": {"type": ["string", "null"]}}}, "has no type"),
        ({"type": "object", "required": ["a"]}, "'required'"),
        ({"type": "object", "properties": {"a": {"$ref": "http://203.0.113.1/schema"}}}, "has no type"),
        ({"type": "object", "properties": {"a": {"type": "string", "$ref": "file:///etc/passwd"}}}, "'$ref'"),
        ({"type": "object", "oneOf": [{"type": "object"}]}, "'oneOf'"),
        ({"type": "object", "$schema": "http://203.0.113.1/dialect"}, "dialect"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}}, "refused"),
        ({"type": "object", "properties": {"a": {"type": "integer", "minimum": "x"}}}, "refused"),
        ({"type": "object", "properties": 3}, "is not an object"),
    ],
)
def test_a_schema_that_says_more_than_what_a_value_may_be_is_refused(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(HubError) as refused:
        Section("risk", schema)
    assert refused.value.code == "invalid_schema"
    assert words in refused.value.message


def test_a_schema_is_no_deeper_or_larger_than_it_may() -> None:
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(20):
        deep = {"type": "object", "properties": {"a": deep}}
    wide = {"type": "object", "properties": {f"key-{at}": {"type": "integer"} for at in range(4_000)}}
    for schema in (deep, wide):
        with pytest.raises(HubError, match="invalid_schema"):
            Section("risk", schema)


@pytest.mark.timing
def test_a_pattern_takes_time_in_proportion_to_the_text() -> None:
    section = Section("risk", {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})
    begun = time.perf_counter()
    with pytest.raises(HubError):
        section.check(["risk"], {"a": "a" * 20_000 + "b"})
    assert time.perf_counter() - begun < 0.5


PARTS = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.none() | st.sampled_from(["strict", "loose"]),
        "depth": st.none() | st.integers(0, 9),
        "limits": st.none() | st.dictionaries(st.sampled_from(["x", "y"]), st.none() | st.integers(0, 5), max_size=2),
    },
)


@given(st.lists(PARTS, max_size=5))
def test_what_is_valid_in_every_layer_is_valid_in_what_they_fold_to(parts: list[dict[str, Any]]) -> None:
    documents = [{"risk": part} for part in parts]
    for document in documents:
        check(document)
    check(nested(fold([Placed(folded(document), own=False) for document in documents], {})))
