"""The guard refuses every second form of an identity header and lets plain ones through."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.edge import guard
from central_hub.kernel.errors import HubError, Kind

IDENTITY = [b"x-tenant-id", b"x-user-id", b"x-subscription-tier", b"x-company-id", b"x-correlation-id"]
SINGLE = sorted(guard.SINGLE_HEADERS)
TCHAR = "!#$%&'*+.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"
tokens = st.text(TCHAR, min_size=1, max_size=guard.CLAIM_LENGTH_MAX).map(str.encode)


def refusal(headers: list[tuple[bytes, bytes]], target: bytes = b"") -> str:
    with pytest.raises(HubError) as caught:
        guard.check(headers, target)
    assert caught.value.kind is Kind.INVALID
    return caught.value.code


def test_plain_claims_are_read() -> None:
    claims = guard.check(
        [
            (b"Host", b"hub:7000"),
            (b"X-Tenant-Id", b"acme"),
            (b"x-company-id", b"acme"),
            (b"x-user-id", b"u.1"),
            (b"x-subscription-tier", b"pro"),
            (b"x-correlation-id", b"req-1_a.B"),
            (b"x-service-name", b"risk-management"),
            (b"x-resource-requirements", b'{"gpu": {"count": 1}}'),
            (b"accept", b"a, b"),
        ]
    )
    assert claims == guard.Claims(
        tenant_id="acme",
        user_id="u.1",
        tier="pro",
        correlation_id="req-1_a.B",
        service_name="risk-management",
        resource_requirements={"gpu": {"count": 1}},
    )


def test_no_identity_headers_make_no_claims() -> None:
    assert guard.check([(b"host", b"hub"), (b"accept", b"*/*")]) == guard.Claims()


def test_company_id_alone_names_the_tenant() -> None:
    assert guard.check([(b"x-company-id", b"acme")]).tenant_id == "acme"


def test_company_id_that_differs_is_refused() -> None:
    assert refusal([(b"x-tenant-id", b"acme"), (b"x-company-id", b"globex")]) == "tenant_disagrees"


@pytest.mark.parametrize("name", SINGLE)
def test_a_guarded_header_given_twice_is_refused_even_with_the_same_value(name: bytes) -> None:
    assert refusal([(name, b"acme"), (b"accept", b"*/*"), (name.upper(), b"acme")]) == "duplicate_header"


@pytest.mark.parametrize("name", [name for name in SINGLE if b"-" in name])
def test_every_underscore_variant_is_refused(name: bytes) -> None:
    places = [at for at, byte in enumerate(name) if byte == ord("-")]
    for mask in range(1, 1 << len(places)):
        variant = bytearray(name)
        for bit, at in enumerate(places):
            if mask >> bit & 1:
                variant[at] = ord("_")
        assert refusal([(bytes(variant), b"acme")]) == "ambiguous_header"
        assert refusal([(bytes(variant).title(), b"acme")]) == "ambiguous_header"


@pytest.mark.parametrize("name", IDENTITY)
@pytest.mark.parametrize(
    "value",
    [b"", b" ", b"a b", b"a,b", b"a, b", b"acme\xa0", b"acme\x00", b"acme\t", b"a\r\n b", b"a\x7f", b"\xc3\xa9", b'"a"',
     b"a;b", b"a/b", b"a:b", b"(a)", b"a=b", b"a" * 65, b"a@b"],
)  # fmt: skip
def test_values_that_are_no_token_are_refused(name: bytes, value: bytes) -> None:
    assert refusal([(name, value)]) == "invalid_header"


def test_a_claim_of_64_characters_is_the_longest() -> None:
    assert guard.check([(b"x-tenant-id", b"a" * guard.CLAIM_LENGTH_MAX)]).tenant_id == "a" * guard.CLAIM_LENGTH_MAX


def test_a_correlation_id_is_narrower_than_a_token() -> None:
    assert refusal([(b"x-correlation-id", b"a~b")]) == "invalid_header"


def test_an_underscore_elsewhere_is_nobodys_business() -> None:
    assert guard.check([(b"my_header", b"a"), (b"sec_ch_ua", b"a,b")]) == guard.Claims()


def test_obs_fold_is_refused_in_any_header() -> None:
    assert refusal([(b"accept", b"text/html\r\n  x-tenant-id: acme")]) == "invalid_header"
    assert refusal([(b"accept", b"a\nb")]) == "invalid_header"


def test_a_name_that_is_no_token_is_refused() -> None:
    assert refusal([(b"x-tenant-id ", b"acme")]) == "invalid_header"
    assert refusal([(b"x-tenant-id\xa0", b"acme")]) == "invalid_header"
    assert refusal([(b"", b"acme")]) == "invalid_header"


def test_more_headers_than_the_limit_are_refused() -> None:
    lines = [(b"x-a-%d" % at, b"1") for at in range(guard.HEADERS_MAX + 1)]
    assert guard.check(lines[:-1]) == guard.Claims()
    assert refusal(lines) == "too_many_headers"


@pytest.mark.parametrize(
    "query", [b"tenant_id=globex", b"a=1&tenant_id=globex", b"tenant%5Fid=globex", b"tenant_id=acm%65&tenant_id=globex"]
)
def test_a_query_that_names_another_tenant_is_refused(query: bytes) -> None:
    assert refusal([(b"x-tenant-id", b"acme")], b"/services/?" + query) == "tenant_disagrees"


def test_a_query_that_names_the_same_tenant_passes() -> None:
    assert guard.check([(b"x-tenant-id", b"acme")], b"/services/?tenant_id=acm%65").tenant_id == "acme"
    assert guard.check([], b"/services/?tenant_id=acme").tenant_id is None


def test_only_the_tenant_in_a_query_has_to_agree() -> None:
    query = b"/services/?tenant=globex&my_tenant_id=globex&zone=a%20b&tenant_id=acme"
    assert guard.check([(b"x-tenant-id", b"acme")], query).tenant_id == "acme"


def test_an_escaped_key_names_a_tenant_too() -> None:
    assert refusal([(b"x-tenant-id", b"acme")], b"/services/?%74%65%6e%61%6e%74_id=globex") == "tenant_disagrees"


def test_two_tenants_in_one_query_are_refused() -> None:
    assert refusal([], b"/services/?tenant_id=a&tenant_id=b") == "tenant_disagrees"


@pytest.mark.parametrize(
    "target", [b"/a b", b"/a#b", b"/a\\b", b"/a\x00", b"/\xff", b"/" + b"a" * guard.TARGET_BYTES_MAX]
)
def test_targets_outside_visible_ascii_or_too_long_are_refused(target: bytes) -> None:
    assert refusal([], target) == "invalid_target"


def test_agree_returns_the_one_tenant_named() -> None:
    assert guard.agree() is None
    assert guard.agree(header="a", path="a") == "a"
    for named in ({"header": "a", "query": "b"}, {"header": "a", "path": "b"}, {"query": "a", "path": "b"}):
        with pytest.raises(HubError) as caught:
            guard.agree(**named)
        assert caught.value.code == "tenant_disagrees"


@given(tokens, st.sampled_from(IDENTITY), st.sampled_from(IDENTITY))
def test_a_token_is_accepted_once_and_never_twice(value: bytes, name: bytes, other: bytes) -> None:
    value = value.replace(b"~", b"-")
    for mark in b"!#$%&'*+^`|":
        value = value.replace(bytes([mark]), b"x")
    headers = [(name, value), (other.upper(), value)]
    if name == other:
        assert refusal(headers) == "duplicate_header"
    else:
        guard.check(headers)


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.sampled_from([*SINGLE, b"accept", b"X_Tenant_Id", b"x-tenant-id "]), st.binary(max_size=80)))
)
def test_the_guard_only_ever_accepts_one_plain_value_per_identity_header(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        claims = guard.check(headers)
    except HubError:
        return
    given_tenants = {value for name, value in headers if name.lower() in (b"x-tenant-id", b"x-company-id")}
    assert given_tenants == (set() if claims.tenant_id is None else {claims.tenant_id.encode()})
    for name in IDENTITY:
        assert sum(1 for line in headers if line[0].lower().replace(b"_", b"-").strip() == name) <= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(json_values)
def test_resource_requirements_accept_exactly_small_shallow_objects(value: object) -> None:
    raw = json.dumps(value).encode()
    fits = (
        isinstance(value, dict)
        and depth_of(value) <= guard.RESOURCE_REQUIREMENTS_DEPTH_MAX
        and len(raw) <= guard.RESOURCE_REQUIREMENTS_BYTES_MAX
    )
    if fits:
        assert guard.parse_resource_requirements(raw) == value
    else:
        with pytest.raises(HubError):
            guard.parse_resource_requirements(raw)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"1", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"a":}',
     b'{"a":"\xff"}', b'{"a":{"b":{"c":{}}}}', b'{"a":[[[1]]]}', b'{"a":"' + b"x" * 1024 + b'"}', b"[" * 1000,
     b'{"a":"\\"", "b": [[[]]]}', b'{"a":1} {}'],
)  # fmt: skip
def test_resource_requirements_refuse(raw: bytes) -> None:
    assert refusal([(b"x-resource-requirements", raw)]) == "invalid_resource_requirements"


def test_brackets_in_strings_are_not_depth() -> None:
    assert guard.parse_resource_requirements(b'{"a":"{{{[[[\\"{"}') == {"a": '{{{[[["{'}


OPEN = [(b"host", b"localhost:7000")]


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:7000", b"127.0.0.1", b"127.8.9.1:80", b"[::1]", b"[::1]:7000", b"[0:0::1]:1"]
)
def test_open_mode_takes_loopback_hosts(host: bytes) -> None:
    guard.check_open([(b"host", host)], method="GET")


@pytest.mark.parametrize(
    "host",
    [b"", b"evil.example", b"localhost.evil.example", b"127.0.0.1.nip.io", b"0.0.0.0", b"10.0.0.1", b"[::]", b"[::2]",
     b"localhost@evil", b"localhost:0", b"localhost:99999", b"localhost:", b"2130706433", b"127.1", b"0177.0.0.1",
     b"[::ffff:127.0.0.1]", b"::1", b"localhost,evil", b"localhost evil"],
)  # fmt: skip
def test_open_mode_refuses_other_hosts(host: bytes) -> None:
    with pytest.raises(HubError) as caught:
        guard.check_open([(b"host", host)], method="GET")
    assert caught.value.code == "insecure_request"


@pytest.mark.parametrize(
    "line",
    [(b"forwarded", b"for=1"), (b"X-Forwarded-For", b"1.2.3.4"), (b"x-forwarded-host", b"h"),
     (b"x_forwarded_for", b"1"), (b"via", b"1.1 proxy"),
     (b"origin", b"https://evil.example"), (b"origin", b"null"), (b"host", b"localhost"),
     (b"origin", b"http://localhost:9000")],
)  # fmt: skip
def test_open_mode_refuses_proxies_and_foreign_pages(line: tuple[bytes, bytes]) -> None:
    with pytest.raises(HubError) as caught:
        guard.check_open([*OPEN, line], method="GET")
    assert caught.value.code == "insecure_request"


def test_open_mode_takes_its_own_origin() -> None:
    guard.check_open([*OPEN, (b"origin", b"http://localhost:7000")], method="GET")


@pytest.mark.parametrize(
    "media", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b"", b"text/json"]
)
def test_open_mode_refuses_writes_with_bodies_that_are_not_json(media: bytes) -> None:
    for framing in ((b"content-length", b"2"), (b"transfer-encoding", b"chunked")):
        with pytest.raises(HubError):
            guard.check_open([*OPEN, (b"content-type", media), framing], method="POST")
    guard.check_open([*OPEN, (b"content-length", b"0")], method="POST")
    guard.check_open(
        [*OPEN, (b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"2")], method="POST"
    )


def test_open_mode_reads_a_media_type_whole() -> None:
    sized = (b"content-length", b"2")
    guard.check_open([*OPEN, (b"content-type", b"application/merge-patch+json"), sized], method="PATCH")
    for media in (b"text/plain+json", b"application/xml", b"application/octet-stream"):
        with pytest.raises(HubError):
            guard.check_open([*OPEN, (b"content-type", media), sized], method="POST")
        guard.check_open([*OPEN, (b"content-type", media), sized], method="GET")


@pytest.mark.parametrize("name", [b"origin", b"content-type", b"content-length"])
def test_open_mode_refuses_what_it_decides_by_given_twice(name: bytes) -> None:
    lines = [(b"origin", b"http://localhost:7000"), (b"content-type", b"application/json"), (b"content-length", b"2")]
    given = dict(lines)[name]
    with pytest.raises(HubError):
        guard.check_open([*OPEN, *lines, (name.upper(), given)], method="POST")
    guard.check_open([*OPEN, *lines, (b"accept", b"a"), (b"accept", b"b")], method="POST")


def test_numbers_in_resource_requirements_are_kept() -> None:
    assert guard.parse_resource_requirements(b'{"cpu":1.5,"n":2}') == {"cpu": 1.5, "n": 2}
