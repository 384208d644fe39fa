"""Events: durable publishing over HTTP, and how soon readers are told.

    python benchmarks/events.py            # the full form
    python benchmarks/events.py --short    # as the tests run it

Every event is distinct, with an id of its publisher's, so each is looked up before it is taken; every answer means
fsynced. The hub has one core, the load generator the other. Beside it stands the disk: fsyncs per second of a one-page
file. Delivery is timed from the moment the answer to the publisher is in hand, and from the moment it was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.http_load import post, run_load
from benchmarks.hub_process import HubProcess, running_hub
from benchmarks.register import LOAD_CPU, SERVER_CPU, UNLIMITED, fsyncs_per_second
from benchmarks.watch import Watcher, Watchers

CONNECTIONS: Final = 64
BATCH: Final = 100
BATCH_CONNECTIONS: Final = 8
SUBSCRIBERS: Final = 1_000


def event(name: str) -> dict[str, object]:
    """Return an event as a service would send it: about 250 bytes."""
    return {
        "specversion": "1.0",
        "type": "com.example.order.placed",
        "source": "/services/trading-engine",
        "id": name,
        "subject": f"order/{name}",
        "time": "2026-01-20T10:30:00Z",
        "data": {"order": name, "symbol": "EURUSD", "side": "buy", "quantity": 100, "price": 1.0842},
    }


def name_of(number: int, prefix: str) -> str:
    """Return an id that sorts by time, as a UUIDv7 does."""
    return f"0193a1b2-{prefix}-{number:012d}"


def singles(connection: int, count: int, key: str, prefix: str = "one") -> Iterator[bytes]:
    """Yield one connection's events; ids of all connections grow together."""
    for number in range(count):
        body = json.dumps(event(name_of(number * CONNECTIONS + connection, prefix))).encode()
        yield post("/events", key, body)


def batches(connection: int, count: int, key: str, prefix: str = "many") -> list[bytes]:
    """Return one connection's batches of `BATCH`."""
    made: list[bytes] = []
    for batch in range(count):
        first = (batch * BATCH_CONNECTIONS + connection) * BATCH
        items = [event(name_of(number, prefix)) for number in range(first, first + BATCH)]
        made.append(post("/events", key, json.dumps(items).encode()))
    return made


def publishing(hub: HubProcess, key: str, *, each: int, batches_each: int) -> dict[str, Any]:
    """Measure what can be published, one by one and in batches, and one by one at half of that."""
    cpu = hub.cpu_s()
    sources = [iter(list(singles(number, each, key))) for number in range(CONNECTIONS)]
    single = asyncio.run(run_load(hub.port, sources))
    single_cpu = hub.cpu_s() - cpu
    half_load = asyncio.run(at_rate(hub.port, key, single.per_second / 2, each * CONNECTIONS))
    many = [iter(batches(number, batches_each, key)) for number in range(BATCH_CONNECTIONS)]
    cpu = hub.cpu_s()
    batch = asyncio.run(run_load(hub.port, many))
    batch_cpu = hub.cpu_s() - cpu
    return {
        "single": {**single.summary(), "hub_core_busy": round(single_cpu / single.seconds, 2)},
        "half_load": half_load,
        "batch": {
            **batch.summary(),
            "events_per_s": round(batch.per_second * BATCH),
            "hub_core_busy": round(batch_cpu / batch.seconds, 2),
        },
    }


async def at_rate(port: int, key: str, per_s: float, count: int) -> dict[str, float]:
    """Publish at a constant rate over kept connections, each event on time whatever became of those before."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    free: asyncio.Queue[Any] = asyncio.Queue()
    for one in connections:
        free.put_nowait(one)
    took: list[float] = []

    async def send(number: int, due: float) -> None:
        reader, writer = await free.get()
        writer.write(post("/events", key, json.dumps(event(name_of(number, "half"))).encode()))
        await answer(reader)
        took.append((time.perf_counter() - due) * 1_000)
        free.put_nowait((reader, writer))

    begun = time.perf_counter() + 0.1
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            due = begun + number / per_s
            wait = due - time.perf_counter()
            if wait > 0.0005:
                await asyncio.sleep(wait)
            group.create_task(send(number, due))
    for _, writer in connections:
        writer.close()
    ordered = sorted(took)
    return {
        "per_s": round(per_s),
        "p50_ms": round(ordered[len(ordered) // 2], 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)], 3),
    }


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer that has to be a success; returns its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 2"), head
    length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
    return await reader.readexactly(length)


async def delivery(port: int, key: str, count: int) -> dict[str, float]:
    """Measure from a publisher's answer, and from its request, to one subscriber's event."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /events/stream HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    arrived: dict[bytes, float] = {}

    async def listen() -> None:
        while len(arrived) < count:
            line = await reader.readline()
            if line.startswith(b"data: "):
                arrived[line.split(b'"id":"', 1)[1].split(b'"', 1)[0]] = time.perf_counter()

    listening = asyncio.create_task(listen())
    publisher = await asyncio.open_connection("127.0.0.1", port)
    sent: dict[bytes, tuple[float, float]] = {}
    for number in range(count):
        name = name_of(number, "told")
        begun = time.perf_counter()
        publisher[1].write(post("/events", key, json.dumps(event(name)).encode()))
        await answer(publisher[0])
        sent[name.encode()] = begun, time.perf_counter()
        await asyncio.sleep(0.002)
    await asyncio.wait_for(listening, 10)
    writer.close()
    publisher[1].close()
    after = sorted(max(0.0, arrived[name] - at[1]) * 1_000 for name, at in sent.items())
    whole = sorted((arrived[name] - at[0]) * 1_000 for name, at in sent.items())
    return {
        "n": count,
        "acknowledged_to_told_p50_ms": round(after[count // 2], 3),
        "acknowledged_to_told_p99_ms": round(after[int(count * 0.99)], 3),
        "sent_to_told_p50_ms": round(whole[count // 2], 3),
        "sent_to_told_p99_ms": round(whole[int(count * 0.99)], 3),
    }


class Subscriber(Watcher):
    """A stream that is live with its head and told with every event."""

    def data_received(self, data: bytes) -> None:
        if not self._live and b"\r\n\r\n" in data:
            self._live = True
            self._group.went_live()
        if b"event: event" in data:
            self._group.told()


class Subscribers(Watchers):
    """All of them."""

    watcher = Subscriber


async def fan_out(port: int, key: str, subscribers: int, count: int) -> dict[str, float]:
    """Measure from a publisher's answer to the last of many subscribers."""
    group = Subscribers(subscribers)
    request = f"GET /events/stream HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()
    await group.open(port, request)
    await asyncio.sleep(0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took: list[float] = []
    for number in range(count):
        last = group.expect()
        writer.write(post("/events", key, json.dumps(event(name_of(number, "many-told"))).encode()))
        await answer(reader)
        acknowledged = time.perf_counter()
        took.append(max(0.0, await asyncio.wait_for(last, 30) - acknowledged) * 1_000)
        await asyncio.sleep(0.05)
    writer.close()
    group.close()
    ordered = sorted(took)
    return {
        "subscribers": subscribers,
        "events": count,
        "last_told_p50_ms": round(statistics.median(took), 2),
        "last_told_p99_ms": round(ordered[min(count - 1, int(count * 0.99))], 2),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    os.sched_setaffinity(0, {LOAD_CPU})
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        options = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
        with running_hub(root / "data", cpu=SERVER_CPU, **options) as hub:
            key = hub.tenant("bench", "enterprise")
            sizes = {"each": 40, "batches_each": 10} if short else {"each": 800, "batches_each": 100}
            figures: dict[str, Any] = publishing(hub, key, **sizes)
            figures["delivery"] = asyncio.run(delivery(hub.port, key, 100 if short else 2_000))
            many = 100 if short else SUBSCRIBERS
            figures["fan_out"] = asyncio.run(fan_out(hub.port, key, many, 10 if short else 100))
        figures["fsyncs_per_s"] = fsyncs_per_second(root)
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
