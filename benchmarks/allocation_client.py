"""One process of benchmarks/allocations.py: holds and releases capacity over many connections until it is killed.

What it is certain to hold it writes down at once (a write survives SIGKILL): when a lease was asked for, when it was
answered, and when its release was sent. A request whose answer did not come is sent again with its idempotency key.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import struct
import sys
import time
from pathlib import Path
from typing import Final

EVENT: Final = struct.Struct("<Bxxx I Q d d")
"""Kind, amount, number of the lease, when it was asked for, when it was answered (or its release sent)."""
ACQUIRED: Final = 1
RELEASED: Final = 0
COUNTS: Final = struct.Struct("<QQQ")
"""Admitted, refused, otherwise answered."""
HELD_MAX: Final = 6
"""Leases that one connection holds at most."""
AMOUNT_MAX: Final = 3
RELEASE_SHARE: Final = 0.4
RECONNECT_S: Final = 0.05


class Process:
    """What the connections of one process share."""

    def __init__(self, port: int, path: str, key: str, directory: Path, seed: int, ttl_s: float) -> None:
        self.port, self.path, self.key, self.ttl_s = port, path, key, ttl_s
        self.draw = random.Random(seed)
        self.number = 0
        self.counts = [0, 0, 0]
        self._events = os.open(directory / f"events-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._counts = os.open(directory / f"counts-{os.getpid()}", os.O_WRONLY | os.O_CREAT)
        self.log = directory / "unexpected"

    def note(self, kind: int, number: int, amount: int, asked_s: float, at_s: float) -> None:
        os.write(self._events, EVENT.pack(kind, amount, number, asked_s, at_s))

    def count(self, which: int) -> None:
        self.counts[which] += 1
        os.pwrite(self._counts, COUNTS.pack(*self.counts), 0)


class Connection(asyncio.Protocol):
    """Allocates and releases, one request at a time; reconnects when the hub dies."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._held: list[tuple[int, int, str, float]] = []  # number, amount, lease, until
        self._request = b""
        self._asked_s = 0.0
        self._amount = 0  # 0: the request on its way is a release
        self._received = b""
        self._full = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""
        if self._request:
            transport.write(self._request)
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        while True:
            await asyncio.sleep(RECONNECT_S)
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._process.port)
            except OSError:
                continue
            return

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        at = self._received.find(b"content-length: ", 0, head_end)
        length = int(self._received[at + 16 : self._received.find(b"\r\n", at)]) if at >= 0 else 0
        if len(self._received) < head_end + 4 + length:
            return
        status, body = int(self._received[9:12]), self._received[head_end + 4 :]
        self._received = b""
        if status == 503:  # the hub could not say whether it is durable: the same again
            asyncio.get_running_loop().call_later(RECONNECT_S, self._again)
            return
        self._answered(status, body)
        self._next()

    def _again(self) -> None:
        if self._transport is not None:
            self._transport.write(self._request)

    def _answered(self, status: int, body: bytes) -> None:
        process = self._process
        if self._amount == 0:
            assert status == 204, (status, body)
        elif status == 201:
            answer = json.loads(body)
            process.number += 1
            process.note(ACQUIRED, process.number, self._amount, self._asked_s, time.monotonic())
            self._held.append((process.number, self._amount, answer["lease_id"], self._asked_s + process.ttl_s))
            process.count(0)
        elif status == 429:
            self._full = True
            process.count(1)
        else:  # 409: the retry of a command whose lease has ended since
            process.count(2)
            if status != 409:
                process.log.write_bytes(body)

    def _next(self) -> None:
        process = self._process
        now_s = time.monotonic()
        # What may be over is not held any more, as far as its holder knows; it ends by itself.
        self._held = [one for one in self._held if one[3] > now_s]
        if self._held and (len(self._held) >= HELD_MAX or self._full or process.draw.random() < RELEASE_SHARE):
            self._full = False
            number, amount, lease, _ = self._held.pop(process.draw.randrange(len(self._held)))
            process.note(RELEASED, number, amount, 0.0, time.monotonic())
            self._amount = 0
            self._send(b"DELETE", f"{process.path}/{lease}", b"")
        else:
            self._amount = process.draw.randint(1, AMOUNT_MAX)
            self._asked_s = time.monotonic()
            body = {"resource": "concurrent_requests", "amount": self._amount, "ttl_s": process.ttl_s}
            self._send(b"POST", process.path, json.dumps(body).encode())

    def _send(self, method: bytes, path: str, body: bytes) -> None:
        head = (
            f" {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._process.key}\r\n"
            f"idempotency-key: {self._process.draw.getrandbits(96):x}{os.getpid()}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._request = method + head.encode() + body
        assert self._transport is not None
        self._transport.write(self._request)


async def main() -> None:
    """Run until killed; the arguments are those that benchmarks/allocations.py gives."""
    port, path, key, directory, seed, ttl_s, connections = sys.argv[1:]
    process = Process(int(port), path, key, Path(directory), int(seed), float(ttl_s))
    await asyncio.gather(*(Connection(process).connect() for _ in range(int(connections))))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
