"""A small HTTP/1.1 load generator on plain protocols: closed loop, keep-alive, one request per connection at a time.

wrk cannot send a different body every time without Lua in its hot loop; this can, and it says how
busy its own core was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What a run measured: milliseconds of each answer, how many were not 2xx, how long it all took."""

    latencies_ms: list[float] = field(default_factory=list[float])
    refused: int = 0
    seconds: float = 0.0
    own_cpu: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies_ms) / self.seconds

    def percentile(self, share: float) -> float:
        """Return a percentile in milliseconds."""
        ordered = sorted(self.latencies_ms)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    def summary(self) -> dict[str, float]:
        """Return the figures a benchmark prints."""
        return {
            "n": len(self.latencies_ms),
            "per_s": round(self.per_second),
            "p50_ms": self.percentile(0.5),
            "p95_ms": self.percentile(0.95),
            "p99_ms": self.percentile(0.99),
            "refused": self.refused,
            "load_core_busy": round(self.own_cpu / self.seconds, 2),
        }


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], outcome: Outcome, done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._outcome = outcome
        self._done = done
        self._received = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        at = self._received.find(b"content-length: ")
        length = int(self._received[at + 16 : self._received.find(b"\r\n", at)]) if 0 <= at < head_end else 0
        if len(self._received) < head_end + 4 + length:
            return
        self._outcome.latencies_ms.append((time.perf_counter() - self._sent_at) * 1000)
        if not self._received.startswith(b"HTTP/1.1 2"):
            self._outcome.refused += 1
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _next(self) -> None:
        request = next(self._requests, None)
        assert self._transport is not None
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def run_load(port: int, requests: list[Iterator[bytes]]) -> Outcome:
    """Send each iterator's requests over a connection of its own, one after another, all at once."""
    loop = asyncio.get_running_loop()
    outcome = Outcome()
    waiting: list[asyncio.Future[None]] = []
    begun, cpu = time.perf_counter(), time.process_time()
    for source in requests:
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)

        def connection(source: Iterator[bytes] = source, done: asyncio.Future[None] = done) -> _Connection:
            return _Connection(source, outcome, done)

        await loop.create_connection(connection, "127.0.0.1", port)
    await asyncio.gather(*waiting)
    outcome.seconds = time.perf_counter() - begun
    outcome.own_cpu = time.process_time() - cpu
    return outcome


def post(path: str, key: str, body: bytes) -> bytes:
    """Write a POST request as it goes over the wire."""
    return _with_body("POST", path, key, body)


def put(path: str, key: str, body: bytes) -> bytes:
    """Write a PUT request as it goes over the wire."""
    return _with_body("PUT", path, key, body)


def _with_body(method: str, path: str, key: str, body: bytes) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
