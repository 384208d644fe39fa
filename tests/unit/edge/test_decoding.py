"""Decoding input: strict, bounded, and helpful when it refuses."""

from collections.abc import Callable
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.edge.decoding import (
    JSON_DEPTH_MAX,
    QUERY_BYTES_MAX,
    QUERY_FIELDS_MAX,
    check_depth,
    decode_body,
    decode_query,
)
from central_hub.kernel.errors import HubError, Kind


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    amount: int = 0


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    service_name: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 80
    inner: _Inner | None = None


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    tag: list[str] = []
    metadata: dict[str, str] = {}
    healthy: bool | None = None
    zone: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")] | None = None


def test_an_unknown_field_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(HubError) as refused:
        decode_body(b'{"service_nam": "a"}', _Body)
    assert refused.value.kind is Kind.MALFORMED
    assert "Did you mean 'service_name'?" in refused.value.message


def test_an_unknown_field_of_a_nested_struct_is_named_too() -> None:
    with pytest.raises(HubError) as refused:
        decode_body(b'{"service_name": "a", "inner": {"amout": 1}}', _Body)
    assert "Did you mean 'amount'?" in refused.value.message


def _refusal(call: Callable[[], object]) -> str | None:
    try:
        call()
    except HubError as error:
        return error.code
    return None


@given(st.binary(max_size=200))
def test_no_bytes_escape_as_anything_but_a_refusal(raw: bytes) -> None:
    assert _refusal(lambda: decode_body(raw, _Body)) in (None, "invalid_body")


@given(st.binary(max_size=200))
def test_no_query_escapes_as_anything_but_a_refusal(raw: bytes) -> None:
    assert _refusal(lambda: decode_query(raw, _Query)) in (None, "invalid_query")


def test_query_values_become_typed_lists_collect_and_dotted_names_fill_a_map() -> None:
    query = decode_query(b"limit=5&tag=a&tag=b&metadata.zone=x&healthy=true", _Query)
    assert query == _Query(limit=5, tag=["a", "b"], metadata={"zone": "x"}, healthy=True)


def test_there_is_no_null_in_a_query_but_a_thing_may_be_called_that() -> None:
    assert decode_query(b"zone=null", _Query) == _Query(zone="null")
    for raw in (b"healthy=null", b"healthy=NULL", b"limit=null"):
        with pytest.raises(HubError) as refused:
            decode_query(raw, _Query)
        assert refused.value.code == "invalid_query"


@pytest.mark.parametrize(
    "raw",
    [
        b"limit=0",
        b"limit=x",
        b"limit=1&limit=2",
        b"limt=1",
        b"metadata.=x",
        b"metadata.a=1&metadata.a=2",
        b"a" * (QUERY_BYTES_MAX + 1),
        b"&".join(b"tag=%d" % i for i in range(QUERY_FIELDS_MAX + 1)),
    ],
)
def test_a_bad_query_is_refused(raw: bytes) -> None:
    with pytest.raises(HubError) as refused:
        decode_query(raw, _Query)
    assert refused.value.code == "invalid_query"


def test_a_query_is_refused_where_none_is_taken() -> None:
    with pytest.raises(HubError):
        decode_query(b"a=1", None)
    assert decode_query(b"", None) is None


def test_nesting_is_bounded_and_brackets_in_strings_do_not_count() -> None:
    check_depth(b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX)
    check_depth(b'["' + b"[" * 200 + b'"]')
    check_depth(b'["\\"' + b"{" * 200 + b'"]')
    with pytest.raises(HubError):
        check_depth(b"[" * (JSON_DEPTH_MAX + 1) + b"]" * (JSON_DEPTH_MAX + 1))
