"""Compatibility of schemas: what is said to be readable is, whatever the documents."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.events.model import (
    OWN_TYPES_MAX,
    SCHEMAS_BYTES_MAX,
    Compatibility,
    EventTypeRegistered,
    TypeVersion,
)
from central_hub.events.rules import check_compatible, check_name, differences, register, retire
from central_hub.events.view import EventsView
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import Fact
from tests.unit.events.house import ACME
from tests.unit.flags.support import applied

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 12), st.sampled_from(["", "x", "yy", "zzz"]))


def _bounded(kind: str, low: str, high: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind)}, optional={low: st.integers(0, 4), high: st.integers(0, 9)})


LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.booleans(),
    st.just({}),
    _bounded("integer", "minimum", "maximum"),
    _bounded("number", "exclusiveMinimum", "maximum"),
    _bounded("string", "minLength", "maxLength"),
    st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, SCALARS),
    st.sampled_from([{"type": ["string", "null"]}, {"type": "boolean"}, {"type": "null"}]),
    st.builds(lambda one: {"not": {"type": one}}, st.sampled_from(["string", "integer"])),
)
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)},
            optional={"required": st.lists(NAMES, max_size=2, unique=True), "additionalProperties": st.booleans()},
        ),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"maxItems": st.integers(0, 3)}),
    ),
    max_leaves=4,
)
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)


def valid(schema: Any, document: Any) -> bool:
    return jsonschema_rs.Draft202012Validator(schema).is_valid(document)


def named(schema: Any, document: Any) -> bool:
    """Say whether a document has only members that its schema names: others are not counted on."""
    if not isinstance(schema, dict):
        return not isinstance(document, dict | list) or not document
    if isinstance(document, dict):
        known = schema.get("properties", {})
        return all(name in known and named(known[name], value) for name, value in document.items())
    if isinstance(document, list):
        return all(named(schema.get("items", True), value) for value in document)
    return True


@given(SCHEMAS, SCHEMAS, st.lists(DOCUMENTS, min_size=8, max_size=24))
def test_what_is_readable_by_the_rules_is_readable(reader: Any, writer: Any, documents: list[Any]) -> None:
    if not list(differences(reader, writer)):
        for document in documents:
            assert not (valid(writer, document) and named(writer, document)) or valid(reader, document), document


@given(SCHEMAS)
def test_a_schema_reads_what_it_wrote(schema: Any) -> None:
    assert list(differences(schema, msgspec.json.decode(msgspec.json.encode(schema)))) == []


OLD = {
    "type": "object", "required": ["symbol"],
    "properties": {"symbol": {"type": "string", "maxLength": 12}, "side": {"enum": ["buy", "sell"]}},
}  # fmt: skip


def changed(**properties: Any) -> dict[str, Any]:
    return {**OLD, "properties": {**OLD["properties"], **properties}}


@pytest.mark.parametrize(
    ("new", "backward", "forward"),
    [
        (OLD, True, True),
        (changed(note={"type": "string"}), True, True),
        ({**OLD, "required": ["symbol", "side"]}, False, True),
        ({**OLD, "required": []}, True, False),
        (changed(side={"enum": ["buy", "sell", "short"]}), True, False),
        (changed(side={"enum": ["buy"]}), False, True),
        (changed(symbol={"type": "integer"}), False, False),
        (changed(symbol={"type": "string", "maxLength": 20}), True, False),
        ({**OLD, "additionalProperties": False}, True, True),
        ({**changed(note={"type": "string"}), "additionalProperties": False}, True, True),
    ],
)
def test_usual_changes(new: dict[str, Any], backward: bool, forward: bool) -> None:
    assert (not list(differences(new, OLD)), not list(differences(OLD, new))) == (backward, forward)
    before = (TypeVersion(version=1, schema=b"", compatibility=Compatibility.FULL),)
    for promise, kept in (
        (Compatibility.BACKWARD, backward), (Compatibility.FORWARD, forward),
        (Compatibility.FULL, backward and forward), (Compatibility.NONE, True),
    ):  # fmt: skip
        if kept:
            check_compatible(promise, before, {1: OLD}, new)
        else:
            with pytest.raises(HubError, match="incompatible_schema"):
                check_compatible(promise, before, {1: OLD}, new)


def test_a_closed_reader_takes_no_member_that_it_does_not_name() -> None:
    closed = {**OLD, "additionalProperties": False}
    assert [path for path, _ in differences(closed, changed(note={"type": "string"}))] == ["/note"]


def test_a_promise_is_to_every_version_and_not_just_to_the_last() -> None:
    strict = {**OLD, "required": ["symbol", "side"]}
    versions = tuple(TypeVersion(version=at, schema=b"", compatibility=Compatibility.NONE) for at in (1, 2))
    with pytest.raises(HubError) as refused:
        check_compatible(Compatibility.BACKWARD, versions, {1: OLD, 2: strict}, strict)
    assert {reason["version"] for reason in refused.value.fields["reasons"]} == {1}
    assert refused.value.fields["reasons"][0]["path"] == "/side"


@pytest.mark.parametrize("name", ["", "a b", "1x", ".a", "x" * 129, "io.centralhub.mine.v1", "a..b"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(HubError, match="invalid_event_type"):
        check_name(name)


def fold(view: EventsView, *facts: Fact) -> None:
    for at, fact in enumerate(facts, start=1):
        view.apply(applied(ACME, fact, at))


def described(name: str, text: bytes = b"{}", version: int = 1) -> EventTypeRegistered:
    return EventTypeRegistered(type=name, version=version, schema=text)


def test_saying_the_same_again_is_no_new_version() -> None:
    view = EventsView()
    fold(view, described("com.a"))
    assert register(view, ACME, described("com.a", version=0), {1: {}}, {}) is None
    other = register(view, ACME, described("com.a", b'{"type":"object"}', version=0), {1: {"type": "object"}}, {})
    assert other is not None
    assert other.version == 2
    assert retire(view, ACME, "com.b") is None
    assert retire(view, ACME, "com.a") is not None


def test_a_tenant_describes_so_many_types_of_so_many_bytes() -> None:
    view = EventsView()
    fold(view, *(described(f"com.a{at}") for at in range(OWN_TYPES_MAX)))
    with pytest.raises(HubError, match="limit_reached"):
        register(view, ACME, described("com.b"), {}, {})
    assert register(view, ACME, described("com.a0", b'{"title":"x"}'), {1: {}}, {}) is not None
    full = EventsView()
    fold(full, described("com.a", b"x" * (SCHEMAS_BYTES_MAX - 1)))
    with pytest.raises(HubError, match="limit_reached"):
        register(full, ACME, described("com.b"), {}, {})
