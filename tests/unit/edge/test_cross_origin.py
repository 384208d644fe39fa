"""Cross-origin reads: which origins can be named, what a page is told, and who is told nothing."""

from __future__ import annotations

import pytest

from central_hub.adapters.stores import in_memory
from central_hub.app import build
from central_hub.app.wiring import describe
from central_hub.edge.cross_origin import ACCEPTED, EXPOSED, ORIGINS_MAX, CrossOrigin, origins_of
from central_hub.edge.operations import Headers
from central_hub.edge.pipeline import Answer, Request
from central_hub.kernel.errors import HubError
from central_hub.settings import Settings

APP = "https://app.example.com"
DEV = "http://localhost:5173"
READABLE = {
    "evaluate_flag", "evaluate_flags", "explain_config", "explain_flag", "flag_events", "get_config",
    "list_flag_overrides",
}  # fmt: skip
LINE = "access-control-"


@pytest.mark.parametrize(
    "text",
    [
        "*", "null", "app.example.com", "https://", "https://app.example.com/", "https://app.example.com/page",
        "https://*.example.com", "https://App.example.com", "ftp://app.example.com", "https://user@app.example.com",
        "https://app.example.com:443", "http://app.example.com:80", "https://app.example.com:0", "https://a b",
        "https://app.example.com?x", "https://" + "a" * 300, "https://app.example.com https://b.example.com",
        ",".join(f"https://a{at}.example.com" for at in range(ORIGINS_MAX + 1)),
    ],
)  # fmt: skip
def test_an_origin_is_named_as_a_browser_sends_it(text: str) -> None:
    with pytest.raises(HubError) as refused:
        origins_of(text)
    assert refused.value.code == "invalid_origins"


def test_origins_are_separated_by_commas() -> None:
    assert origins_of(f" {APP}, {DEV},http://127.0.0.1:1,http://[::1]:8080,") == {
        APP, DEV, "http://127.0.0.1:1", "http://[::1]:8080",
    }  # fmt: skip
    assert origins_of("") == frozenset()
    assert len(origins_of(",".join(f"https://a{at}.example.com" for at in range(ORIGINS_MAX)))) == ORIGINS_MAX


def test_only_reads_of_flags_and_of_effective_configuration_can_be_opened() -> None:
    table, _ = describe()
    assert {operation.id for operation in table.operations if operation.cross_origin} == READABLE


@pytest.mark.parametrize(
    "given",
    [
        [], [(b"origin", b"https://evil.example.com")], [(b"origin", b"null")], [(b"origin", b"https://app.example.com.")],
        [(b"origin", b"http://app.example.com")], [(b"origin", b"https://app.example.com:8443")],
        [(b"origin", b"HTTPS://APP.EXAMPLE.COM")], [(b"origin", b"https://app.example.com, https://app.example.com")],
        [(b"origin", b"https://app.example.com")] * 2,
    ],
)  # fmt: skip
def test_whoever_is_not_named_exactly_and_once_is_told_nothing(given: list[tuple[bytes, bytes]]) -> None:
    table, _ = describe()
    policy, found = CrossOrigin([APP]), table.find("GET", "/config/acme")
    assert found is not None
    lines = dict(policy.lines(found[0], Headers(given)))
    assert not [name for name in lines if name.startswith(LINE.encode())]
    asked = [*given, (b"access-control-request-method", b"GET")]
    assert policy.preflight(table, "/config/acme", Headers(asked)) is None


def test_a_named_page_is_told_that_it_may_read_and_which_lines() -> None:
    table, _ = describe()
    policy, found = CrossOrigin([APP, DEV]), table.find("GET", "/config/acme")
    assert found is not None
    assert policy.lines(found[0], Headers([(b"origin", DEV.encode())])) == (
        (b"access-control-allow-origin", DEV.encode()),
        (b"access-control-expose-headers", ", ".join(EXPOSED).encode()),
        (b"vary", b"origin"),
    )


def test_an_answer_to_a_foreign_page_says_only_that_it_depends_on_the_origin() -> None:
    table, _ = describe()
    found = table.find("GET", "/config/acme")
    assert found is not None
    foreign = Headers([(b"origin", b"https://evil.example.com")])
    assert CrossOrigin([APP]).lines(found[0], foreign) == ((b"vary", b"origin"),)
    assert CrossOrigin([APP]).lines(found[0], Headers([])) == ()
    assert CrossOrigin().lines(found[0], Headers([(b"origin", APP.encode())])) == ()
    assert CrossOrigin([APP]).lines(None, Headers([(b"origin", APP.encode())])) == ()


def test_what_is_not_opened_says_nothing_to_a_named_page() -> None:
    table, _ = describe()
    policy, named = CrossOrigin([APP]), Headers([(b"origin", APP.encode())])
    for operation in table.operations:
        assert bool(policy.lines(operation, named)) is operation.cross_origin


@pytest.mark.parametrize(
    ("path", "asked", "answered"),
    [
        ("/config/acme", [b"GET"], True), ("/ofrep/v1/evaluate/flags", [b"POST"], True),
        ("/config/acme", [], False), ("/config/acme", [b"GET", b"GET"], False), ("/config/acme", [b"DELETE"], False),
        ("/config/layers/global", [b"PATCH"], False), ("/nowhere", [b"GET"], False), ("/tenants", [b"POST"], False),
    ],
)  # fmt: skip
def test_a_preflight_is_answered_for_what_is_opened(path: str, asked: list[bytes], answered: bool) -> None:
    table, _ = describe()
    headers = Headers([(b"origin", APP.encode()), *((b"access-control-request-method", one) for one in asked)])
    lines = CrossOrigin([APP]).preflight(table, path, headers)
    assert (lines is not None) is answered
    assert CrossOrigin().preflight(table, path, headers) is None
    if lines is not None:
        told = dict(lines)
        assert told[b"access-control-allow-origin"] == APP.encode()
        assert told[b"access-control-allow-methods"] == asked[0]
        assert told[b"access-control-allow-headers"] == ", ".join(ACCEPTED).encode()
        assert b"access-control-allow-credentials" not in told


async def test_the_pipeline_tells_it_of_answers_and_of_refusals_and_answers_preflights() -> None:
    hub = build(Settings(cross_origins=APP), in_memory())

    async def ask(method: str, path: str, *more: tuple[bytes, bytes]) -> Answer:
        async def no_body(limit: int) -> bytes:
            return b""

        headers = Headers([(b"host", b"hub"), (b"origin", APP.encode()), *more])
        return await hub.pipeline.answer(Request(method, path, path.encode(), b"", headers, "127.0.0.1", no_body))

    refused = await ask("GET", "/config/acme")
    assert (refused.status, dict(refused.headers)[b"access-control-allow-origin"]) == (401, APP.encode())
    other = await ask("GET", "/services/")
    assert b"access-control-allow-origin" not in dict(other.headers)
    preflight = await ask("OPTIONS", "/config/acme", (b"access-control-request-method", b"GET"))
    assert (preflight.status, preflight.body) == (204, b"")
    assert dict(preflight.headers)[b"access-control-allow-methods"] == b"GET"
    assert (await ask("OPTIONS", "/config/acme")).status == 405
    assert (await ask("OPTIONS", "/tenants", (b"access-control-request-method", b"POST"))).status == 405
    assert (await ask("GET", "/config/acme", (b"access-control-request-method", b"GET"))).status == 401
    smuggled = (b"x-tenant-id", b"a"), (b"x-tenant-id", b"b"), (b"access-control-request-method", b"GET")
    assert (await ask("OPTIONS", "/config/acme", *smuggled)).status == 400


def test_open_mode_and_named_origins_do_not_go_together() -> None:
    Settings(cross_origins=APP).check()
    Settings(open=True).check()
    with pytest.raises(HubError) as refused:
        Settings(open=True, cross_origins=APP).check()
    assert refused.value.code == "open_mode_cross_origin"
    with pytest.raises(HubError) as refused:
        Settings(cross_origins="*").check()
    assert refused.value.code == "invalid_origins"
