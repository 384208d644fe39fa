"""The AsyncAPI 3.1 document: every type of event with the schema of its data, and how events come and go.

Made from the catalogue and the structs it names, so it cannot say anything else than what is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from central_hub.edge.described import served
from central_hub.edge.operations import Operation
from central_hub.events.envelope import encoded
from central_hub.events.model import Category, EventPublished
from central_hub.events.schemas import CloudEvent
from central_hub.kernel.events import EventType, EventTypes, FieldsOf, ReportedType, cloud_event
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Actor, Applied
from central_hub.kernel.records import Category as RecordCategory

Json = dict[str, Any]  # Any: a JSON document

ASYNCAPI_VERSION: Final = "3.1.0"
REF: Final = "#/components/schemas/{name}"
MEDIA_TYPE: Final = "application/cloudevents+json"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_PATH: Final = "/events/types/{name}/schema"
EXAMPLE_TIME: Final = "2026-01-20T10:30:00.000Z"
EXAMPLE_MS: Final = 1_768_905_000_000
EXAMPLE_ID: Final = "0198a3c4-0000-7000-8000-000000000005"
EXAMPLE_TENANT: Final = "acme"
EXAMPLE_HISTORY: Final = "0198a3c4f00d7000"
EXAMPLE_ACTOR: Final = Actor(principal="key-1", kind="key", correlation="3f2a")


def document(types: EventTypes, *, version: str) -> Json:
    """Build the document.

    Args:
        types: the catalogue.
        version: the distribution's version.

    Returns:
        JSON-encodable; the same catalogue always gives the same document.
    """
    messages = {one.title: _message(one) for one in types.described()}
    own = {title: {"$ref": f"#/components/messages/{title}"} for title in messages}
    published = {"Published": own_message("Published")}
    reported = {one.title: own_message(one.title) for one in types.reported.values()}
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
                "messages": {**reported, **published},
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


def own_message(title: str) -> Json:
    """Return a reference to a message of the document."""
    return {"$ref": f"#/components/messages/{title}"}


def schema_of(kind: EventType | ReportedType) -> Json:
    """Return the JSON Schema of a type's data as it is served and checked in, a document of its own."""
    return {"$schema": DIALECT, "$id": SCHEMA_PATH.format(name=kind.name), "description": kind.summary} | data_schema(
        kind
    )


def example_of(kind: EventType | ReportedType) -> Json:
    """Return an event as it is told that could have been."""
    domain = DomainId(EXAMPLE_TENANT)
    if isinstance(kind, EventType):
        fact: Fact = kind.example
    else:
        data = msgspec.json.encode(kind.example)
        fact = EventPublished(
            id=EXAMPLE_ID, source="/services/trading-engine", type=kind.name, subject=kind.subject(kind.example),
            category=Category.INTEGRATION, data=data,
        )  # fmt: skip
    applied = Applied(
        pos=1, domain=domain, domain_seq=17, streams=(kind.order,), category=RecordCategory.EVENT,
        type=type(fact).__name__, id=EXAMPLE_ID, time_ms=EXAMPLE_MS, actor=EXAMPLE_ACTOR, fact=fact,
    )  # fmt: skip
    told = (
        cloud_event(kind, applied, EXAMPLE_HISTORY)
        if isinstance(kind, EventType)
        else encoded(applied, cast(EventPublished, fact), EXAMPLE_HISTORY)
    )
    return cast(Json, msgspec.json.decode(told))


def data_schema(kind: EventType | ReportedType) -> Json:
    """Return the JSON Schema of an event's data, whole: two features may have a word each that is the same."""
    if kind.shape is not None:
        (schema,), components = msgspec.json.schema_components([kind.shape], ref_template=REF)
        return _whole(schema, components)
    assert isinstance(kind, EventType)
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


def _payload(kind: EventType | ReportedType) -> Json:
    own = {"type": {"const": kind.name}, "data": data_schema(kind)}
    return {
        "allOf": [
            {"$ref": REF.format(name="CloudEvent")},
            {"type": "object", "properties": own, "required": ["id", "time", "hubseq", "data"]},
        ]
    }


def _message(kind: EventType | ReportedType) -> Json:
    return {
        "name": kind.name,
        "title": kind.title,
        "summary": kind.summary,
        "contentType": MEDIA_TYPE,
        "description": f"In order with all that has the same subject: {kind.order}.",
        "tags": [{"name": kind.category}],
        "payload": _payload(kind),
        "examples": [{"name": "one", "summary": "An event that could have been.", "payload": example_of(kind)}],
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
