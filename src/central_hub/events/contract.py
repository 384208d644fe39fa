"""The AsyncAPI 3.1 document: every type of event with the schema of its data, and how events come and go.

Made from the catalogue and the structs it names, so it cannot say anything else than what is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from central_hub.edge.described import served
from central_hub.edge.operations import Operation
from central_hub.events.schemas import CloudEvent
from central_hub.kernel.events import EventType, EventTypes, FieldsOf

Json = dict[str, Any]  # Any: a JSON document

ASYNCAPI_VERSION: Final = "3.1.0"
REF: Final = "#/components/schemas/{name}"
MEDIA_TYPE: Final = "application/cloudevents+json"
EXAMPLE_TIME: Final = "2026-01-20T10:30:00.000Z"


def document(types: EventTypes, *, version: str) -> Json:
    """Build the document.

    Args:
        types: the catalogue.
        version: the distribution's version.

    Returns:
        JSON-encodable; the same catalogue always gives the same document.
    """
    kinds = sorted(types.types, key=lambda one: one.name)
    messages = {one.title: _message(one) for one in kinds}
    own = {title: {"$ref": f"#/components/messages/{title}"} for title in messages}
    published = {"Published": {"$ref": "#/components/messages/Published"}}
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Central Hub",
            "version": version,
            "description": "What becomes true in the hub, and what services publish, as CloudEvents 1.0. The events of "
            "one tenant are in one order; `hubseq` is the position in it.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": MEDIA_TYPE,
        "channels": {
            "stream": {
                "address": "/events/stream",
                "description": "A tenant's events, as server-sent events: `data` is one message, `id` its position.",
                "messages": {**own, **published},
            },
            "publish": {
                "address": "/events",
                "description": "POST one event, or an array of them; durable when it answers.",
                "messages": published,
            },
        },
        "operations": {
            "stream_events": {
                "action": "send",
                "channel": {"$ref": "#/channels/stream"},
                "summary": "The hub tells a tenant's events, in order, from a position on.",
            },
            "publish_events": {
                "action": "receive",
                "channel": {"$ref": "#/channels/publish"},
                "summary": "A service publishes events; of those with the same source and id the first is taken.",
            },
        },
        "components": {
            "messages": {**messages, "Published": _published()},
            "schemas": _envelope(),
        },
    }


def data_schema(kind: EventType) -> Json:
    """Return the JSON Schema of an event's data, whole: two features may have a word each that is the same."""
    if kind.shape is not None:
        (schema,), components = msgspec.json.schema_components([kind.shape], ref_template=REF)
        return _whole(schema, components)
    assert isinstance(kind.data, FieldsOf), f"{kind.name}: data that is no selection of fields has a shape"
    (_,), components = msgspec.json.schema_components([kind.fact], ref_template=REF)
    fields: Json = components[kind.fact.__name__]["properties"]
    chosen = {name: _told(_whole(fields[name], components)) for name in kind.data.names}
    return {
        "title": f"{kind.title}Data", "type": "object", "properties": chosen, "required": list(chosen),
        "additionalProperties": False,
    }  # fmt: skip


def operations(text: Callable[[], str]) -> tuple[Operation, ...]:
    """Return the row that serves the document, which `text` makes."""
    summary = "Describe every event as an AsyncAPI 3.1 document."
    return (served(text, operation="get_asyncapi", path="/asyncapi.json", summary=summary),)


def _envelope() -> Json:
    (_,), components = msgspec.json.schema_components([CloudEvent], schema_hook=_any, ref_template=REF)
    components["CloudEvent"].pop("additionalProperties", None)  # extensions may stand beside what is named
    return components


def _payload(kind: EventType) -> Json:
    own = {"type": {"const": kind.name}, "data": data_schema(kind)}
    return {
        "allOf": [
            {"$ref": REF.format(name="CloudEvent")},
            {"type": "object", "properties": own, "required": ["id", "time", "hubseq", "data"]},
        ]
    }


def _message(kind: EventType) -> Json:
    return {
        "name": kind.name,
        "title": kind.title,
        "summary": kind.summary,
        "contentType": MEDIA_TYPE,
        "tags": [{"name": kind.category}],
        "payload": _payload(kind),
    }


def _published() -> Json:
    example = {
        "specversion": "1.0",
        "id": "order-17",
        "type": "com.example.order.placed",
        "source": "/services/trading-engine",
        "subject": "order/17",
        "time": EXAMPLE_TIME,
        "data": {"symbol": "EURUSD", "quantity": 100},
    }
    return {
        "name": "published",
        "title": "Published",
        "summary": "What a service published: a type and data of its own.",
        "contentType": MEDIA_TYPE,
        "payload": {"$ref": REF.format(name="CloudEvent")},
        "examples": [{"name": "order", "payload": example}],
    }


def _told(schema: Json) -> Json:
    """Return a field's schema as it is told: always there, so without a default."""
    return {name: value for name, value in schema.items() if name != "default"}


def _whole(schema: Any, components: Json) -> Any:  # Any: a part of a JSON document
    """Return a schema with what it refers to put in its place."""
    if isinstance(schema, list):
        return [_whole(one, components) for one in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    named = cast(Json, schema)
    if "$ref" in named:
        return _whole(components[named["$ref"].rpartition("/")[2]], components)
    return {name: _whole(value, components) for name, value in named.items()}


def _any(kind: type) -> Json:
    if kind is msgspec.Raw:
        return {"description": "Any JSON value."}
    raise NotImplementedError(f"{kind} has no JSON schema")
