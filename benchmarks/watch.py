"""The watch: how long until the last of many watchers knows, and what a stream costs.

    python benchmarks/watch.py               # 500 and 5,000 watchers of one service
    python benchmarks/watch.py --watchers 100 --changes 5

Time runs from the moment the write was acknowledged to the moment the last watcher has its delta
in hand. All watchers live in the load generator's one process on the other core, so its own time
to read them all is part of every figure; "floor" is that time alone: the same bytes sent to the
same number of plain sockets by a server that does nothing else, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from hub_process import HubProcess, running_hub

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
BARS_MS: Final = {500: 15.0, 5_000: 150.0}
BYTES_PER_STREAM_BAR: Final = 20_000
OPENING_AT_ONCE: Final = 100
UNLIMITED: Final = "1000000000"


class Watcher(asyncio.Protocol):
    """One stream: counts blocks that end with an empty line once it is live."""

    def __init__(self, group: Watchers, request: bytes) -> None:
        self._group = group
        self._request = request
        self._live = False
        self._tail = b""
        self.received = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._live:
            self._tail = (self._tail + data)[-400_000:]
            if b"event: sync" in self._tail:
                self._live, self._tail = True, b""
                self._group.went_live()
            return
        self.received += len(data)
        if b"event: delta" in data or b"floor" in data:
            self._group.told()


class Watchers:
    """All streams of a run and the moment the last of them was told."""

    watcher = Watcher

    def __init__(self, count: int) -> None:
        self._count = count
        self._live = 0
        self._told = 0
        self._all_live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._all_told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.streams: list[Watcher] = []

    async def open(self, port: int, request: bytes) -> None:
        """Open every stream and wait until all are live."""
        loop = asyncio.get_running_loop()
        for start in range(0, self._count, OPENING_AT_ONCE):
            some = range(start, min(start + OPENING_AT_ONCE, self._count))
            made = (loop.create_connection(lambda: self.watcher(self, request), "127.0.0.1", port) for _ in some)
            self.streams.extend(protocol for _, protocol in await asyncio.gather(*made))
        await asyncio.wait_for(self._all_live, 120)

    def went_live(self) -> None:
        """Count a stream that has its snapshot."""
        self._live += 1
        if self._live == self._count and not self._all_live.done():
            self._all_live.set_result(None)

    def told(self) -> None:
        """Count a stream that has its delta."""
        self._told += 1
        if self._told == self._count and not self._all_told.done():
            self._all_told.set_result(time.perf_counter())

    def expect(self) -> asyncio.Future[float]:
        """Return what will hold the moment the last stream is told."""
        self._told = 0
        self._all_told = asyncio.get_running_loop().create_future()
        return self._all_told

    def close(self) -> None:
        """Drop every connection."""
        for stream in self.streams:
            if stream.transport is not None:
                stream.transport.abort()


async def told_after(hub: HubProcess, key: str, count: int, changes: int) -> dict[str, Any]:
    """Measure one number of watchers."""
    server = psutil.Process(hub.process.pid)
    before = server.memory_info().rss
    watchers = Watchers(count)
    request = f"GET /watch?services=watched HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()
    await watchers.open(hub.port, request)
    await asyncio.sleep(1)
    per_stream = (server.memory_info().rss - before) / count
    control = await asyncio.open_connection("127.0.0.1", hub.port)
    times: list[float] = []
    for change in range(changes):
        last = watchers.expect()
        acknowledged = await register(control, key, count + change)
        times.append((await asyncio.wait_for(last, 30) - acknowledged) * 1000)
        await asyncio.sleep(0.1)
    delta_bytes = watchers.streams[0].received / changes
    control[1].close()
    watchers.close()
    await asyncio.sleep(0.5)
    return {
        "watchers": count,
        "changes": changes,
        "last_told_ms_median": round(statistics.median(times), 2),
        "last_told_ms_max": round(max(times), 2),
        "bar_ms": BARS_MS.get(count),
        "bytes_per_stream_rss": round(per_stream),
        "bytes_per_stream_bar": BYTES_PER_STREAM_BAR,
        "delta_bytes": round(delta_bytes),
    }


async def register(control: tuple[asyncio.StreamReader, asyncio.StreamWriter], key: str, change: int) -> float:
    """Change one instance of the watched service; returns when the answer was in hand."""
    reader, writer = control
    body = json.dumps(instance(change % 5, port=9_000 + change)).encode()
    writer.write(
        f"POST /services/register HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = await reader.readuntil(b"\r\n\r\n")
    at = time.perf_counter()
    assert b" 201 " in head.split(b"\r\n", 1)[0], head
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(length)
    return at


def instance(number: int, port: int) -> dict[str, object]:
    """Return a registration of the watched service."""
    return {"name": "watched", "instance_id": f"i-{number}", "host": "10.0.0.1", "port": port, "lease_ttl_s": 3_600}


async def floor(count: int, changes: int) -> float:
    """Measure the same fan-out from a server that only writes: milliseconds, median."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"event: sync\n\n")
        writers.append(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1_000)
    watchers = Watchers(count)
    await watchers.open(server.sockets[0].getsockname()[1], b"GET / HTTP/1.1\r\n\r\n")
    times: list[float] = []
    for _ in range(changes):
        last = watchers.expect()
        begun = time.perf_counter()
        for writer in writers:
            writer.write(b"floor" + bytes(500) + b"\n\n")
        times.append((await asyncio.wait_for(last, 30) - begun) * 1000)
    watchers.close()
    server.close()
    return round(statistics.median(times), 2)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, nargs="+", default=[500, 5_000])
    parser.add_argument("--changes", type=int, default=20)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CPU})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 20_000)), hard))
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        options = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
        with running_hub(Path(name) / "data", cpu=SERVER_CPU, **options) as hub:
            key = hub.tenant("bench", "enterprise")
            for number in range(5):
                hub.must("POST", "/services/register", instance(number, 8_000), key=key)
            for count in arguments.watchers:
                one = asyncio.run(told_after(hub, key, count, arguments.changes))
                one["floor_ms_one_core"] = asyncio.run(floor(count, arguments.changes))
                figures.append(one)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps({"watch": figures, "machine": machine}, indent=2))


if __name__ == "__main__":
    main()
