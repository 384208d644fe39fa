"""Probes against real servers: what passes, what warns, what fails, and that nothing runs away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import LOOPBACK_GRANTS, Policy
from central_hub.adapters.probes import (
    ANSWER_BYTES_MAX,
    HealthAnswer,
    Probes,
    frame,
    http_request,
    judge_status_line,
)
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.ids import SHARED
from central_hub.kernel.probing import ProbeProtocol, ProbeResult, ProbeTarget


@pytest.fixture
def probes() -> Probes:
    return Probes(Egress(Policy(LOOPBACK_GRANTS), ManualClock()), timeout_s=0.5)


@asynccontextmanager
async def serving(answer: bytes | None, seen: list[bytes] | None = None) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(request)
            if answer is None:
                await asyncio.sleep(5)
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def target(port: int, protocol: ProbeProtocol = ProbeProtocol.HTTP, host: str = "127.0.0.1") -> ProbeTarget:
    return ProbeTarget(domain=SHARED, host=host, port=port, protocol=protocol, path="/health?deep=1")


@pytest.mark.parametrize(
    ("answer", "result", "status_class"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ProbeResult.PASSED, 2),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ProbeResult.PASSED, 2),
        (b"HTTP/1.1 429 Too Many Requests\r\n\r\n", ProbeResult.WARNED, 4),
        (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", ProbeResult.FAILED, 3),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", ProbeResult.FAILED, 4),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", ProbeResult.FAILED, 5),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", ProbeResult.FAILED, 0),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", ProbeResult.FAILED, 0),
        (b"", ProbeResult.FAILED, 0),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, ProbeResult.PASSED, 2),
    ],
)
async def test_an_http_answer_is_judged_by_its_status_line(
    probes: Probes, answer: bytes, result: ProbeResult, status_class: int
) -> None:
    async with serving(answer) as port:
        outcome = await probes.probe(target(port))
    assert (outcome.result, outcome.status_class) == (result, status_class)


async def test_a_probe_asks_for_the_registered_host_and_path_and_names_no_tenant(probes: Probes) -> None:
    seen: list[bytes] = []
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n", seen) as port:
        await probes.probe(target(port, host="localhost"))
    lines = seen[0].decode().lower().split("\r\n")
    assert lines[0] == "get /health?deep=1 http/1.1"
    assert f"host: localhost:{port}" in lines
    assert not [line for line in lines if line.startswith(("x-", "authorization", "cookie", "traceparent"))]


async def test_a_server_that_says_nothing_times_out_within_the_cap(probes: Probes) -> None:
    started = monotonic()
    async with serving(None) as port:
        outcome = await probes.probe(target(port))
    assert outcome.result is ProbeResult.TIMED_OUT
    assert monotonic() - started < 1.5


async def test_a_closed_port_is_refused(probes: Probes) -> None:
    async with serving(b"") as port:
        pass
    assert (await probes.probe(target(port))).result is ProbeResult.REFUSED
    assert (await probes.probe(target(port, ProbeProtocol.TCP))).result is ProbeResult.REFUSED


async def test_a_tcp_probe_passes_when_the_connection_is_taken(probes: Probes) -> None:
    async with serving(None) as port:
        assert (await probes.probe(target(port, ProbeProtocol.TCP))).result is ProbeResult.PASSED


async def test_an_address_without_a_grant_is_not_asked() -> None:
    closed = Probes(Egress(Policy(), ManualClock()))
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        assert (await closed.probe(target(port))).result is ProbeResult.NOT_GRANTED
        assert not closed.granted(SHARED, "127.0.0.1", port)


async def test_a_name_that_does_not_resolve_is_unresolved(probes: Probes) -> None:
    assert (await probes.probe(target(80, host="no-such-name.invalid"))).result is ProbeResult.UNRESOLVED


@pytest.mark.parametrize("path", ["http://10.0.0.1/", "//evil/", "/a b", "/a\r\nx: y", "", "health", "/é"])
def test_a_path_that_is_more_than_a_path_is_never_sent(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        http_request("h", 80, path)


def test_a_split_status_line_is_waited_for() -> None:
    assert judge_status_line(b"") is None
    assert judge_status_line(b"HTTP/1.1 20") is None
    assert judge_status_line(b"HTTX") == (ProbeResult.FAILED, 0)


async def test_a_serving_grpc_server_passes_and_one_that_is_not_serving_fails(probes: Probes) -> None:
    grpc = pytest.importorskip("grpc")
    health = pytest.importorskip("grpc_health.v1.health")
    pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await servicer.set("", pb2.HealthCheckResponse.SERVING)
        assert (await probes.probe(target(port, ProbeProtocol.GRPC))).result is ProbeResult.PASSED
        await servicer.set("", pb2.HealthCheckResponse.NOT_SERVING)
        assert (await probes.probe(target(port, ProbeProtocol.GRPC))).result is ProbeResult.FAILED
    finally:
        await server.stop(None)


async def test_a_grpc_server_without_the_health_service_fails(probes: Probes) -> None:
    grpc = pytest.importorskip("grpc")
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert (await probes.probe(target(port, ProbeProtocol.GRPC))).result is ProbeResult.FAILED
    finally:
        await server.stop(None)


SETTINGS = frame(0x4, 0, 0)


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (SETTINGS + frame(0x0, 0, 1, b"\x00\x00\x00\x00\x02\x08\x01"), ProbeResult.PASSED),
        (SETTINGS + frame(0x0, 0x8, 1, b"\x02\x00\x00\x00\x00\x02\x08\x01\x00\x00"), ProbeResult.PASSED),
        (SETTINGS + frame(0x0, 0, 1, b"\x00\x00\x00\x00\x02\x08\x02"), ProbeResult.FAILED),
        (SETTINGS + frame(0x0, 0x1, 1, b"\x00\x00\x00\x00\x00"), ProbeResult.FAILED),
        (SETTINGS + frame(0x0, 0x1, 1, b"\x00"), ProbeResult.FAILED),
        (SETTINGS + frame(0x1, 0x5, 1, b"\x88"), ProbeResult.FAILED),
        (SETTINGS + frame(0x7, 0, 0, bytes(8)), ProbeResult.FAILED),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProbeResult.FAILED),
        ((ANSWER_BYTES_MAX + 1).to_bytes(3, "big") + bytes(6), ProbeResult.FAILED),
        (SETTINGS, None),
    ],
)
def test_grpc_frames_are_judged_whole_and_byte_by_byte(data: bytes, result: ProbeResult | None) -> None:
    whole, slow = HealthAnswer(), HealthAnswer()
    whole.feed(data)
    for byte in data:
        slow.feed(bytes((byte,)))
    assert whole.result is slow.result is result
