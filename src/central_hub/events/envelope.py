"""CloudEvents 1.0.2: what is accepted, and how a published event is written again.

    structured   one JSON object with the attributes and `data` or `data_base64`
    batch        a JSON array of those
    binary       attributes in `ce-*` headers, the body is the data

The data of a JSON event is kept as the text it came as: it is checked once, and never written anew. The tenant is the
caller's, whatever the event says: one that names another is refused.

Source: CloudEvents 1.0.2, the JSON event format and the HTTP protocol binding.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, cast
from urllib.parse import unquote

import msgspec

from central_hub.edge.decoding import check_depth, decode_body
from central_hub.edge.operations import RawHeaders
from central_hub.events.model import (
    EVENT_BYTES_MAX,
    EXTENSION_NAME_MAX,
    EXTENSIONS_MAX,
    TEXT_MAX,
    TYPE_MAX,
    TYPE_PATTERN,
    Category,
    EventPublished,
)
from central_hub.events.schemas import Batch, CloudEvent
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.events import SPEC_VERSION, TYPE_PREFIX, ReportedType
from central_hub.kernel.records import Applied

CATEGORY: Final = "hubcategory"
TENANT: Final = "tenantid"
BINARY_PREFIX: Final = b"ce-"
INTEGER_MAX: Final = 2**31 - 1
"""Largest whole number of an attribute. Source: CloudEvents 1.0.2, "Type System"."""
WORDS_KEPT_MAX: Final = 4_096
"""Types whose form has been checked and is remembered."""

NONE_REPORTED: Final[Mapping[str, ReportedType]] = MappingProxyType({})

Members = dict[str, msgspec.Raw]
Scalar = str | int | bool
Given = tuple[CloudEvent, Mapping[str, Scalar]]
"""An event and the extensions that it has beyond the named ones."""

_JSON_TYPE: Final = re.compile(r"application/([a-z0-9.-]+\+)?json\s*(;.*)?\Z", re.IGNORECASE)
_NAMED: Final = frozenset(CloudEvent.__struct_fields__)
_WRITTEN: Final = (
    "datacontenttype", "dataschema", "correlationid", "causationid", "traceparent", "tracestate", "partitionkey",
)  # fmt: skip
_NAME: Final = re.compile(rf"[a-z0-9]{{1,{EXTENSION_NAME_MAX}}}\Z")
_TYPE: Final = re.compile(TYPE_PATTERN[:-1] + r"\Z")
_TRACE: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
"""A trace's parent in a header. Source: W3C Trace Context, version 00."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_structured: Final = msgspec.json.Decoder(CloudEvent | Batch)
_members: Final = msgspec.json.Decoder(Members | list[Members])
_scalar: Final = msgspec.json.Decoder(Scalar)
_encode: Final = msgspec.json.Encoder().encode
_good_types: Final[dict[str, None]] = {}


def read(raw: bytes, headers: RawHeaders) -> list[Given]:
    """Read a request's events.

    Args:
        raw: the body.
        headers: the request's, names in lower case. A `traceparent` of its own is that of every event without one.

    Raises:
        HubError: `invalid_event`, `invalid_body` (422), `unsupported_media_type` (415).
    """
    named = dict(headers)
    given = _read(raw, headers, named)
    trace = named.get(b"traceparent", b"").decode("latin-1")
    if not _TRACE.match(trace):
        return given
    return [
        (event if event.traceparent is not msgspec.UNSET else msgspec.structs.replace(event, traceparent=trace), more)
        for event, more in given
    ]


def _read(raw: bytes, headers: RawHeaders, named: Mapping[bytes, bytes]) -> list[Given]:
    media = named.get(b"content-type", b"").decode("latin-1")
    if b"ce-specversion" in named:
        return [_binary(raw, headers, media)]
    if not _JSON_TYPE.match(media):
        raise HubError(
            "unsupported_media_type", Kind.UNSUPPORTED, "Events are sent as JSON, or with their attributes in headers.",
            next_step="Send 'content-type: application/cloudevents+json', or the attributes as 'ce-' headers.",
        )  # fmt: skip
    check_depth(raw)
    try:
        raw.decode()  # what is passed over while reading is not looked at by the decoder
    except UnicodeDecodeError:
        raise HubError(
            "invalid_body", Kind.MALFORMED, "The body is not UTF-8.", next_step="Send JSON in UTF-8."
        ) from None
    try:
        found = _structured.decode(raw)
    except msgspec.DecodeError:  # extensions beyond the named ones, or something to refuse
        return _extended(raw)
    return [(found, {})] if isinstance(found, CloudEvent) else [(event, {}) for event in found]


def published(
    event: CloudEvent,
    extensions: Mapping[str, Scalar],
    tenant: str | None,
    *,
    where: int = -1,
    reported: Mapping[str, ReportedType] = NONE_REPORTED,
) -> EventPublished:
    """Return what is remembered of an event.

    Args:
        event: as it was read.
        extensions: further ones.
        tenant: the caller's own.
        where: which one of a batch, for the refusal.
        reported: the types that are the hub's and that services report.

    Raises:
        HubError: `invalid_event` (422), `event_too_large` (413), `tenant_mismatch` (403).
    """
    if event.specversion != SPEC_VERSION:
        raise invalid("specversion", f"is '{SPEC_VERSION}'", where)
    kind = None if event.type in _good_types else _check_type(event.type, where, reported)
    if event.tenantid is not msgspec.UNSET and event.tenantid != tenant:
        raise HubError(
            "tenant_mismatch", Kind.DENIED, "An event's tenant is the caller's own.",
            next_step=f"Leave '{TENANT}' out; the hub sets it.",
        )  # fmt: skip
    data, binary = _data(event, where)
    fact = EventPublished(
        id=_text(event.id, "id", where),
        source=_text(event.source, "source", where),
        type=event.type,
        subject=_text(event.subject, "subject", where),
        time=_time(event.time, where),
        category=_category(event.hubcategory, where),
        attributes=_attributes(event, extensions, where),
        data=data,
        binary=binary,
    )
    return fact if kind is None else _as_reported(fact, kind, where)


def encoded(applied: Applied, fact: EventPublished, incarnation: str) -> bytes:
    """Write a published event in structured form; tenant and position are the hub's."""
    event: dict[str, object] = {
        "specversion": SPEC_VERSION,
        "id": fact.id or applied.id,
        "source": fact.source,
        "type": fact.type,
    }
    if fact.subject:
        event["subject"] = fact.subject
    event["time"] = fact.time or rfc3339(applied.time_ms)
    event.update(fact.attributes)
    if applied.actor.correlation:
        event.setdefault("correlationid", applied.actor.correlation)
    event[CATEGORY] = fact.category.value
    event[TENANT] = applied.domain
    event["hubseq"] = f"{incarnation}.{applied.domain_seq}"
    if fact.binary:
        event["data_base64"] = base64.b64encode(fact.data).decode()
    elif fact.data:
        event["data"] = msgspec.Raw(fact.data)
    return _encode(event)


def invalid(name: str, rule: str, where: int = -1) -> HubError:
    """Return the refusal of an event.

    Args:
        name: the attribute.
        rule: what it has to be, as the end of a sentence.
        where: which one of a batch, -1 for the only one.
    """
    return HubError(
        "invalid_event",
        Kind.MALFORMED,
        f"The event{'' if where < 0 else f' {where}'} is not one that can be published: '{name}' {rule}.",
        next_step="Send a CloudEvent 1.0 with specversion, type and source.",
        fields={"attribute": name} if where < 0 else {"attribute": name, "index": where},
    )


def _binary(raw: bytes, headers: RawHeaders, media: str) -> Given:
    members: dict[str, object] = {}
    for name, value in headers:
        if name.startswith(BINARY_PREFIX):
            members[name[len(BINARY_PREFIX) :].decode("latin-1")] = unquote(value.decode("latin-1"))
    if media:
        members["datacontenttype"] = media
    if raw and _JSON_TYPE.match(media):
        check_depth(raw)
        members["data"] = msgspec.Raw(raw)
    elif raw:
        members["data_base64"] = base64.b64encode(raw).decode()
    return _extended(_encode(members))[0]


def _extended(raw: bytes) -> list[Given]:
    """Read events with extensions that have no field of their own, which costs more; or say what is wrong."""
    try:
        found: Members | list[Members] = _members.decode(raw)
    except msgspec.DecodeError:
        raise _refused(raw) from None
    many: list[Members] = found if isinstance(found, list) else [found]
    given: list[Given] = []
    for where, members in enumerate(many):
        extensions = _extensions(members, where if isinstance(found, list) else -1)
        named = _encode({name: value for name, value in members.items() if name in _NAMED})
        given.append((cast(CloudEvent, decode_body(named, CloudEvent)), extensions))
    if isinstance(found, list):
        decode_body(_encode([event for event, _ in given]), cast(Any, Batch))
    return given


def _refused(raw: bytes) -> HubError:
    try:
        decode_body(raw, cast(Any, CloudEvent | Batch))
    except HubError as error:
        return error
    raise AssertionError("what the members' decoder refuses the event's refuses too")


def _extensions(members: Members, where: int) -> dict[str, Scalar]:
    kept: dict[str, Scalar] = {}
    for name in members.keys() - _NAMED:
        if not _NAME.match(name):
            raise invalid(name[:64], f"is no attribute: a name has 1 to {EXTENSION_NAME_MAX} of a-z and 0-9", where)
        try:
            value = _scalar.decode(members[name])
        except msgspec.DecodeError:
            raise invalid(name, "is text, a whole number, or true or false", where) from None
        if isinstance(value, str) and not 0 < len(_text(value, name, where)) <= TEXT_MAX:
            raise invalid(name, f"has 1 to {TEXT_MAX} characters", where)
        if not isinstance(value, str | bool) and not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
            raise invalid(name, "is a whole number of 32 bits", where)
        kept[name] = value
    if len(kept) > EXTENSIONS_MAX:
        raise invalid(max(kept), f"is one too many: an event has up to {EXTENSIONS_MAX} further attributes", where)
    return kept


def _attributes(event: CloudEvent, extensions: Mapping[str, Scalar], where: int) -> tuple[tuple[str, Scalar], ...]:
    named: Sequence[tuple[str, Any]] = [(name, getattr(event, name)) for name in _WRITTEN]
    kept = [(name, _text(value, name, where)) for name, value in named if value is not msgspec.UNSET]
    return (*kept, *sorted(extensions.items())) if extensions else tuple(kept)


def _text(value: str | msgspec.UnsetType, name: str, where: int) -> str:
    if value is msgspec.UNSET:
        return ""
    if not value.isprintable() and _CONTROL.search(value):
        raise invalid(name, "has a control character", where)
    return value


def _check_type(name: str, where: int, reported: Mapping[str, ReportedType]) -> ReportedType | None:
    if not _TYPE.match(name):
        raise invalid("type", f"is up to {TYPE_MAX} characters of words with dots between them", where)
    if name.startswith(TYPE_PREFIX):
        kind = reported.get(name)
        if kind is None:
            near = difflib.get_close_matches(name, reported, n=1, cutoff=0.8)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise invalid("type", f"begins with '{TYPE_PREFIX}', which is what the hub itself tells{hint}", where)
        return kind
    if len(_good_types) >= WORDS_KEPT_MAX:
        _good_types.clear()
    _good_types[name] = None
    return None


def _as_reported(fact: EventPublished, kind: ReportedType, where: int) -> EventPublished:
    """Return a reported event as it is remembered: its data is of the type's shape, its subject says what about."""
    if fact.binary or not fact.data:
        raise invalid("data", f"is JSON that {kind.title} describes", where)
    try:
        data = decode_body(fact.data, kind.shape)
    except HubError as error:
        raise invalid("data", f"is not what {kind.title} is: {error.message}", where) from None
    return msgspec.structs.replace(fact, subject=kind.subject(data), category=Category.INTEGRATION)


def _time(text: str | msgspec.UnsetType, where: int) -> str:
    if text is msgspec.UNSET:
        return ""
    try:
        if len(text) < 20 or datetime.fromisoformat(text.upper()).tzinfo is None:
            raise ValueError
    except ValueError:
        raise invalid("time", "is an RFC 3339 time with its zone", where) from None
    return text


def _category(text: str | msgspec.UnsetType, where: int) -> Category:
    try:
        return Category.DOMAIN if text is msgspec.UNSET else Category(text)
    except ValueError:
        raise invalid(CATEGORY, "is 'domain' or 'integration'", where) from None


def _data(event: CloudEvent, where: int) -> tuple[bytes, bool]:
    binary = event.data_base64 is not msgspec.UNSET
    if event.data is msgspec.UNSET:
        data = b""
    else:
        data = bytes(event.data)
        if binary:
            raise invalid("data", "and 'data_base64' cannot both be there", where)
    if binary:
        try:
            data = base64.b64decode(event.data_base64 or "", validate=True)
        except (binascii.Error, ValueError):
            raise invalid("data_base64", "is base64", where) from None
    if len(data) > EVENT_BYTES_MAX:
        raise HubError(
            "event_too_large", Kind.TOO_LARGE, f"An event's data has at most {EVENT_BYTES_MAX} bytes.",
            next_step="Publish where the data is, not the data.",
        )  # fmt: skip
    return data, binary
