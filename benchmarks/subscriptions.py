"""Durable subscriptions: how soon consumers are given events, a thousand of them, slow ones, and a loud neighbour.

    python benchmarks/subscriptions.py            # the full form
    python benchmarks/subscriptions.py --short    # as the tests run it

Every subscription is durable and its consumer acknowledges. Delivery is timed from the moment the answer to the
publisher is in hand to the moment the event is, and from the request where that is said: an event is often there before
the answer. The thousand are a subscription each. The slow ones open a stream and
never read it. The neighbour publishes a hundred times as much as each of the others, follows it all with a subscription
of its own, and is off and on in pairs, in random order; its process has the lowest priority, so that what the others
feel is what it does to the hub. The hub has one core, everybody else the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.events import answer, event, name_of
from benchmarks.http_load import post
from benchmarks.hub_process import HubProcess, running_hub
from benchmarks.register import LOAD_CPU, SERVER_CPU, UNLIMITED

SUBSCRIBERS: Final = 1_000
TENANTS: Final = 4
PER_S: Final = 20
TIMES: Final = 100
LOUD_BATCH: Final = 100
FLOOD: Final = 400
"""Events of a kilobyte that wait for each of those who never read."""
SCOPES: Final = ["events:read", "events:write", "subscriptions:read", "subscriptions:admin", "subscriptions:consume"]
TERMS: Final = {"max_in_flight": 1_000, "ack_wait_s": 300}


class Stream:
    """A consumer over a stream: remembers when each event came, and acknowledges a few at a time."""

    def __init__(self, port: int, key: str, name: str) -> None:
        self._port = port
        self._key = key
        self.name = name
        self.at_s: dict[str, float] = {}
        self.came = asyncio.Event()
        self._ids: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, *, reads: bool = True) -> None:
        """Open the stream; one that does not read leaves everything where it is."""
        sock = socket.socket()
        if not reads:  # what the system keeps for who does not read is not the hub's to bound
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.connect(("127.0.0.1", self._port))
        reader, self._writer = await asyncio.open_connection(sock=sock, limit=1 << 20)
        target = f"/subscriptions/{self.name}/stream"
        self._writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self._key}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        if reads:
            self._task = asyncio.create_task(self._read(reader))

    async def acknowledge(self) -> None:
        """Acknowledge what came, until cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while True:
            await asyncio.sleep(0.25)
            ids, self._ids = self._ids, []
            for start in range(0, len(ids), 1_000):
                said = json.dumps({"ack": ids[start : start + 1_000]}).encode()
                writer.write(post(f"/subscriptions/{self.name}/settle", self._key, said))
                await answer(reader)

    def close(self) -> None:
        """Close it."""
        if self._task is not None:
            self._task.cancel()
        if self._writer is not None:
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        delivery = ""
        while line := await reader.readline():
            if line.startswith(b"id: "):
                delivery = line[4:].strip().decode()
            elif line.startswith(b'data: {"spec'):
                now_s = time.perf_counter()
                self.at_s[line.split(b'"id":"', 1)[1].split(b'"', 1)[0].decode()] = now_s
                self._ids.append(delivery)
                self.came.set()


class Publisher:
    """Publishes over one connection, and remembers when each event was acknowledged."""

    def __init__(self, port: int, key: str, prefix: str) -> None:
        self._port = port
        self._key = key
        self._prefix = prefix
        self._number = 0
        self.asked_s: dict[str, float] = {}
        self.acked_s: dict[str, float] = {}
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def publish(self) -> str:
        """Publish one event."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        self._number += 1
        name = name_of(self._number, self._prefix)
        request = post("/events", self._key, json.dumps(event(name)).encode())
        self.asked_s[name] = time.perf_counter()
        writer.write(request)
        await answer(reader)
        self.acked_s[name] = time.perf_counter()
        return name


def subscribe(hub: HubProcess, key: str, name: str) -> None:
    """Create a subscription of what services publish."""
    hub.must("POST", "/subscriptions", {"name": name, "filter": {"types": ["com.*"]}, "terms": TERMS}, key=key)


def quantiles(took_ms: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile."""
    ordered = sorted(took_ms)
    return {
        "p50_ms": round(ordered[len(ordered) // 2], 3),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 3),
    }


def after(began: Mapping[str, float], stream: Stream) -> list[float]:
    """Return how long after a moment each event came, milliseconds; 0 for one that came before it."""
    missing = began.keys() - stream.at_s.keys()
    assert not missing, f"{len(missing)} events never came"
    return [max(0.0, stream.at_s[name] - at) * 1_000 for name, at in began.items()]


async def until(stream: Stream, names: Sequence[str], seconds: float = 20.0) -> None:
    """Wait until a stream has some events."""
    async with asyncio.timeout(seconds):
        while not all(name in stream.at_s for name in names):
            stream.came.clear()
            await stream.came.wait()


async def delivery(hub: HubProcess, key: str, count: int) -> dict[str, float]:
    """Measure one consumer, one event at a time."""
    stream, publisher = Stream(hub.port, key, "one"), Publisher(hub.port, key, "one")
    await stream.open()
    acking = asyncio.create_task(stream.acknowledge())
    for _ in range(count):
        name = await publisher.publish()
        await until(stream, [name])
    acking.cancel()
    stream.close()
    asked, acked = quantiles(after(publisher.asked_s, stream)), quantiles(after(publisher.acked_s, stream))
    return {
        "events": count, "acknowledged_to_given_p50_ms": acked["p50_ms"],
        "acknowledged_to_given_p99_ms": acked["p99_ms"], "asked_to_given_p50_ms": asked["p50_ms"],
        "asked_to_given_p99_ms": asked["p99_ms"],
    }  # fmt: skip


async def fan_out(hub: HubProcess, key: str, subscribers: int, count: int) -> dict[str, float]:
    """Measure until the last of many subscriptions has an event."""
    streams = [Stream(hub.port, key, f"many-{number}") for number in range(subscribers)]
    for stream in streams:
        await stream.open()
    publisher = Publisher(hub.port, key, "many")
    last: list[float] = []
    await asyncio.sleep(0.5)
    for _ in range(count):
        name = await publisher.publish()
        for stream in streams:
            await until(stream, [name])
        last.append(max(stream.at_s[name] for stream in streams) - publisher.acked_s[name])
        await asyncio.sleep(0.05)
    for stream in streams:
        stream.close()
    found = quantiles([max(0.0, one) * 1_000 for one in last])
    return {"subscribers": subscribers, "last_p50_ms": found["p50_ms"], "last_p99_ms": found["p99_ms"]}


def resident_mb(pid: int) -> float:
    """Return a process's resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def slow_ones(hub: HubProcess, slow_key: str, key: str, subscribers: int, count: int) -> dict[str, float]:
    """Measure one consumer beside many that never read, each with more waiting than it may hold."""
    streams = [Stream(hub.port, slow_key, f"slow-{number}") for number in range(subscribers)]
    await asyncio.to_thread(subscribe, hub, key, "beside")
    before_mb = resident_mb(hub.process.pid)
    for stream in streams:
        await stream.open(reads=False)
    for batch in range(FLOOD // 100):
        events = [event(name_of(batch * 100 + at, "flood")) | {"data": "x" * 1_000} for at in range(100)]
        await asyncio.to_thread(hub.must, "POST", "/events", events, key=slow_key)
    await asyncio.sleep(3.0)
    alone = Stream(hub.port, key, "beside")
    publisher = Publisher(hub.port, key, "beside")
    await alone.open()
    for _ in range(count):
        name = await publisher.publish()
        await until(alone, [name])
    grown_mb = resident_mb(hub.process.pid) - before_mb
    for stream in (*streams, alone):
        stream.close()
    found = quantiles(after(publisher.asked_s, alone))
    return {
        "subscribers": subscribers, "events_each": FLOOD, "grown_mb": round(grown_mb, 1),
        "kb_each": round(grown_mb * 1_000 / subscribers, 1), **found,
    }  # fmt: skip


async def measured(hub: HubProcess, keys: Sequence[str], mark: str, seconds: float) -> float:
    """Return the p99 of some tenants' events, published at a steady rate and followed."""
    streams = [Stream(hub.port, key, "steady") for key in keys]
    publishers = [Publisher(hub.port, key, mark) for key in keys]
    for stream in streams:
        await stream.open()
    acking = [asyncio.create_task(stream.acknowledge()) for stream in streams]

    async def pace(publisher: Publisher, offset: float) -> None:
        begun = time.perf_counter() + offset
        for number in range(int(PER_S * seconds)):
            await asyncio.sleep(max(0.0, begun + number / PER_S - time.perf_counter()))
            await publisher.publish()

    await asyncio.gather(*(pace(one, at / PER_S / len(keys)) for at, one in enumerate(publishers)))
    took: list[float] = []
    for stream, publisher in zip(streams, publishers, strict=True):
        await until(stream, list(publisher.acked_s))
        took += after(publisher.asked_s, stream)
        stream.close()
    for task in acking:
        task.cancel()
    return quantiles(took)["p99_ms"]


async def loud(port: int, key: str, mark: str, seconds: float) -> None:
    """Publish `TIMES` as much as each of the others, and follow it."""
    os.nice(19)
    stream = Stream(port, key, "loud")
    await stream.open()
    acking = asyncio.create_task(stream.acknowledge())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.perf_counter()
    batch = sent = 0
    while time.perf_counter() - begun < seconds:
        await asyncio.sleep(max(0.0, begun + batch * LOUD_BATCH / (PER_S * TIMES) - time.perf_counter()))
        events = [event(name_of(batch * LOUD_BATCH + at, mark)) for at in range(LOUD_BATCH)]
        writer.write(post("/events", key, json.dumps(events).encode()))
        await answer(reader)
        batch += 1
        sent += LOUD_BATCH
    acking.cancel()
    print(json.dumps({"per_s": round(sent / (time.perf_counter() - begun)), "came": len(stream.at_s)}))


def neighbours(hub: HubProcess, keys: Sequence[str], loud_key: str, pairs: int, seconds: float) -> dict[str, Any]:
    """Measure the others' p99 with a loud neighbour and without it, in pairs."""
    ratios: list[float] = []
    with_p99: list[float] = []
    without_p99: list[float] = []
    said: list[dict[str, int]] = []
    draw = random.Random(1)
    for pair in range(pairs):
        found: dict[bool, float] = {}
        for is_loud in draw.sample([True, False], 2):
            process = None
            if is_loud:
                command = [
                    sys.executable,
                    __file__,
                    "--loud",
                    str(hub.port),
                    loud_key,
                    f"l{pair:03d}",
                    str(seconds + 2),
                ]
                process = subprocess.Popen(command, stdout=subprocess.PIPE)
                time.sleep(1.0)
            found[is_loud] = asyncio.run(measured(hub, keys, f"{'w' if is_loud else 'n'}{pair:03d}", seconds))
            if process is not None:
                output, _ = process.communicate(timeout=60)
                said.append(json.loads(output))
        ratios.append(found[True] / found[False])
        with_p99.append(found[True])
        without_p99.append(found[False])
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5 * 1.96 if len(ratios) > 1 else 0.0
    return {
        "pairs": pairs,
        "without_p99_ms": round(statistics.median(without_p99), 3),
        "with_p99_ms": round(statistics.median(with_p99), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_mean": round(statistics.mean(ratios), 3),
        "ratio_95": round(spread, 3),
        "loud_per_s": round(statistics.mean(one["per_s"] for one in said)),
    }


def main() -> None:
    """Run everything and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--loud", nargs=4, metavar=("PORT", "KEY", "MARK", "SECONDS"))
    given = parser.parse_args()
    if given.loud:
        port, key, mark, seconds = given.loud
        asyncio.run(loud(int(port), key, mark, float(seconds)))
        return
    short = given.short
    os.sched_setaffinity(0, {LOAD_CPU})
    many, count, pairs, seconds = (50, 20, 2, 2.0) if short else (SUBSCRIBERS, 200, 5, 4.0)
    limits = {"reads_per_tenant_s": UNLIMITED, "writes_per_tenant_s": UNLIMITED}
    with tempfile.TemporaryDirectory() as scratch, running_hub(Path(scratch) / "data", cpu=SERVER_CPU, **limits) as hub:
        own, crowd, idle, noisy = (hub.tenant(name, "enterprise", SCOPES) for name in ("own", "crowd", "idle", "noisy"))
        steady = [hub.tenant(f"steady-{number}", "enterprise", SCOPES) for number in range(TENANTS)]
        for key, name in ((own, "one"), (noisy, "loud"), *((key, "steady") for key in steady)):
            subscribe(hub, key, name)
        for number in range(many):
            subscribe(hub, crowd, f"many-{number}")
            subscribe(hub, idle, f"slow-{number}")
        report = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "delivery": asyncio.run(delivery(hub, own, count * 5)),
            "fan_out": asyncio.run(fan_out(hub, crowd, many, count)),
            "neighbours": neighbours(hub, steady, noisy, pairs, seconds),
            "slow": asyncio.run(slow_ones(hub, idle, own, many, count)),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
