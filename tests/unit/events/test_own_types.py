"""A tenant's own types: described in versions, and what is published held against them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.events.describing import Wanted
from central_hub.events.model import (
    DATA_ERRORS_MAX,
    SCHEMA_BYTES_MAX,
    SCHEMA_DEPTH_MAX,
    SCHEMA_NODES_MAX,
    SCHEMA_WORDS_MAX,
    Compatibility,
    UnknownTypes,
)
from central_hub.events.validating import checked
from central_hub.kernel.errors import HubError
from tests.unit.events.house import ACME, House, caller, event, opened

TYPE = "com.acme.placed"
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["symbol"],
    "properties": {
        "symbol": {"$ref": "#/$defs/symbol"},
        "legs": {"type": "array", "items": {"$ref": "#/$defs/symbol"}},
    },
    "$defs": {"symbol": {"type": "string", "pattern": "^[A-Z]{3,12}$"}},
}


async def describe(house: House, schema: object = SCHEMA, name: str = TYPE, **more: Any) -> tuple[int, bool]:
    return await house.own.describe(caller(), ACME, Wanted(type=name, schema=schema, **more))


async def refused(house: House, *events: dict[str, object]) -> HubError:
    count = len(house.log.records)
    with pytest.raises(HubError) as caught:
        await house.publish(*events)
    assert len(house.log.records) == count
    return caught.value


async def test_what_is_published_is_of_its_type_or_refused_whole() -> None:
    async with opened() as house:
        await house.publish(event(1, data={"symbol": 17}))
        assert await describe(house) == (1, True)
        await house.publish(event(2, data={"symbol": "EURUSD", "legs": ["EUR"]}))
        found = await refused(house, event(3, data={"symbol": "EUR"}), event(4, data={"symbol": "x", "legs": ["y"]}))
        assert (found.code, found.fields["index"], found.fields["version"]) == ("invalid_event_data", 1, 1)
        assert {one["path"] for one in found.fields["errors"]} == {"/symbol", "/legs/0"}
        assert "'x'" not in found.message
        for bad in (event(5), event(6, data_base64="e30="), event(7, data=None)):
            assert (await refused(house, bad)).code == "invalid_event_data"
        await house.publish(event(8, type="com.acme.other", data=17))


async def test_what_another_tenant_describes_is_its_own() -> None:
    async with opened() as house:
        await describe(house)
        await house.publish(event(1, data={"symbol": 17}), ctx=caller("globex"))


async def test_a_new_version_keeps_its_word_and_the_same_again_is_none() -> None:
    async with opened() as house:
        assert await describe(house) == (1, True)
        assert await describe(house) == (1, False)
        wider = {**SCHEMA, "properties": {**SCHEMA["properties"], "note": {"type": "string"}}}
        assert await house.own.describe(caller(), ACME, Wanted(type=TYPE, schema=wider), dry_run=True) == (2, True)
        assert len(house.view.types(ACME)[TYPE]) == 1
        assert await describe(house, wider) == (2, True)
        stricter = {**wider, "required": ["symbol", "note"]}
        with pytest.raises(HubError, match="incompatible_schema"):
            await describe(house, stricter)
        assert await describe(house, stricter, compatibility=Compatibility.NONE) == (3, True)


async def test_an_event_may_name_the_version_that_it_is_of() -> None:
    async with opened() as house:
        await describe(house, {"type": "integer"}, compatibility=Compatibility.NONE)
        await describe(house, {"type": "string"}, compatibility=Compatibility.NONE)
        of_first = f"https://hub.example/events/types/{TYPE}/schema?version=1"
        await house.publish(event(1, data=5, dataschema=of_first), event(2, data="x"))
        await house.publish(event(3, data="x", dataschema="https://schemas.example/placed"))
        assert (await refused(house, event(4, data=5))).fields["version"] == 2
        assert (await refused(house, event(5, data="x", dataschema=of_first))).fields["version"] == 1
        assert "not kept" in (await refused(house, event(6, data=5, dataschema=of_first[:-1] + "9"))).message


async def test_types_that_nobody_described_are_allowed_unless_they_are_refused() -> None:
    async with opened() as house:
        await describe(house, {})
        await house.own.set_policy(caller(), ACME, UnknownTypes.REFUSED)
        await house.own.set_policy(caller(), ACME, UnknownTypes.REFUSED)
        assert [one.type for one in house.log.records].count("EventTypesPolicySet") == 1
        found = await refused(house, event(1), event(2, type="com.acme.plcaed"))
        assert (found.code, found.fields["index"]) == ("undescribed_event_type", 1)
        assert f"Did you mean '{TYPE}'?" in found.message
        await house.publish(event(3))
        await house.own.retire(caller(), ACME, TYPE)
        await house.own.retire(caller(), ACME, TYPE)
        assert (await refused(house, event(4))).code == "undescribed_event_type"
        await house.own.set_policy(caller(), ACME, UnknownTypes.ALLOWED)
        await house.publish(event(5))


def nested(depth: int) -> dict[str, Any]:
    return {} if depth == 0 else {"items": nested(depth - 1)}


def doubling(depth: int) -> dict[str, Any]:
    """A schema that is small as it is written, and grows twofold with every reference."""
    made = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": {**made, f"d{depth}": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ([], "object"), ({"$ref": "https://x.example/y"}, "outside '$defs'"), ({"$ref": "#"}, "outside '$defs'"),
        ({"$ref": "file:///etc/passwd"}, "outside '$defs'"), ({"$ref": "#/$defs/x"}, "does not have"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "refers to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "refers to itself"),
        (doubling(12), f"more than {SCHEMA_NODES_MAX}"), (nested(SCHEMA_DEPTH_MAX + 1), "nested deeper"),
        ({"enum": list(range(SCHEMA_WORDS_MAX + 1))}, "hold more than"), ({"title": "x" * SCHEMA_BYTES_MAX}, "bytes"),
        ({"propertes": {}}, "did you mean 'properties'"), ({"$dynamicRef": "#x"}, "not taken"),
        ({"properties": []}, "not an object"), ({"allOf": {}}, "not a list"), ({"items": 1}, "neither an object"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "dialect"), ({"type": "text"}, "refused"),
        ({"pattern": "("}, "refused"),
        ({"$ref": "#/$defs/a", "type": "string", "$defs": {"a": {}}}, "beside its '$ref'"),
        ({"$defs": []}, "$defs is not an object"), ({"pattern": "(a{1,1000}){1,1000}"}, "refused"),
    ],
)  # fmt: skip
def test_what_is_no_schema_here(schema: object, word: str) -> None:
    with pytest.raises(HubError, match="invalid_event_schema") as refused:
        checked(schema)
    assert word in refused.value.message


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)), lambda inner: st.one_of(
    st.lists(inner, max_size=3),
    st.dictionaries(st.sampled_from(["type", "$ref", "$defs", "properties", "items", "allOf", "enum", "x"]), inner),
), max_leaves=8))  # fmt: skip
def test_anything_at_all_is_a_schema_or_refused_as_one(anything: object) -> None:
    with contextlib.suppress(HubError):  # anything else would be a fault of ours
        text, plain = checked(anything)
        assert (text != b"", isinstance(plain, dict)) == (True, True)


async def test_faults_are_named_up_to_a_number() -> None:
    async with opened() as house:
        await describe(house, {"type": "array", "items": {"type": "string"}})
        found = await refused(house, event(1, data=list(range(50))))
        assert len(found.fields["errors"]) == DATA_ERRORS_MAX
