"""The OpenAPI 3.1 document, made from the operations table and the structs it names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from types import UnionType
from typing import Any, Final, get_args

import msgspec

from central_hub.edge.described import served
from central_hub.edge.operations import Operation, Table
from central_hub.edge.problems import MEDIA_TYPE, Problem
from central_hub.kernel.ids import INSTANCE_ID_PATTERN, NAME_PATTERN

Json = dict[str, Any]  # Any: a JSON document

OPENAPI_VERSION: Final = "3.1.0"
REF_TEMPLATE: Final = "#/components/schemas/{name}"

PATH_PATTERNS: Final = {"instance_id": INSTANCE_ID_PATTERN, "service_name": NAME_PATTERN, "name": NAME_PATTERN}
OPAQUE_PATTERN: Final = r"^[A-Za-z0-9._~-]{1,512}$"

HEADER_PARAMETERS: Final[tuple[tuple[str, str, Json], ...]] = (
    ("x-tenant-id", "The tenant the caller claims to act for; never a credential.", {"pattern": NAME_PATTERN}),
    ("x-correlation-id", "Echoed, and carried into the audit trail.", {"pattern": "^[A-Za-z0-9._-]{1,64}$"}),
)

REFUSALS: Final = (400, 401, 403, 404, 413, 415, 422, 429, 503)
"""Statuses any operation may refuse with; an operation adds its own through its problems."""


def document(table: Table, *, version: str) -> Json:
    """Build the document.

    Args:
        table: the operations.
        version: the distribution's version.

    Returns:
        JSON-encodable; the same table always gives the same document.
    """
    schemas = _Schemas(_types(table.operations))
    paths: dict[str, Json] = {}
    for operation in sorted(table.operations, key=lambda one: (one.path, one.method)):
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Central Hub",
            "version": version,
            "description": "Where a service is, whether it is healthy, who may use it. "
            "The hub answers; callers call each other directly. A tenant that is named in more than one place (header, "
            "path, query, body) is the same in all of them. Whole numbers are written without a fraction: 1, not 1.0.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key: chk_<keyid>_<secret><crc>.",
                }
            },
        },
        "tags": [{"name": name} for name in sorted({operation.tag for operation in table.operations})],
    }


def text_of(described: Json) -> str:
    """Write the document as it is served at `/openapi.json` and checked in below `contracts/`."""
    return json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def operations(text: Callable[[], str]) -> tuple[Operation, ...]:
    """Return the row that serves the document, which `text` makes."""
    summary = "Describe every operation as an OpenAPI 3.1 document."
    return (served(text, operation="get_openapi", path="/openapi.json", summary=summary),)


class _Schemas:
    def __init__(self, types: list[Any]) -> None:  # Any: types as msgspec takes them
        found, self.components = msgspec.json.schema_components(types, schema_hook=_opaque, ref_template=REF_TEMPLATE)
        self._of = dict(zip([repr(one) for one in types], found, strict=True))

    def of(self, kind: Any) -> Json:  # Any: a type as msgspec takes it
        if isinstance(kind, UnionType):
            return {"anyOf": [self.of(one) for one in get_args(kind)]}
        return dict(self._of[repr(kind)])

    def fields(self, kind: type[msgspec.Struct]) -> tuple[Json, list[str]]:
        reference: str = self._of[repr(kind)]["$ref"]
        schema = self.components[reference.rsplit("/", 1)[1]]
        return schema.get("properties", {}), schema.get("required", [])


def _opaque(kind: type) -> Json:
    """Describe `object`, any JSON value; everything else must describe itself."""
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError(f"{kind} has no JSON schema")


def _types(operations: Iterable[Operation]) -> list[Any]:  # Any: types as msgspec takes them
    types: dict[str, Any] = {repr(Problem): Problem}
    for operation in operations:
        for kind in (operation.query, operation.body, operation.answer):
            for one in get_args(kind) if isinstance(kind, UnionType) else (kind,):
                if one is not None:
                    types[repr(one)] = one
    return list(types.values())


def _operation(operation: Operation, schemas: _Schemas) -> Json:
    described: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation, schemas),
        "responses": _responses(operation, schemas),
        "security": [{}] if operation.public else [{"apiKey": []}],
        "x-scope": operation.scope or "public",
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.body_optional,
            "content": {"application/json": {"schema": schemas.of(operation.body)}},
        }
    return described


def _without_null(schema: Json) -> Json:
    """Return the schema of a query parameter: one that is left out is not there, and none is ever null."""
    shown = {key: value for key, value in schema.items() if not (key == "default" and value is None)}
    given = [one for one in shown.pop("anyOf", ()) if one != {"type": "null"}]
    if len(given) > 1:
        shown["anyOf"] = given
    return {**shown, **given[0]} if len(given) == 1 else shown


def _parameters(operation: Operation, schemas: _Schemas) -> list[Json]:
    parameters: list[Json] = [
        {
            "name": segment[1:-1],
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": PATH_PATTERNS.get(segment[1:-1], OPAQUE_PATTERN)},
        }
        for segment in operation.segments
        if segment.startswith("{")
    ]
    if operation.query is not None:
        properties, required = schemas.fields(operation.query)
        for name, schema in properties.items():
            if schema.get("type") == "object":
                continue  # given as name.key=value, which OpenAPI cannot say
            shown = _without_null(schema)
            parameters.append({"name": name, "in": "query", "required": name in required, "schema": shown})
    for name, text, schema in HEADER_PARAMETERS:
        parameters.append(
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": text,
                "schema": {"type": "string", **schema},
            }
        )
    return parameters


def _responses(operation: Operation, schemas: _Schemas) -> Json:
    responses: Json = {}
    for status in (operation.status, *operation.statuses):
        success: Json = {"description": HTTPStatus(status).phrase}
        if status not in (204, 304):
            schema = {} if operation.answer is None else schemas.of(operation.answer)
            success["content"] = {operation.media_type: {"schema": schema}}
        responses[str(status)] = success
    problem = {"description": "A problem (RFC 9457)", "content": {MEDIA_TYPE: {"schema": schemas.of(Problem)}}}
    for status in REFUSALS:
        responses.setdefault(str(status), problem)
    responses["default"] = problem
    return dict(sorted(responses.items()))
