"""A load generator at a constant rate: every request has its moment, whatever became of those before it.

Closed loops slow down with the server, and so never ask in the moments in which it does not answer. Here time runs
from the moment a request was due, also when no connection was free for it. Plain sockets and one epoll, spinning on
its own core; how late it was itself is part of what it says, and it is in every figure.

    python benchmarks/open_loop.py PORT REQUESTS_FILE RATE SECONDS [CONNECTIONS]

prints what was measured as JSON. The file has one request a block, separated by an empty line, without their last one.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

CONNECTIONS: Final = 64
WARM_UP_S: Final = 1.0
"""Sent at the same rate and not counted: connections, caches and memos come to their working state."""
RECEIVE_BYTES: Final = 262_144
GIVE_UP_S: Final = 10.0
OK: Final = b"HTTP/1.1 200"


class _Connection:
    __slots__ = ("due", "left", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due = 0.0
        self.left = 0


class OpenLoop:
    """One run against one server.

    Args:
        port: of the server.
        requests: sent in turn, over and over; each fits into a packet.
        rate: requests a second.
        seconds: counted, after the warm-up.
        connections: how many can be under way at once.
    """

    def __init__(
        self, port: int, requests: list[bytes], rate: float, seconds: float, connections: int = CONNECTIONS
    ) -> None:
        self._requests = requests
        self._rate = rate
        self._seconds = seconds
        made = [_Connection(port) for _ in range(connections)]
        self._by_fd = {one.socket.fileno(): one for one in made}
        self._free = deque(made)
        self._poll = select.epoll()
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)
        self._waits_ms: list[float] = []
        self._lates_ms: list[float] = []
        self._refused = 0
        self._counted_from = 0.0

    def run(self) -> dict[str, Any]:  # Any: JSON
        """Send everything and wait for the last answers; returns what was measured."""
        total = int((WARM_UP_S + self._seconds) * self._rate)
        begun = time.perf_counter() + 0.01
        self._counted_from = begun + WARM_UP_S
        cpu, at = time.process_time(), 0
        while at < total or len(self._free) < len(self._by_fd):
            now = time.perf_counter()
            while at < total and self._free and (due := begun + at / self._rate) <= now:
                self._send(self._free.popleft(), self._requests[at % len(self._requests)], due, now)
                at += 1
                now = time.perf_counter()
            for fd, _ in self._poll.poll(0):
                self._receive(self._by_fd[fd])
            if now > begun + total / self._rate + GIVE_UP_S:
                raise RuntimeError(f"{total - at} requests could not be sent, {len(self._free)} connections are free")
        elapsed = time.perf_counter() - begun
        for one in self._by_fd.values():
            one.socket.close()
        return self._report(elapsed, time.process_time() - cpu, total)

    def _send(self, connection: _Connection, request: bytes, due: float, now: float) -> None:
        connection.due, connection.left = due, 0
        if due >= self._counted_from:
            self._lates_ms.append((now - due) * 1e3)
        connection.socket.send(request)

    def _receive(self, connection: _Connection) -> None:
        data = connection.socket.recv(RECEIVE_BYTES)
        if not data:
            raise RuntimeError("the server closed a connection")
        if connection.left:
            connection.left -= len(data)
        else:
            end = data.find(b"\r\n\r\n")
            low = data[:end].lower()
            at = low.find(b"content-length:")
            if end < 0 or at < 0:
                raise RuntimeError(f"this is no answer that was expected: {data[:200]!r}")
            connection.left = int(low[at + 15 :].split(b"\r\n", 1)[0]) + end + 4 - len(data)
            self._refused += not data.startswith(OK)
        if not connection.left:
            if connection.due >= self._counted_from:
                self._waits_ms.append((time.perf_counter() - connection.due) * 1e3)
            self._free.append(connection)

    def _report(self, elapsed: float, cpu: float, total: int) -> dict[str, Any]:  # Any: JSON
        self._waits_ms.sort()
        self._lates_ms.sort()
        return {
            "asked_per_s": self._rate,
            "answered_per_s": round(total / elapsed, 1),
            "n": len(self._waits_ms),
            "refused": self._refused,
            "p50_ms": _at(self._waits_ms, 0.5),
            "p90_ms": _at(self._waits_ms, 0.9),
            "p99_ms": _at(self._waits_ms, 0.99),
            "p999_ms": _at(self._waits_ms, 0.999),
            "max_ms": _at(self._waits_ms, 1.0),
            "sent_late_p99_ms": _at(self._lates_ms, 0.99),
            "load_core_busy": round(cpu / elapsed, 2),
        }


def _at(ordered: list[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def main() -> None:
    """Print the figures as JSON."""
    port, path, rate, seconds, *more = sys.argv[1:]
    requests = [block + b"\r\n\r\n" for block in Path(path).read_bytes().split(b"\r\n\r\n") if block]
    loop = OpenLoop(int(port), requests, float(rate), float(seconds), *map(int, more))
    print(json.dumps(loop.run()))


if __name__ == "__main__":
    main()
