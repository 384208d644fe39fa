"""What tenants may say of their own types: names, room, and a new version's word to those before it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from central_hub.events.model import (
    OWN_TYPES_MAX,
    SCHEMAS_BYTES_MAX,
    TYPE_MAX,
    TYPE_PATTERN,
    Compatibility,
    EventTypeRegistered,
    EventTypeRetired,
)
from central_hub.events.view import EventsView, Versions
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.events import TYPE_PREFIX
from central_hub.kernel.ids import DomainId

Schema = Mapping[str, Any]  # Any: a JSON Schema without references
ANYTHING: Final[Schema] = {}

EVERY_TYPE: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
AT_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
AT_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
THE_SAME: Final = (
    "multipleOf", "pattern", "format", "uniqueItems", "not", "if", "then", "else", "oneOf", "anyOf", "allOf",
    "contains", "prefixItems", "patternProperties", "propertyNames", "dependentRequired",
)  # fmt: skip
"""Words that are compared as they stand: what they say otherwise cannot be shown to be less."""

_TYPE: Final = re.compile(TYPE_PATTERN[:-1] + r"\Z")


def check_name(name: str) -> str:
    """Return the name of a tenant's own type, or refuse it.

    Raises:
        HubError: `invalid_event_type` (422).
    """
    if len(name) > TYPE_MAX or not _TYPE.match(name):
        reason = f"A type is up to {TYPE_MAX} characters of words with dots between them."
    elif name.startswith(TYPE_PREFIX):
        reason = f"What begins with '{TYPE_PREFIX}' is the hub's own."
    else:
        return name
    raise HubError(
        "invalid_event_type", Kind.MALFORMED, reason, next_step="Name it as com.example.order.placed is named."
    )


def register(
    view: EventsView, domain: DomainId, wanted: EventTypeRegistered, schemas: Mapping[int, Schema], schema: Schema
) -> EventTypeRegistered | None:
    """Decide about a new version of a type; None where it is what the type says already.

    Args:
        view: what the tenant says.
        domain: whose type it is.
        wanted: the version, its number left open (0).
        schemas: those of the versions there are, by number, without references.
        schema: the new one, without references.

    Raises:
        HubError: `incompatible_schema` (409), `limit_reached` (429).
    """
    versions = view.types(domain).get(wanted.type, ())
    if versions:
        newest = versions[-1]
        told = (newest.schema, newest.compatibility, newest.description)
        if told == (wanted.schema, wanted.compatibility, wanted.description):
            return None
    elif len(view.types(domain)) >= OWN_TYPES_MAX:
        raise _no_room(f"A tenant describes at most {OWN_TYPES_MAX} types.")
    if view.schema_bytes(domain) + len(wanted.schema) > SCHEMAS_BYTES_MAX:
        raise _no_room(f"A tenant's schemas have at most {SCHEMAS_BYTES_MAX} bytes together.")
    check_compatible(wanted.compatibility, versions, schemas, schema)
    return EventTypeRegistered(
        type=wanted.type,
        version=versions[-1].version + 1 if versions else 1,
        schema=wanted.schema,
        compatibility=wanted.compatibility,
        description=wanted.description,
    )


def retire(view: EventsView, domain: DomainId, name: str) -> EventTypeRetired | None:
    """Decide about taking a type away; None where it is not there."""
    return EventTypeRetired(type=name) if name in view.types(domain) else None


def check_compatible(promise: Compatibility, versions: Versions, schemas: Mapping[int, Schema], schema: Schema) -> None:
    """Refuse a version that does not keep its word to those before it.

    Raises:
        HubError: `incompatible_schema` (409), with every reason found.
    """
    reasons: list[Mapping[str, object]] = []
    for one in versions:
        before = schemas[one.version]
        pairs = (
            (Compatibility.BACKWARD, schema, before, "what was published by it cannot be read by the new one"),
            (Compatibility.FORWARD, before, schema, "what is published by the new one cannot be read by it"),
        )
        for kind, reader, writer, what in pairs:
            if promise in (kind, Compatibility.FULL):
                reasons += [
                    {"version": one.version, "kind": kind.value, "path": path or "/", "reason": f"{what}: {why}"}
                    for path, why in differences(reader, writer)
                ]
    if reasons:
        raise HubError(
            "incompatible_schema",
            Kind.CONFLICT,
            f"The schema is not {promise.value} compatible with version {reasons[0]['version']}: at "
            f"{reasons[0]['path']}, {reasons[0]['reason']}.",
            next_step="Change it, register it under another type (….v2), or promise less (compatibility=none).",
            fields={"reasons": reasons[:16]},
        )


def differences(reader: Schema | bool, writer: Schema | bool, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield where a document of one schema might not be one of another: a JSON pointer, and why.

    What a schema does not name is not counted on: a member that only the reader names may be absent, whatever it is.

    Args:
        reader: the schema that documents are to be read by.
        writer: the one that they were written by; neither has references.
        path: where in the document they stand.
    """
    if reader is True or writer is False or reader == writer:
        return
    if reader is False:
        yield path, "nothing is allowed there"
        return
    written: Schema = ANYTHING if writer is True else writer
    yield from _kinds(reader, written, path)
    yield from _values(reader, written, path)
    yield from _members(reader, written, path)
    items = reader.get("items", True)
    if "array" in _types(written) and items is not True:
        yield from differences(items, written.get("items", True), f"{path}/*")


def _kinds(reader: Schema, writer: Schema, path: str) -> Iterator[tuple[str, str]]:
    more = _types(writer) - _types(reader)
    if more:
        yield path, f"it may be {' or '.join(sorted(more))}"


def _types(schema: Schema) -> frozenset[str]:
    """Return which kinds of JSON value a schema takes; every integer is a number."""
    said = schema.get("type")
    if said is None:
        said = {_kind(value) for value in schema.get("enum", ())} if "enum" in schema else EVERY_TYPE
    found: frozenset[str] = frozenset([said] if isinstance(said, str) else cast("set[str]", said))
    return found | {"integer"} if "number" in found else found


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = ((int, "integer"), (float, "number"), (str, "string"), (list, "array"))
    return next((name for kind, name in names if isinstance(value, kind)), "object")


def _values(reader: Schema, writer: Schema, path: str) -> Iterator[tuple[str, str]]:
    allowed = _allowed(reader)
    if allowed is not None:
        written = _allowed(writer)
        if written is None or any(value not in allowed for value in written):
            yield path, "it may be a value that is not among those that are listed"
    for word in AT_LEAST:
        if word in reader and not writer.get(word, float("-inf")) >= reader[word]:
            yield path, f"'{word}' is {reader[word]}"
    for word in AT_MOST:
        if word in reader and not writer.get(word, float("inf")) <= reader[word]:
            yield path, f"'{word}' is {reader[word]}"
    for word in THE_SAME:
        if word in reader and (word not in writer or writer[word] != reader[word]):
            yield path, f"'{word}' says something else"


def _allowed(schema: Schema) -> list[tuple[str, object]] | None:
    """Return the values that are listed, each with its kind: true is not 1."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else [(_kind(value), value) for value in values]


def _members(reader: Schema, writer: Schema, path: str) -> Iterator[tuple[str, str]]:
    if "object" not in _types(writer):
        return
    for name in sorted(set(reader.get("required", ())) - set(writer.get("required", ()))):
        yield f"{path}/{name}", "it is required, and may be absent"
    read: Mapping[str, Any] = reader.get("properties", {})
    written: Mapping[str, Any] = writer.get("properties", {})
    for name in sorted(written):
        inner = read.get(name, reader.get("additionalProperties", True))
        yield from differences(inner, written[name], f"{path}/{name}")
    if reader.get("additionalProperties", True) is not True:
        others = writer.get("additionalProperties", True)
        if others is not True:
            yield from differences(reader["additionalProperties"], others, f"{path}/*")


def _no_room(message: str) -> HubError:
    return HubError(
        "limit_reached", Kind.LIMIT, message, next_step="Retire types that nobody publishes (DELETE /events/types/…)."
    )
