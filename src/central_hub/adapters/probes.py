"""Active health checks over HTTP, TCP and gRPC, each on a fresh connection through the egress door.

A fresh connection per probe also tells whether the instance still accepts any. gRPC health is
spoken with hand-made HTTP/2 frames: grpcio would resolve and connect on its own, past the door,
and the whole exchange is one request and one four-byte answer. When a target is down the outcome
says so; nothing raises.

Source: RFC 9112, RFC 9113, grpc/doc/health-checking.md (grpc.health.v1.Health/Check).
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from time import monotonic
from typing import Final

from central_hub.adapters.egress import Connection, Egress, Refused
from central_hub.adapters.egress_policy import Purpose, Refusal, is_address
from central_hub.kernel.ids import DomainId
from central_hub.kernel.probing import PROBE_TIMEOUT_S, ProbeOutcome, ProbeProtocol, ProbeResult, ProbeTarget

ANSWER_BYTES_MAX: Final = 4_096
REQUESTS_KEPT: Final = 4_096
STATUS_WARNING: Final = 429
"""Answered by an instance that lives but wants less (Consul's convention for a warning)."""

_OUTCOMES: Final = {
    Refusal.UNRESOLVED: ProbeResult.UNRESOLVED,
    Refusal.OVER_BUDGET: ProbeResult.OVER_BUDGET,
}

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA: Final = 0x0
_HEADERS: Final = 0x1
_RST_STREAM: Final = 0x3
_SETTINGS: Final = 0x4
_GOAWAY: Final = 0x7
_END_STREAM: Final = 0x1
_END_HEADERS: Final = 0x4
_ACK: Final = 0x1
_PADDED: Final = 0x8
_FRAME_HEAD: Final = 9
_GRPC_HEAD: Final = 5
_SERVING: Final = 1
_FIELD_STATUS: Final = 0x08
_EMPTY_MESSAGE: Final = bytes(_GRPC_HEAD)
"""HealthCheckRequest{service: ""}: not compressed, length 0; the empty name asks about the whole server."""


class Probes:
    """Asks instances how they are, within `PROBE_TIMEOUT_S` and `ANSWER_BYTES_MAX` each.

    Args:
        egress: opens the connections.
        timeout_s: for all of one probe.
    """

    def __init__(self, egress: Egress, *, timeout_s: float = PROBE_TIMEOUT_S) -> None:
        self._egress = egress
        self._timeout_s = timeout_s

    async def probe(self, target: ProbeTarget) -> ProbeOutcome:
        """Ask once; whatever goes wrong is an outcome."""
        started = monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                result, status_class = await self._ask(target)
        except Refused as refused:
            return ProbeOutcome(result=_OUTCOMES.get(refused.refusal, ProbeResult.NOT_GRANTED))
        except ConnectionRefusedError:
            return ProbeOutcome(result=ProbeResult.REFUSED)
        except TimeoutError:
            return ProbeOutcome(result=ProbeResult.TIMED_OUT)
        except (ConnectionError, ValueError):
            return ProbeOutcome(result=ProbeResult.FAILED)
        except OSError:
            return ProbeOutcome(result=ProbeResult.UNREACHABLE)
        latency_ms = max(1, round((monotonic() - started) * 1_000))
        return ProbeOutcome(result=result, status_class=status_class, latency_ms=latency_ms)

    def granted(self, domain: DomainId, host: str, port: int) -> bool:
        """Say, without a resolver, whether probes to this address may be allowed."""
        return self._egress.may_be_granted(domain, host, port, purpose=Purpose.PROBE)

    async def _ask(self, target: ProbeTarget) -> tuple[ProbeResult, int]:
        connection = await self._egress.connect(
            target.domain, target.host, target.port, purpose=Purpose.PROBE, timeout_s=None
        )
        try:
            if target.protocol is ProbeProtocol.TCP:
                return ProbeResult.PASSED, 0
            if target.protocol is ProbeProtocol.HTTP:
                return await _ask_http(connection, target)
            return await _ask_grpc(connection, target)
        finally:
            connection.close()


@lru_cache(REQUESTS_KEPT)
def http_request(host: str, port: int, path: str) -> bytes:
    """Build the one request a probe sends: GET, the registered host, no tenant, nothing else.

    Raises:
        ValueError: the path is more than a path.
    """
    if not path.startswith("/") or path.startswith("//") or not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError("a probe asks for a path and nothing else")
    shown = f"[{host}]" if ":" in host and is_address(host) else host
    if not shown.isascii() or not shown.isprintable() or " " in shown:
        raise ValueError("a probe's host is a name or an address")
    return (
        f"GET {path} HTTP/1.1\r\nhost: {shown}:{port}\r\nuser-agent: central-hub-probe\r\n"
        "accept: */*\r\nconnection: close\r\n\r\n"
    ).encode("ascii")


def judge_status_line(head: bytes) -> tuple[ProbeResult, int] | None:
    """Judge what has arrived of an HTTP answer: 2xx passes, 429 warns, the rest fails; None while too short.

    A redirect fails: it is not followed, and a health endpoint that needs one is misregistered.
    """
    if len(head) < 13 and b"\n" not in head:
        return None if b"HTTP/1.".startswith(head[:7]) else (ProbeResult.FAILED, 0)
    if not (head.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) and head[9:12].isdigit() and head[12:13] in b" \r\n"):
        return ProbeResult.FAILED, 0
    status = int(head[9:12])
    if 200 <= status < 300:
        return ProbeResult.PASSED, 2
    return (ProbeResult.WARNED if status == STATUS_WARNING else ProbeResult.FAILED), status // 100


async def _ask_http(connection: Connection, target: ProbeTarget) -> tuple[ProbeResult, int]:
    await connection.send(http_request(target.host, target.port, target.path))
    head = b""
    while True:
        chunk = await connection.receive(ANSWER_BYTES_MAX - len(head))
        head += chunk
        verdict = judge_status_line(head)
        if verdict is not None:
            return verdict
        if not chunk:
            return ProbeResult.FAILED, 0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write an HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def health_check(authority: str) -> bytes:
    """Build everything a client says to call grpc.health.v1.Health/Check once, on stream 1.

    Headers are written as HPACK literals without indexing, so neither side keeps a table.
    """
    fields = (
        (":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority), ("te", "trailers"), ("content-type", "application/grpc"),
        ("user-agent", "central-hub-probe"), ("grpc-timeout", "2S"),
    )  # fmt: skip
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)
    return (
        _PREFACE
        + frame(_SETTINGS, 0, 0)
        + frame(_HEADERS, _END_HEADERS, 1, block)
        + frame(_DATA, _END_STREAM, 1, _EMPTY_MESSAGE)
    )


def _text(value: str) -> bytes:
    """Write an HPACK string without Huffman coding (RFC 7541, 5.2)."""
    raw = value.encode("ascii")
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, length = len(raw) - 127, bytearray((127,))
    while rest >= 128:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return bytes(length) + raw


class HealthAnswer:
    """Reads the server's frames until it is known whether the server is serving."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._message = bytearray()
        self.result: ProbeResult | None = None
        self.settings_seen = False

    def feed(self, data: bytes) -> None:
        """Take bytes; `result` is set as soon as they decide."""
        self._buffer += data
        while self.result is None and len(self._buffer) >= _FRAME_HEAD:
            length = int.from_bytes(self._buffer[:3], "big")
            if length > ANSWER_BYTES_MAX:
                self.result = ProbeResult.FAILED
                return
            if len(self._buffer) < _FRAME_HEAD + length:
                return
            kind, flags, stream = self._buffer[3], self._buffer[4], int.from_bytes(self._buffer[5:9], "big")
            payload = bytes(self._buffer[_FRAME_HEAD : _FRAME_HEAD + length])
            del self._buffer[: _FRAME_HEAD + length]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self.settings_seen = True
        elif not self.settings_seen or kind in (_GOAWAY, _RST_STREAM):
            self.result = ProbeResult.FAILED
        elif kind == _DATA and stream == 1:
            if flags & _PADDED and payload:
                payload = payload[1 : len(payload) - payload[0]]
            self._message += payload
            self._judge(ended=bool(flags & _END_STREAM))
        elif kind == _HEADERS and stream == 1 and flags & _END_STREAM:
            # Trailers without a whole message: the call failed (no such service, not implemented).
            self.result = ProbeResult.FAILED

    def _judge(self, *, ended: bool) -> None:
        body = bytes(self._message)
        whole = len(body) >= _GRPC_HEAD and len(body) >= _GRPC_HEAD + int.from_bytes(body[1:5], "big")
        if whole:
            # HealthCheckResponse{status: SERVING} is these two bytes; any other answer, an empty one too, is not.
            serving = body[0] == 0 and body[_GRPC_HEAD:] == bytes((_FIELD_STATUS, _SERVING))
            self.result = ProbeResult.PASSED if serving else ProbeResult.FAILED
        elif ended:
            self.result = ProbeResult.FAILED


async def _ask_grpc(connection: Connection, target: ProbeTarget) -> tuple[ProbeResult, int]:
    await connection.send(health_check(f"{target.host}:{target.port}"))
    answer = HealthAnswer()
    read, acknowledged = 0, False
    while answer.result is None and read < ANSWER_BYTES_MAX:
        chunk = await connection.receive(ANSWER_BYTES_MAX - read)
        if not chunk:
            break
        read += len(chunk)
        answer.feed(chunk)
        if answer.settings_seen and not acknowledged:
            acknowledged = True
            await connection.send(frame(_SETTINGS, _ACK, 0))
    return answer.result or ProbeResult.FAILED, 0
