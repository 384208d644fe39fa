"""CloudEvents as they come and as they are told again."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.events.envelope import encoded, published, read
from central_hub.events.model import EVENT_BYTES_MAX, EXTENSIONS_MAX, Category
from central_hub.kernel.errors import HubError
from central_hub.kernel.records import Actor, Applied
from central_hub.kernel.records import Category as RecordCategory
from tests.unit.events.house import ACME, JSON, event


def written(fact: Any, *, correlation: str = "") -> dict[str, Any]:
    applied = Applied(
        pos=9, domain=ACME, domain_seq=3, streams=("event/x",), category=RecordCategory.EVENT, type="EventPublished",
        id="0190-record", time_ms=1_700_000_000_000, fact=fact,
        actor=Actor(principal="k", kind="key", correlation=correlation),
    )  # fmt: skip
    return msgspec.json.decode(encoded(applied, fact, "inc1"))


def told(body: object, *, tenant: str | None = "acme") -> dict[str, Any]:
    [(found, extensions)] = read(msgspec.json.encode(body), JSON)
    return written(published(found, extensions, tenant))


def refusal(body: object, headers: Any = JSON) -> HubError:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(HubError) as caught:
        taken(raw, headers)
    return caught.value


def taken(raw: bytes, headers: Any) -> None:
    for at, (found, extensions) in enumerate(read(raw, headers)):
        published(found, extensions, "acme", where=at)


def test_an_event_is_told_as_it_was_published_with_tenant_and_position_beside_it() -> None:
    sent = event(
        subject="order/1", time="2026-01-20T10:30:00.5+01:00", datacontenttype="application/json",
        dataschema="https://schemas.example/order", correlationid="c-1", causationid="e-0", traceparent="00-ab-cd-01",
        partitionkey="p", data={"n": 1, "price": 1.10, "none": None, "text": "ü"},
    )  # fmt: skip
    assert told(sent) == {**sent, "tenantid": "acme", "hubseq": "inc1.3", "hubcategory": "domain"}


def test_what_is_missing_is_added() -> None:
    shown = told(event(id=None), tenant="acme")
    assert shown["id"] == "0190-record"
    assert shown["time"] == "2023-11-14T22:13:20.000Z"
    assert "data" not in shown


def test_data_keeps_its_own_text() -> None:
    raw = b'{"specversion":"1.0","type":"a","source":"s","data":{"big":123456789012345678901234567890,"e":1e400}}'
    [(found, extensions)] = read(raw, JSON)
    assert published(found, extensions, None).data == b'{"big":123456789012345678901234567890,"e":1e400}'


@pytest.mark.parametrize("data", [None, 0, False, "", [], {}, "text", [1, [2]], {"a": None}])
def test_any_json_is_data(data: object) -> None:
    assert told(event() | {"data": data})["data"] == data


def test_extensions_keep_their_type_and_their_limits() -> None:
    shown = told(event(myext="x", retries=3, urgent=True))
    assert (shown["myext"], shown["retries"], shown["urgent"]) == ("x", 3, True)
    assert refusal(event(My="x")).fields["attribute"] == "My"
    assert refusal(event(long_name="x")).code == "invalid_event"
    assert refusal(event(nested={"a": 1})).code == "invalid_event"
    assert refusal(event(large=2**31)).code == "invalid_event"
    assert refusal(event(**{f"e{at}": "x" for at in range(EXTENSIONS_MAX + 1)})).code == "invalid_event"


def test_bytes_are_told_as_bytes() -> None:
    shown = told(event(datacontenttype="application/octet-stream", data_base64=base64.b64encode(b"\x00\xff").decode()))
    assert base64.b64decode(shown["data_base64"]) == b"\x00\xff"
    assert refusal(event(data_base64="no base64!")).code == "invalid_event"
    assert refusal(event(data={}, data_base64="AA==")).code == "invalid_event"


def test_attributes_in_headers_with_the_data_as_the_body() -> None:
    headers = [
        (b"content-type", b"application/json"), (b"ce-specversion", b"1.0"), (b"ce-type", b"com.acme.placed"),
        (b"ce-source", b"/services/orders"), (b"ce-id", b"%C3%BC-1"), (b"ce-myext", b"x"), (b"x-other", b"y"),
    ]  # fmt: skip
    [(found, extensions)] = read(b'{"n":1}', headers)
    shown = written(published(found, extensions, "acme"))
    assert (shown["id"], shown["data"], shown["myext"]) == ("ü-1", {"n": 1}, "x")
    headers[0] = (b"content-type", b"text/xml")
    [(found, extensions)] = read(b"<x/>", headers)
    shown = written(published(found, extensions, "acme"))
    assert (base64.b64decode(shown["data_base64"]), shown["datacontenttype"]) == (b"<x/>", "text/xml")


def test_a_batch_is_an_array() -> None:
    found = read(msgspec.json.encode([event(1), event(2, extra="x")]), JSON)
    assert [published(one, more, None).id for one, more in found] == ["e-1", "e-2"]
    assert refusal([]).code == "invalid_body"
    assert refusal([event(at) for at in range(1_001)]).code == "invalid_body"
    assert refusal([event(1), event(2, type="no words")]).fields == {"attribute": "type", "index": 1}


@pytest.mark.parametrize(
    ("changed", "attribute"),
    [
        ({"specversion": "0.3"}, "specversion"), ({"type": "x" * 65 + ".y"}, "type"), ({"type": "a b"}, "type"),
        ({"type": "io.centralhub.service.registered.v1"}, "type"), ({"time": "yesterday"}, "time"),
        ({"time": "2026-01-20T10:30:00"}, "time"), ({"subject": "a\nb"}, "subject"), ({"id": "\x00"}, "id"),
        ({"hubcategory": "gossip"}, "hubcategory"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused_by_attribute(changed: dict[str, Any], attribute: str) -> None:
    error = refusal(event(**changed))
    assert (error.code, error.fields["attribute"]) == ("invalid_event", attribute)


@pytest.mark.parametrize("missing", ["specversion", "type", "source"])
def test_what_every_event_has(missing: str) -> None:
    error = refusal({name: value for name, value in event().items() if name != missing})
    assert error.code == "invalid_body"
    assert missing in error.message


@pytest.mark.parametrize(
    "body", [b"", b"nothing", b"[1]", b'"x"', b"null", b'{"data": "\xff"}', b'{"specversion":"1.0"']
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    assert refusal(body).code == "invalid_body"


def test_deep_data_is_refused_in_every_form() -> None:
    deep = b'{"specversion":"1.0","type":"a","source":"s","data":' + b"[" * 40 + b"]" * 40 + b"}"
    assert refusal(deep).code == "invalid_body"
    headers = [
        (b"content-type", b"application/json"),
        (b"ce-specversion", b"1.0"),
        (b"ce-type", b"a"),
        (b"ce-source", b"s"),
    ]
    assert refusal(b"[" * 40 + b"]" * 40, headers).code == "invalid_body"


def test_a_form_nobody_declared_is_refused() -> None:
    assert refusal(event(), [(b"content-type", b"text/plain")]).code == "unsupported_media_type"
    assert refusal(event(), []).code == "unsupported_media_type"
    for media in (b"application/cloudevents+json", b"application/cloudevents-batch+json; charset=utf-8"):
        assert read(msgspec.json.encode(event()), [(b"content-type", media)])


def test_another_tenant_is_refused_and_the_own_is_not() -> None:
    assert told(event(tenantid="acme"))["tenantid"] == "acme"
    assert refusal(event(tenantid="globex")).code == "tenant_mismatch"
    with pytest.raises(HubError, match="tenant_mismatch"):
        told(event(tenantid="acme"), tenant=None)


def test_a_position_that_a_publisher_names_is_not_kept() -> None:
    assert told(event(hubseq="forged.9"))["hubseq"] == "inc1.3"


def test_data_has_a_limit() -> None:
    assert told(event(data="x" * (EVENT_BYTES_MAX - 2)))["data"]
    assert refusal(event(data="x" * (EVENT_BYTES_MAX - 1))).code == "event_too_large"


def test_the_request_s_correlation_is_told_unless_the_event_has_its_own() -> None:
    [(found, extensions)] = read(msgspec.json.encode(event()), JSON)
    fact = published(found, extensions, "acme")
    assert written(fact, correlation="r-1")["correlationid"] == "r-1"
    [(found, extensions)] = read(msgspec.json.encode(event(correlationid="e-1")), JSON)
    assert written(published(found, extensions, "acme"), correlation="r-1")["correlationid"] == "e-1"


def test_categories() -> None:
    [(found, extensions)] = read(msgspec.json.encode(event(hubcategory="integration")), JSON)
    assert published(found, extensions, None).category is Category.INTEGRATION


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=4)))
def test_whatever_json_the_data_is_it_comes_back(data: object) -> None:
    assert told(event() | {"data": data})["data"] == data


@given(st.binary(max_size=200))
def test_whatever_the_body_is_it_is_read_or_refused(body: bytes) -> None:
    refused = ""
    try:
        read(body, JSON)
    except HubError as error:
        refused = error.code
    assert refused in ("", "invalid_body", "invalid_event")
