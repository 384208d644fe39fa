"""Tenants' schemas: what may stand in one, and events' data held against them.

A schema is a tree: references within it are put in their place, once each, so that what it costs to hold data against
it has a bound. Nothing outside a schema is referred to.
"""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn, cast

import jsonschema_rs
import msgspec

from central_hub.events.model import (
    DATA_ERRORS_MAX,
    SCHEMA_BYTES_MAX,
    SCHEMA_DEPTH_MAX,
    SCHEMA_NODES_MAX,
    SCHEMA_WORDS_MAX,
    VALIDATORS_KEPT_MAX,
    EventPublished,
    TypeVersion,
    UnknownTypes,
)
from central_hub.events.rules import Schema
from central_hub.events.view import EventsView
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEFINITIONS: Final = "#/$defs/"
MASK: Final = "the value"
"""What is said for a value that a schema refuses: answers and logs do not repeat data."""

NOTES: Final = frozenset(
    {"title", "description", "examples", "default", "deprecated", "readOnly", "writeOnly", "$comment"}
)
PLAIN: Final = frozenset(
    {
        "type", "enum", "const", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
        "minLength", "maxLength", "pattern", "format", "required", "dependentRequired", "minProperties",
        "maxProperties", "minItems", "maxItems", "uniqueItems", "minContains", "maxContains",
    }
)  # fmt: skip
ONE: Final = frozenset({"additionalProperties", "propertyNames", "items", "contains", "not", "if", "then", "else"})
"""Words whose value is a schema."""
LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
NAMED: Final = frozenset({"properties", "patternProperties"})
WORDS: Final = NOTES | PLAIN | ONE | LISTS | NAMED | {"$ref"}

_VERSION: Final = re.compile(r"/events/types/(.+)/schema\?version=([0-9]{1,9})\Z")


class Validating:
    """Holds the data of events against their tenant's own types.

    Args:
        view: what tenants say.
    """

    def __init__(self, view: EventsView) -> None:
        self._view = view
        self._compiled: OrderedDict[tuple[DomainId, str, int], tuple[bytes, Any]] = OrderedDict()  # Any: no stub
        self.refused = 0

    def check(self, domain: DomainId, fact: EventPublished, where: int) -> None:
        """Refuse an event whose data is not of its type, or of a type that is not known where that is asked for.

        Args:
            domain: whose event it is.
            fact: it.
            where: which one of a batch, -1 for the only one.

        Raises:
            HubError: `invalid_event_data`, `undescribed_event_type` (422).
        """
        types = self._view.types(domain)
        versions = types.get(fact.type)
        if versions is None:
            if self._view.unknown(domain) is UnknownTypes.REFUSED:
                self.refused += 1
                raise _unknown(fact.type, types, where)
            return
        newest = versions[len(versions) - 1]
        version = _version(fact, versions, newest)
        if version is None:
            self.refused += 1
            raise _bad_data(fact, newest.version, where, "'dataschema' names a version that is not kept")
        if fact.binary:
            self.refused += 1
            raise _bad_data(fact, version.version, where, "its data is JSON")
        data: object = msgspec.json.decode(fact.data) if fact.data else None
        validator = self._validator(domain, fact.type, version)
        if validator.is_valid(data):
            return
        self.refused += 1
        errors = [
            {"path": "".join(f"/{step}" for step in error.instance_path) or "/", "reason": error.message[:200]}
            for error, _ in zip(validator.iter_errors(data), range(DATA_ERRORS_MAX), strict=False)
        ]
        raise _bad_data(fact, version.version, where, f"at {errors[0]['path']}, {errors[0]['reason']}", errors)

    def _validator(self, domain: DomainId, name: str, version: TypeVersion) -> Any:  # Any: no stub
        key = (domain, name, version.version)
        known = self._compiled.get(key)
        if known is not None and known[0] == version.schema:
            self._compiled.move_to_end(key)
            return known[1]
        made = compiled(inlined(version.schema))
        self._compiled[key] = (version.schema, made)
        if len(self._compiled) > VALIDATORS_KEPT_MAX:
            self._compiled.popitem(last=False)
        return made


def checked(schema: object) -> tuple[bytes, Schema]:
    """Check a schema that is sent in.

    Returns:
        It as text, and without references.

    Raises:
        HubError: `invalid_schema` (422).
    """
    text = msgspec.json.encode(schema)
    if len(text) > SCHEMA_BYTES_MAX:
        raise invalid_schema(f"it has more than {SCHEMA_BYTES_MAX} bytes")
    plain = inlined(text)
    compiled(plain)
    return text, plain


def compiled(schema: Schema) -> Any:  # Any: no stub
    """Make a validator of a schema without references.

    Raises:
        HubError: `invalid_schema` (422).
    """
    try:
        return jsonschema_rs.Draft202012Validator(
            cast(dict[str, Any], schema),
            retriever=_refuse,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=1_000_000, dfa_size_limit=1_000_000),
            validate_formats=True,
            mask=MASK,
        )
    except (ValueError, jsonschema_rs.ValidationError) as error:
        raise invalid_schema(str(error).splitlines()[0][:200]) from None


@lru_cache(maxsize=VALIDATORS_KEPT_MAX)
def inlined(text: bytes) -> Schema:
    """Return a schema's text as a tree, with what it refers to put in its place; nobody changes it.

    Raises:
        HubError: `invalid_schema` (422).
    """
    root: object = msgspec.json.decode(text)
    if not isinstance(root, dict):
        raise invalid_schema("it is not an object")
    document = dict(cast(dict[str, Any], root))
    if document.pop("$schema", DIALECT) != DIALECT:
        raise invalid_schema(f"its dialect is not {DIALECT}")
    document.pop("$id", None)
    definitions: object = document.pop("$defs", {})
    if not isinstance(definitions, dict):
        raise invalid_schema("/$defs is not an object")
    walk = _Walk(cast(dict[str, Any], definitions))
    for name in walk.definitions:  # those that nothing refers to have to be schemas as well
        walk.tree({"$ref": DEFINITIONS + name}, f"/$defs/{name}", (), 0)
    walk.nodes = walk.words = 0
    return cast(Schema, walk.tree(document, "", (), 0))


class _Walk:
    """Goes through a schema once, counting."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self.definitions = definitions
        self.nodes = 0
        self.words = 0

    def tree(self, schema: object, path: str, via: tuple[str, ...], depth: int) -> dict[str, Any] | bool:
        """Return a schema with its references put in their place; `via` are those that led here."""
        self.nodes += 1
        if self.nodes > SCHEMA_NODES_MAX:
            raise invalid_schema(
                f"it has more than {SCHEMA_NODES_MAX} schemas within it, references put in their place"
            )
        if depth > SCHEMA_DEPTH_MAX:
            raise invalid_schema(f"it is nested deeper than {SCHEMA_DEPTH_MAX} levels")
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise invalid_schema(f"{path or '/'} is neither an object nor true or false")
        words = cast(dict[str, Any], schema)
        for word in words.keys() - WORDS:
            near = difflib.get_close_matches(word, WORDS, n=1, cutoff=0.7)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise invalid_schema(f"{path or '/'} uses '{word[:32]}', which is not taken{hint}")
        if "$ref" in words:
            return self._referred(words, path, via, depth)
        made: dict[str, Any] = {}
        for word, value in words.items():
            if word in NOTES:
                continue
            if word in ONE:
                made[word] = self.tree(value, f"{path}/{word}", via, depth + 1)
            elif word in LISTS or word in NAMED:
                made[word] = self._many(word, value, path, via, depth)
            else:
                self._count(value)
                made[word] = value
        return made

    def _referred(self, words: dict[str, Any], path: str, via: tuple[str, ...], depth: int) -> dict[str, Any] | bool:
        named: object = words["$ref"]
        if words.keys() - NOTES != {"$ref"}:
            raise invalid_schema(f"{path or '/'} says something beside its '$ref'; put both into 'allOf'")
        if not isinstance(named, str) or not named.startswith(DEFINITIONS):
            raise invalid_schema(f"{path or '/'} refers to something outside '$defs'")
        name = named.removeprefix(DEFINITIONS)
        if name not in self.definitions:
            raise invalid_schema(f"{path or '/'} refers to '{name[:64]}', which '$defs' does not have")
        if name in via:
            raise invalid_schema(f"'{name[:64]}' refers to itself")
        return self.tree(self.definitions[name], path, (*via, name), depth)

    def _many(self, word: str, value: object, path: str, via: tuple[str, ...], depth: int) -> object:
        if word in NAMED:
            if not isinstance(value, dict):
                raise invalid_schema(f"{path}/{word} is not an object")
            named = cast(dict[str, Any], value)
            return {name: self.tree(one, f"{path}/{name}", via, depth + 1) for name, one in named.items()}
        if not isinstance(value, list):
            raise invalid_schema(f"{path}/{word} is not a list")
        listed = cast(list[object], value)
        return [self.tree(one, f"{path}/{word}/{at}", via, depth + 1) for at, one in enumerate(listed)]

    def _count(self, value: object) -> None:
        """Count what lists and values hold, which is compared with data one by one."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            self.words += 1
            if isinstance(one, dict):
                waiting.extend(cast(Iterable[object], one.values()))
            elif isinstance(one, list):
                waiting.extend(cast(list[object], one))
        if self.words > SCHEMA_WORDS_MAX:
            raise invalid_schema(f"its lists and values hold more than {SCHEMA_WORDS_MAX} things")


def invalid_schema(reason: str) -> HubError:
    """Return the refusal of a schema."""
    return HubError(
        "invalid_event_schema",
        Kind.MALFORMED,
        f"The schema is refused: {reason}.",
        next_step="Send a JSON Schema (2020-12) that refers to nothing but its own '$defs', and to nothing twice over.",
    )


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"a schema refers to nothing outside itself, and this one to {uri[:100]}")


def _version(fact: EventPublished, versions: tuple[TypeVersion, ...], newest: TypeVersion) -> TypeVersion | None:
    """Return the version that an event says it is of, the newest where it says nothing of the hub's."""
    for name, value in fact.attributes:
        if name == "dataschema":
            match = _VERSION.search(str(value))
            if match is not None and match[1] == fact.type:
                return next((one for one in versions if one.version == int(match[2])), None)
    return newest


def _at(where: int) -> str:
    return "" if where < 0 else f" {where}"


def _bad_data(
    fact: EventPublished, version: int, where: int, reason: str, errors: list[dict[str, str]] | None = None
) -> HubError:
    fields: dict[str, object] = {"type": fact.type, "version": version, "errors": errors or []}
    if where >= 0:
        fields["index"] = where
    return HubError(
        "invalid_event_data",
        Kind.MALFORMED,
        f"The event{_at(where)} is not what version {version} of '{fact.type}' is: {reason}.",
        next_step=f"Send what GET /events/types/{fact.type}/schema describes, or register a new version of it.",
        fields=fields,
    )


def _unknown(name: str, types: Iterable[str], where: int) -> HubError:
    near = difflib.get_close_matches(name, list(types), n=1, cutoff=0.6)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return HubError(
        "undescribed_event_type",
        Kind.MALFORMED,
        f"The event{_at(where)} is of the type '{name}', which is not described, and that is asked for here.{hint}",
        next_step="Describe it (PUT /events/types/{type}), or allow types that are not (PUT /events/policy).",
        fields={"type": name} if where < 0 else {"type": name, "index": where},
    )
