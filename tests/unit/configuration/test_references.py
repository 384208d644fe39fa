"""References to secrets in documents: leaves like a text, held against what is there, never a value."""

from __future__ import annotations

from typing import Any

import pytest

from central_hub.configuration.folding import compiled, kind_of
from central_hub.configuration.merging import altered, difference, encoded, flattened, merge_patch, nested
from central_hub.configuration.model import GLOBAL, Layer
from central_hub.configuration.references import references
from central_hub.configuration.rules import check_document
from central_hub.configuration.sections import Section
from central_hub.configuration.usecases import Wish
from central_hub.kernel.errors import HubError
from tests.unit.configuration.support import OPERATOR, House, opened

REFERENCE = {"$secret": "db/password"}
SCHEMA = {
    "type": "object",
    "properties": {
        "password": {"type": "string", "x-hub-secret": True},
        "url": {"type": "string"},
        "port": {"type": "integer"},
        "hosts": {"type": "array", "items": {"type": "string"}},
        "any": {"type": "object", "additionalProperties": True},
    },
}
ACME = Layer(tenant="acme")


def refused(schema: Any, document: Any) -> str:
    section = Section("database", schema)
    with pytest.raises(HubError) as error:
        section.check(["database"], document)
    return error.value.code


def test_a_reference_is_a_leaf() -> None:
    document = {"database": {"password": REFERENCE, "url": "db"}}
    leaves = flattened(document)
    assert leaves == {"/database/password": REFERENCE, "/database/url": "db"}
    assert nested(leaves) == document
    assert references(document) == {"/database/password": "db/password"}
    assert kind_of(REFERENCE) == kind_of("text")
    other = {"$secret": "db/other"}
    assert altered(document, {"/database/password": other})["database"]["password"] == other
    changes = difference(document, {"database": {"password": other, "url": "db"}})
    assert changes == [{"path": "/database/password", "before": REFERENCE, "after": other}]
    assert merge_patch(document, {"database": {"password": "literal"}})["database"]["password"] == "literal"
    folded = compiled(encoded(document))
    assert folded is not None
    assert folded.leaves["/database/password"] == REFERENCE


@pytest.mark.parametrize(
    "document",
    [
        {"a": {"$secret": "../etc"}},
        {"a": {"$secret": ""}},
        {"a": {"$secret": 7}},
        {"a": {"$secret": None}},
        {"a": {"$secret": "b", "c": 1}},
        {"a": [{"$secret": "b"}]},
        {"a": [[{"$secret": "b"}]]},
        {"a": [{"b": {"$secret": "c"}}]},
        {"$secret": "a"},
    ],
)
def test_what_looks_like_a_reference_and_is_none_is_refused(document: Any) -> None:
    with pytest.raises(HubError) as error:
        check_document(document)
    assert error.value.code == "invalid_document"


def test_a_section_takes_references_where_it_takes_text() -> None:
    section = Section("database", SCHEMA)
    section.check(["database"], {"password": REFERENCE, "url": REFERENCE, "any": {"thing": REFERENCE}})
    section.check(["database"], {"password": None})
    assert refused(SCHEMA, {"port": REFERENCE}) == "invalid_value"
    assert refused(SCHEMA, {"hosts": REFERENCE}) == "invalid_value"


def test_a_literal_where_a_secret_belongs_is_refused_and_not_repeated() -> None:
    for value in ("hunter2", 7, ["hunter2"]):
        with pytest.raises(HubError) as error:
            Section("database", SCHEMA).check(["database"], {"password": value})
        assert error.value.code == "secret_literal"
        assert "hunter2" not in f"{error.value} {dict(error.value.fields)}"


def test_a_value_that_a_schema_refuses_is_not_repeated() -> None:
    with pytest.raises(HubError) as error:
        Section("database", SCHEMA).check(["database"], {"port": "hunter2"})
    assert error.value.code == "invalid_value"
    assert "hunter2" not in f"{error.value} {dict(error.value.fields)}"


def test_only_text_is_marked_a_secret() -> None:
    for inner in ({"type": "integer", "x-hub-secret": True}, {"type": "string", "x-hub-secret": "yes"}):
        with pytest.raises(HubError) as error:
            Section("a", {"type": "object", "properties": {"b": inner}})
        assert error.value.code == "invalid_schema"


async def furnished(house: House) -> None:
    await house.configuration.describe(OPERATOR, "database", SCHEMA)


async def test_a_reference_goes_through_the_layers_as_it_is() -> None:
    async with opened() as house:
        await furnished(house)
        await house.patch(GLOBAL, {"database": {"password": {"$secret": "stripe/key"}, "url": "db.all"}})
        await house.patch(ACME, {"database": {"password": REFERENCE, "url": REFERENCE}})
        assert house.leaves("acme")["/database/password"] == REFERENCE
        assert house.leaves("acme")["/database/url"] == REFERENCE, "a reference stands where a text stood"
        assert house.leaves("globex")["/database/password"] == {"$secret": "stripe/key"}
        await house.patch(ACME, {"database": {"url": "db.acme"}})
        assert house.leaves("acme")["/database/url"] == "db.acme"


async def test_a_reference_that_leads_nowhere_is_refused_with_the_nearest_that_does() -> None:
    async with opened() as house:
        await furnished(house)
        for layer, path, hint in (
            (ACME, "db/pasword", "Did you mean 'db/password'?"),
            (GLOBAL, "db/password", ""),
            (Layer(tenant="globex"), "db/password", ""),
        ):
            with pytest.raises(HubError) as error:
                await house.patch(layer, {"database": {"password": {"$secret": path}}})
            assert error.value.code == "unknown_secret"
            assert hint in error.value.message
            assert ("Did you mean" in error.value.message) == bool(hint)


async def test_what_was_deleted_later_hinders_nothing_else() -> None:
    async with opened() as house:
        await furnished(house)
        await house.patch(ACME, {"database": {"password": REFERENCE}})
        await house.patch(ACME, {"database": {"password": None, "url": "x"}})
        house.secrets.paths["acme"].clear()
        wish = house.configuration.restoring(ACME, 1, "*")
        await house.configuration.change(OPERATOR, [wish])  # to go back is always possible
        assert house.leaves("acme")["/database/password"] == REFERENCE
        await house.patch(ACME, {"database": {"port": 1}})
        with pytest.raises(HubError):  # elsewhere it would be new
            await house.patch(ACME, {"database": {"url": REFERENCE}})


async def test_an_import_may_refer_to_what_is_put_afterwards() -> None:
    async with opened() as house:
        await furnished(house)
        wish = Wish(
            layer=Layer(tenant="globex"),
            if_match="*",
            edit=lambda _: {"database": {"password": REFERENCE}},
            unresolved=True,
        )
        await house.configuration.change(OPERATOR, [wish])
        assert house.leaves("globex")["/database/password"] == REFERENCE
