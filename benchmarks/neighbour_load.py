"""Open-loop clients for the benchmark of neighbours: victims that time every answer, and one that asks for too much.

Run as a program it is the abuser, in a process of its own at the lowest priority:

    python benchmarks/neighbour_load.py PORT KEY READS_PER_S WRITES_PER_S WATCHES

It takes orders on standard input, one a line ("on", "off", "end"), and answers each with a line of
JSON once it is carried out. While it is on it sends on schedule whatever comes back, pipelined over
many connections, so that a hub that stops reading one finds more and more waiting on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))
from http_load import post

TICK_S: Final = 0.002
BURST_S: Final = 0.1
"""How often each connection of the abuser sends what is due."""
READ_CONNECTIONS: Final = 60
WRITE_CONNECTIONS: Final = 40
WAITING_BYTES_MAX: Final = 262_144
"""What the abuser lets pile up unsent on a connection before it leaves out what is due."""
NICE: Final = 19


def get(path: str, key: str) -> bytes:
    """Write a GET request as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()


def registration(key: str, service: str, number: int) -> bytes:
    """Write a durable registration."""
    body = {"name": service, "instance_id": f"i-{number}", "host": "10.0.0.1", "port": 8_000, "lease_ttl_s": 3_600}
    return post("/services/register", key, json.dumps(body).encode())


class Answers(asyncio.Protocol):
    """One connection: takes answers apart and counts them by status."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self._told = told
        self._received = b""
        self._stream = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.transport = None

    def data_received(self, data: bytes) -> None:
        """Tell the status of every whole answer; a stream is told once, when its head is there."""
        if self._stream:
            return
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:head_end].lower()
            at = head.find(b"content-length: ")
            status = int(head[9:12])
            if at < 0 and status == 200:
                self._stream = True
                self._told(status)
                return
            length = int(head[at + 16 :].partition(b"\r\n")[0]) if at >= 0 else 0
            end = head_end + 4 + length
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            self._told(status)


@dataclass
class Timed:
    """What a victim measured: milliseconds from when a request was due, and what was no success."""

    latencies_ms: list[float] = field(default_factory=list[float])
    errors: Counter[int] = field(default_factory=Counter[int])


class Victim(Answers):
    """A connection whose requests are timed from the moment each is due, sent or not."""

    def __init__(self) -> None:
        super().__init__(self._answered)
        self.timed = Timed()
        self._due: deque[tuple[float, bytes]] = deque()
        self._open = False

    @property
    def waiting(self) -> int:
        """How many requests are not answered."""
        return len(self._due)

    def ask(self, request: bytes) -> None:
        """Have a request due now: it goes out at once, or as soon as the one before it is answered."""
        self._due.append((time.perf_counter(), request))
        if not self._open:
            self._send()

    def _send(self) -> None:
        self._open = True
        if self.transport is not None:
            self.transport.write(self._due[0][1])

    def _answered(self, status: int) -> None:
        due, _ = self._due.popleft()
        self.timed.latencies_ms.append((time.perf_counter() - due) * 1e3)
        if not 200 <= status < 300:
            self.timed.errors[status] += 1
        self._open = False
        if self._due:
            self._send()


class Victims:
    """Reads, or writes, of several tenants at a steady rate over some connections.

    Args:
        port: the hub's.
        requests: what each connection sends, by its number and the number of the request.
        connections: how many.
    """

    def __init__(self, port: int, requests: Callable[[int, int], bytes], connections: int) -> None:
        self._port = port
        self._requests = requests
        self._count = connections
        self._sent = 0
        self._clients: list[Victim] = []

    async def open(self) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            self._clients.append((await loop.create_connection(Victim, "127.0.0.1", self._port))[1])

    async def run(self, per_s: float, seconds: float) -> Timed:
        """Send at that rate for so long, and wait for what is outstanding."""
        for client in self._clients:
            client.timed = Timed()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        sent = 0
        while (passed := loop.time() - begun) < seconds:
            for _ in range(int(passed * per_s) - sent):
                at = self._sent % self._count
                self._clients[at].ask(self._requests(at, self._sent))
                self._sent += 1
                sent += 1
            await asyncio.sleep(TICK_S)
        until = loop.time() + 20
        while any(client.waiting for client in self._clients) and loop.time() < until:
            await asyncio.sleep(0.01)
        together = Timed()
        for client in self._clients:
            together.latencies_ms += client.timed.latencies_ms
            together.errors += client.timed.errors
            together.errors[0] += client.waiting  # never answered
        return together

    def close(self) -> None:
        """Hang up."""
        for client in self._clients:
            if client.transport is not None:
                client.transport.abort()


class Abuser:
    """One tenant that sends far more than it may, over many connections, and does not listen."""

    def __init__(self, port: int, key: str, reads_per_s: float, writes_per_s: float, watches: int) -> None:
        self._port = port
        self._key = key
        self._rates = (reads_per_s, writes_per_s)
        self._watches = watches
        self._number = 0
        self._sending: asyncio.Task[None] | None = None
        self._clients: list[Answers] = []
        self.statuses: Counter[int] = Counter()
        self.offered = 0
        self.left_out = 0

    async def on(self) -> None:
        """Begin."""
        self.statuses.clear()
        self.offered = self.left_out = 0
        self._sending = asyncio.create_task(self._send())

    async def off(self) -> dict[str, object]:
        """End; returns what was offered and how it was answered."""
        assert self._sending is not None
        self._sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sending
        for client in self._clients:
            if client.transport is not None:
                client.transport.abort()
        self._clients.clear()
        answered = {str(status): count for status, count in sorted(self.statuses.items())}
        return {"offered": self.offered, "left_out": self.left_out, "answers": answered}

    async def _send(self) -> None:
        reads, writes = self._rates
        read = get("/services/discover/own", self._key)
        watch = get("/watch?services=own", self._key)
        async with asyncio.TaskGroup() as group:
            for number in range(READ_CONNECTIONS):
                group.create_task(self._pace(number, READ_CONNECTIONS, reads, BURST_S, lambda: read))
            for number in range(WRITE_CONNECTIONS):
                group.create_task(self._pace(number, WRITE_CONNECTIONS, writes, BURST_S, self._write))
            for number in range(self._watches):
                group.create_task(self._pace(number, self._watches, self._watches, 1.0, lambda: watch))

    async def _pace(self, number: int, among: int, per_s: float, every_s: float, make: Callable[[], bytes]) -> None:
        """Send one connection's part of a rate, a packet every so often, at another moment than the others do."""
        await asyncio.sleep(every_s * number / among)
        client = await self._connect()
        begun, given = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - begun + every_s) * per_s / among) - given
            if self._is_full(client):
                self.left_out += due
            else:
                self._put(client, b"".join(make() for _ in range(due)), due)
            given += due
            await asyncio.sleep(every_s)

    def _write(self) -> bytes:
        self._number += 1
        if self._number % 2:
            body = b'{"resource": "concurrent_requests", "amount": 1, "ttl_s": 60}'
            return post("/tenants/loud/allocations", self._key, body)
        return registration(self._key, "own", self._number)

    def _put(self, client: Answers, requests: bytes, count: int) -> None:
        if client.transport is not None and count:
            client.transport.write(requests)
            self.offered += count

    def _is_full(self, client: Answers) -> bool:
        return client.transport is None or client.transport.get_write_buffer_size() > WAITING_BYTES_MAX

    async def _connect(self) -> Answers:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Answers(self._told), "127.0.0.1", self._port)
        self._clients.append(client)
        return client

    def _told(self, status: int) -> None:
        self.statuses[status] += 1


async def abuse(abuser: Abuser) -> None:
    """Carry out the orders that come in on standard input."""
    loop = asyncio.get_running_loop()
    while (order := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) not in ("", "end"):
        if order == "on":
            await abuser.on()
            done: dict[str, object] = {}
        else:
            done = await abuser.off()
        print(json.dumps(done), flush=True)


def main() -> None:
    """Be the abuser."""
    port, key, reads, writes, watches = sys.argv[1:]
    os.nice(NICE)
    asyncio.run(abuse(Abuser(int(port), key, float(reads), float(writes), int(watches))))


if __name__ == "__main__":
    main()
