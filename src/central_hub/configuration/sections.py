"""What may be configured: sections with a JSON Schema each, and the checks of a document against them.

A layer says a part of the whole, so a schema says what each value may be, never which must be there or how several
go together: then what is valid in every layer is valid in whatever they fold to. A key that no schema names is
refused with the nearest one that is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, cast

import jsonschema_rs

from central_hub.configuration.merging import covers, encoded, parts_of, pointer
from central_hub.configuration.model import GUARDS, SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX, Document, Json
from central_hub.configuration.references import SECRET_WORD, is_reference, secret_literal
from central_hub.kernel.errors import HubError, Kind

OBJECT_WORDS: Final = frozenset({"type", "properties", "additionalProperties"})
VALUE_WORDS: Final = frozenset(
    {
        "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minLength", "maxLength", "pattern", "format", "items", "minItems", "maxItems", "uniqueItems", SECRET_WORD,
    }
)  # fmt: skip
NOTES: Final = frozenset({"title", "description", "examples", "$comment", "deprecated"})
VALUE_TYPES: Final = frozenset({"boolean", "integer", "number", "string", "array"})
ERRORS_MAX: Final = 8
MASK: Final = "the value"
"""What is said for a value that a schema refuses: it may be a secret in the wrong place."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


_ANYTHING: Final[Mapping[str, Any]] = {}


class Section:
    """One section: its schema, compiled once.

    Raises:
        HubError: `invalid_schema` (422).
    """

    def __init__(self, name: str, schema: Document) -> None:
        if len(encoded(schema)) > SCHEMA_BYTES_MAX:
            raise invalid_schema(f"it has more than {SCHEMA_BYTES_MAX} bytes")
        _check_schema(schema, f"/{name}", 0, document=True)
        if schema.get("type") != "object":
            raise invalid_schema(f"/{name} is a section, so its type is 'object'")
        self.schema = schema
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema,
                retriever=_refuse,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=1_000_000, dfa_size_limit=1_000_000),
                validate_formats=True,
                mask=MASK,
            )
        except (ValueError, jsonschema_rs.ValidationError) as error:
            raise invalid_schema(str(error).splitlines()[0][:200]) from None

    def check(self, path: Sequence[str], document: Json) -> None:
        """Check what a layer says in this section.

        Raises:
            HubError: `unknown_key`, `invalid_value` (422).
        """
        plain = _known(self.schema, path, document)
        errors = [
            {"path": pointer([*path, *map(str, error.instance_path)]), "reason": error.message[:200]}
            for error, _ in zip(self._validator.iter_errors(plain), range(ERRORS_MAX), strict=False)
        ]
        if errors:
            raise HubError(
                "invalid_value",
                Kind.MALFORMED,
                f"The value at '{errors[0]['path']}' is not one the section takes: {errors[0]['reason']}.",
                next_step="Correct the values that are named.",
                fields={"errors": errors},
            )


def _known(schema: Mapping[str, Any], path: Sequence[str], document: Json) -> Json:
    """Return the document without its nulls, which take away and have no type, and without references, which are text;
    every key was found in a schema."""
    if document is not None and not isinstance(document, dict) and schema.get(SECRET_WORD) is True:
        raise secret_literal(pointer(path))
    if isinstance(document, list) and isinstance(schema.get("items"), dict):
        inner = cast(Mapping[str, Any], schema["items"])
        return [_known(inner, [*path, str(at)], each) for at, each in enumerate(cast(list[Json], document))]
    if not isinstance(document, dict) or schema.get("type") != "object":
        return cast(Json, document)
    properties: Mapping[str, Any] = schema.get("properties", {})
    more = schema.get("additionalProperties", False)
    plain: Document = {}
    for key, value in cast(Document, document).items():
        if key in properties:
            inner = cast(Mapping[str, Any], properties[key])
        elif isinstance(more, dict):
            inner = cast(Mapping[str, Any], more)
        elif more is True:
            inner = _ANYTHING
        else:
            raise unknown_key([*path, key], properties)
        if is_reference(value):
            if inner.get("type", "string") != "string":
                raise _no_text([*path, key], str(inner.get("type")))
        elif value is not None:
            plain[key] = _known(inner, [*path, key], value)
    return plain


def _no_text(path: Sequence[str], kind: str) -> HubError:
    place = pointer(path)
    return HubError(
        "invalid_value",
        Kind.MALFORMED,
        f"The value at '{place[:200]}' is a secret, which is text, and the section takes {kind} there.",
        next_step="Refer to secrets where the section takes a string.",
        fields={"errors": [{"path": place, "reason": f"it is of the type {kind}"}]},
    )


class Sections:
    """The sections there are: those the plans make, and those the platform described.

    Args:
        built_in: returns the schemas that plans make, by name.
    """

    def __init__(self, built_in: Callable[[], Mapping[str, Document]]) -> None:
        self._built_in = built_in
        self._compiled: dict[str, tuple[Document, Section]] = {}

    @property
    def built_in(self) -> Mapping[str, Document]:
        """The sections that cannot be described otherwise."""
        return self._built_in()

    def described(self, schemas: Mapping[str, Document]) -> dict[str, Section]:
        """Return every section by name; a schema is compiled once."""
        return {name: self._section(name, schema) for name, schema in {**schemas, **self._built_in()}.items()}

    def _section(self, name: str, schema: Document) -> Section:
        known = self._compiled.get(name)
        if known is None or known[0] is not schema:
            known = self._compiled[name] = (schema, Section(name, schema))
        return known[1]

    def check(self, schemas: Mapping[str, Document], document: Document) -> None:
        """Check a layer's document: its sections, keys and values, and that its guards name what may be configured.

        Raises:
            HubError: `unknown_key`, `invalid_value` (422).
        """
        sections = self.described(schemas)
        for name, part in document.items():
            if name == GUARDS:
                continue
            section = sections.get(name)
            if section is None:
                raise unknown_key([name], sections, section=True)
            if part is not None and not isinstance(part, dict):
                raise HubError(
                    "invalid_value", Kind.MALFORMED, f"'/{name}' is a section: an object.",
                    next_step="Put the values into the section.",
                )  # fmt: skip
            if part is not None:
                section.check([name], part)
        self._check_guards(sections, document.get(GUARDS) or {})

    def _check_guards(self, sections: Mapping[str, Section], guards: Mapping[str, Any]) -> None:
        for path in guards.get("lock", ()):
            _place(sections, path)
        for word in ("ceiling", "floor"):
            for path in guards.get(word, ()):
                if _place(sections, path).get("type") not in ("integer", "number", None):
                    raise HubError(
                        "invalid_guard", Kind.MALFORMED, f"'{path}' is no number, so it has no {word}.",
                        next_step="Lock it instead.",
                    )  # fmt: skip


def _place(sections: Mapping[str, Section], path: str) -> Mapping[str, Any]:
    parts = parts_of(path)
    if not parts or parts[0] not in sections:
        raise unknown_key(parts[:1] or [""], sections, section=True)
    schema: Mapping[str, Any] = sections[parts[0]].schema
    for at, part in enumerate(parts[1:], start=2):
        properties = schema.get("properties", {})
        more = schema.get("additionalProperties", False)
        if part in properties:
            schema = properties[part]
        elif isinstance(more, dict):
            schema = cast(Mapping[str, Any], more)
        elif more is True or not schema:
            return {}
        else:
            raise unknown_key(parts[:at], properties)
    return schema


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"a schema refers to nothing outside itself, and this one to {uri[:100]}")


def _check_schema(schema: object, path: str, depth: int, *, document: bool = False) -> None:
    if depth > SCHEMA_DEPTH_MAX:
        raise invalid_schema(f"it is nested deeper than {SCHEMA_DEPTH_MAX} levels")
    if not isinstance(schema, dict):
        raise invalid_schema(f"{path} is not an object")
    words = cast(Document, schema)
    kind = words.get("type")
    if not isinstance(kind, str) or (kind != "object" and kind not in VALUE_TYPES):
        raise invalid_schema(f"{path} has no type; a value has one of {', '.join(sorted(VALUE_TYPES | {'object'}))}")
    allowed = (OBJECT_WORDS if kind == "object" else VALUE_WORDS) | NOTES
    if document:
        allowed |= {"$schema"}
        if words.get("$schema", DIALECT) != DIALECT:
            raise invalid_schema(f"its dialect is not {DIALECT}")
    for word in words:
        if word not in allowed:
            raise invalid_schema(
                f"{path} uses '{word[:32]}'; a layer says a part, so a schema says what one value may be: "
                + ", ".join(sorted(allowed - NOTES))
            )
    if words.get(SECRET_WORD, False) not in (True, False) or (words.get(SECRET_WORD) and kind != "string"):
        raise invalid_schema(f"{path}/{SECRET_WORD} is true or false, of a value of the type 'string'")
    properties: object = words.get("properties", {})
    if not isinstance(properties, dict):
        raise invalid_schema(f"{path}/properties is not an object")
    for name, inner in cast(Document, properties).items():
        _check_schema(inner, f"{path}/{name}", depth + 1)
    for word in ("additionalProperties", "items"):
        inner = words.get(word)
        if inner is not None and not isinstance(inner, bool):
            _check_schema(inner, f"{path}/{word}", depth + 1)


def unknown_key(path: Sequence[str], known: Mapping[str, object], *, section: bool = False) -> HubError:
    """Return the refusal of a key that nothing describes, naming the nearest that something does."""
    close = difflib.get_close_matches(path[-1], list(known), n=1, cutoff=0.6)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return HubError(
        "unknown_key",
        Kind.MALFORMED,
        f"Nothing is configured under '{pointer(path)[:200]}'.{hint}",
        next_step="Describe a section with PUT /config/schemas/{section}, or use one of "
        + ", ".join(sorted(known)[:16])
        + "."
        if section
        else "Use a key that the section's schema names, or add it there.",
        fields={"path": pointer(path)},
    )


def invalid_schema(reason: str) -> HubError:
    """Return the refusal of a schema."""
    return HubError(
        "invalid_schema",
        Kind.MALFORMED,
        f"The schema is refused: {reason}.",
        next_step="Say for each value its type and bounds, nothing across values and nothing outside the schema.",
    )


def is_covered(section: str, document: Mapping[str, Json]) -> bool:
    """Say whether a layer's document says something in a section, by value or by guard."""
    if section in document:
        return True
    guards: Mapping[str, Any] = document.get(GUARDS) or {}
    return any(covers((f"/{section}",), path) for word in ("lock", "ceiling", "floor") for path in guards.get(word, ()))
