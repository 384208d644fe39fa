"""Cross-origin reads of a real hub in all of its lane modes: what a browser is told, line by line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from central_hub.edge.cross_origin import ACCEPTED
from tests.security.real_hub import RealHub, running_hub

APP = "https://app.example.com"
DEV = "http://localhost:5173"
LINE = "access-control-"


@pytest.fixture(scope="module", params=["protocol", "asgi", "off"])
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    directory = tmp_path_factory.mktemp("hub")
    with running_hub(directory, "--lane", request.param, "--cross-origins", f"{APP},{DEV}") as running:
        running.must("POST", "/tenants", {"id": "acme", "name": "acme", "tier": "pro"})
        yield running


async def exchange(hub: RealHub, method: str, path: str, body: str = "", **headers: str) -> tuple[int, dict[str, str]]:
    """Send one request byte by byte as given; returns the status and the header lines."""
    lines = {"host": f"127.0.0.1:{hub.port}", "connection": "close", "content-length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode())
    async with asyncio.timeout(10):
        raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    writer.close()
    first, *rest = raw.strip().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest)


async def test_a_named_page_reads_and_is_shown_the_lines_it_needs(hub: RealHub) -> None:
    bearer = f"Bearer {hub.key}"
    status, lines = await exchange(hub, "GET", "/config/acme", authorization=bearer, origin=APP)
    assert (status, lines["access-control-allow-origin"], lines["vary"]) == (200, APP, "origin")
    exposed = lines["access-control-expose-headers"].split(", ")
    assert {"etag", "retry-after", "hub-tier"} <= set(exposed)
    assert "etag" in lines
    asked = {"authorization": bearer, "origin": DEV, "x_tenant_id": "acme", "content_type": "application/json"}
    status, lines = await exchange(hub, "POST", "/ofrep/v1/evaluate/flags", "{}", **asked)
    assert (status, lines["access-control-allow-origin"]) == (200, DEV)
    status, again = await exchange(hub, "POST", "/ofrep/v1/evaluate/flags", "{}", if_none_match=lines["etag"], **asked)
    assert (status in (200, 304), again["access-control-allow-origin"]) == (True, DEV)


async def test_a_refusal_can_be_read_too(hub: RealHub) -> None:
    status, lines = await exchange(hub, "GET", "/config/acme", authorization="Bearer chk_none_x", origin=APP)
    assert (status, lines["access-control-allow-origin"]) == (401, APP)
    status, lines = await exchange(hub, "GET", "/config/nobody", authorization=f"Bearer {hub.key}", origin=APP)
    assert (status, lines["access-control-allow-origin"]) == (404, APP)


async def test_no_page_is_told_that_cookies_are_welcome_and_none_is_told_of_all_origins(hub: RealHub) -> None:
    for method, more in (("GET", {}), ("OPTIONS", {"access_control_request_method": "GET"})):
        _, lines = await exchange(hub, method, "/config/acme", authorization=f"Bearer {hub.key}", origin=APP, **more)
        assert "access-control-allow-credentials" not in lines
        assert lines["access-control-allow-origin"] == APP


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/ofrep/v1/evaluate/flags"), ("POST", "/ofrep/v1/evaluate/flags/x"), ("GET", "/config/acme"),
     ("GET", "/config/acme/explain"), ("GET", "/ofrep/v1/events"), ("GET", "/tenants/acme/flags"),
     ("POST", "/tenants/acme/flags/x/explain")],
)  # fmt: skip
async def test_the_question_before_a_read_is_answered_without_a_credential(
    hub: RealHub, method: str, path: str
) -> None:
    asked = {"access_control_request_method": method, "access_control_request_headers": "authorization,content-type"}
    status, lines = await exchange(hub, "OPTIONS", path, origin=APP, **asked)
    assert status == 204
    assert lines["access-control-allow-origin"] == APP
    assert lines["access-control-allow-methods"] == method.lower()
    assert lines["access-control-allow-headers"].split(", ") == list(ACCEPTED)
    assert lines["vary"].startswith("origin")


@pytest.mark.parametrize(
    ("method", "path", "origin"),
    [
        ("GET", "/config/acme", "https://evil.example.com"), ("GET", "/config/acme", "null"),
        ("PUT", "/flags/x", APP), ("GET", "/flags", APP), ("PUT", "/tenants/acme/flags/x", APP),
        ("PATCH", "/config/layers/global", APP), ("GET", "/config/layers/global", APP),
        ("POST", "/tenants", APP), ("POST", "/services/register", APP), ("GET", "/services/", APP),
        ("GET", "/nowhere", APP), ("DELETE", "/config/acme", APP), ("OPTIONS", "/config/acme", APP),
    ],
)  # fmt: skip
async def test_everything_else_is_refused_before_it_is_asked(hub: RealHub, method: str, path: str, origin: str) -> None:
    status, lines = await exchange(hub, "OPTIONS", path, origin=origin, access_control_request_method=method)
    assert status in (404, 405)
    assert not [name for name in lines if name.startswith(LINE)]


async def test_an_answer_to_a_foreign_page_says_that_it_depends_on_the_origin_and_nothing_else(hub: RealHub) -> None:
    bearer = f"Bearer {hub.key}"
    status, lines = await exchange(hub, "GET", "/config/acme", authorization=bearer, origin="https://evil.example.com")
    _, plain = await exchange(hub, "GET", "/config/acme", authorization=bearer)
    assert (status, lines.pop("vary")) == (200, "origin")
    assert lines.keys() == plain.keys()
    assert not [name for name in lines if name.startswith(LINE)]


async def test_an_operation_that_is_not_opened_is_the_same_for_a_named_page(hub: RealHub) -> None:
    _, lines = await exchange(hub, "GET", "/services/", authorization=f"Bearer {hub.key}", origin=APP)
    assert not [name for name in (*lines, "") if name.startswith(LINE) or name == "vary"]


async def test_without_origins_a_page_gets_what_it_got_before(tmp_path: Path) -> None:
    with running_hub(tmp_path) as closed:
        closed.must("POST", "/tenants", {"id": "acme", "name": "acme", "tier": "pro"})
        status, lines = await exchange(closed, "GET", "/config/acme", authorization=f"Bearer {closed.key}", origin=APP)
        assert (status, "vary" in lines) == (200, False)
        asked = {"origin": APP, "access_control_request_method": "GET"}
        status, more = await exchange(closed, "OPTIONS", "/config/acme", **asked)
        assert status == 405
        assert not [name for name in (*lines, *more) if name.startswith(LINE)]
