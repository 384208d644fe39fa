"""Brokers: durable publishing beside NATS JetStream, and how fast and how soon relays hand events over.

    python benchmarks/brokers.py            # the full form
    python benchmarks/brokers.py --short    # as the tests run it

JetStream first: a current NATS with `sync_interval: always`, so that what is acknowledged is fsynced, as with the hub,
on the same disk, in the same run, with the same number in flight and events of the same bytes; one connection, and as
many as the hub has. Its publisher speaks the protocol over plain sockets, since the client library would be the limit.
Batches are JetStream's atomic batches of 100. Both have their turns, one after the other, and the ratio is the median
over the turns. Each has the same one core, and the load the other.

Then relays: a hub with events waiting hands them to each broker there is; the rate is over all of them, or over what
went in the first 20 s. The delay is timed from the publisher's answer to the event at a subscriber of NATS, at 500
events a second.
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
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.events import BATCH, BATCH_CONNECTIONS, CONNECTIONS, answer, batches, event, name_of, singles
from benchmarks.http_load import post, run_load
from benchmarks.hub_process import HubProcess, running_hub
from benchmarks.register import LOAD_CPU, SERVER_CPU, UNLIMITED, fsyncs_per_second
from tools.broker_servers import BrokerServer, KafkaServer, MissingError, NatsServer, RedisServer

DELAY_PER_S: Final = 500
MEASURED_S: Final = 20.0
"""After which a relay is not waited for any longer; its rate is that of what it handed over by then."""
WAIT_S: Final = 120.0


class Publisher(asyncio.Protocol):
    """One connection to NATS that keeps messages in flight, and counts their acknowledgements.

    Args:
        inbox: where acknowledgements come.
        messages: what is sent, whole; an item is acknowledged once.
        in_flight: how many at once.
        done: told when all were acknowledged.
    """

    def __init__(self, inbox: bytes, messages: deque[bytes], in_flight: int, done: asyncio.Future[None]) -> None:
        self._inbox = inbox
        self._messages = messages
        self._left = in_flight
        self._out = 0
        self._done = done
        self._sent: deque[float] = deque()
        self._rest = b""
        self.took: list[float] = []
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._transport.write(b'CONNECT {"verbose":false,"headers":true}\r\nSUB %b 1\r\n' % self._inbox)
        self._send()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            if line.startswith(b"PING"):
                self._transport.write(b"PONG\r\n")
            elif line.startswith(b'{"'):
                self.took.append((time.perf_counter() - self._sent.popleft()) * 1_000)
                self.refused += b'"error"' in line
                self._out -= 1
                self._left += 1
        self._send()

    def _send(self) -> None:
        out: list[bytes] = []
        while self._left and self._messages:
            out.append(self._messages.popleft())
            self._sent.append(time.perf_counter())
            self._left -= 1
            self._out += 1
        if out:
            self._transport.write(b"".join(out))
        elif not self._out and not self._done.done():
            self._done.set_result(None)


def inbox_of(connection: int) -> bytes:
    """Return where a connection's acknowledgements come."""
    return b"_I.%d" % connection


def message(subject: bytes, headers: list[tuple[str, str]], body: bytes, reply: bytes = b"") -> bytes:
    """Write a message as NATS has it."""
    head = b"NATS/1.0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers) + b"\r\n"
    to = b"%b %b" % (subject, reply) if reply else subject
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to, len(head), len(head) + len(body), head, body)


async def publish(port: int, shares: list[deque[bytes]], in_flight: int) -> dict[str, float]:
    """Publish over a connection for each share; returns what was measured."""
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in shares]
    begun = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda at=at, share=share, one=one: Publisher(inbox_of(at), share, in_flight, one), "127.0.0.1", port
        )
        for at, (share, one) in enumerate(zip(shares, done, strict=True))
    ]
    await asyncio.gather(*done)
    seconds = time.perf_counter() - begun
    took = sorted(each for _, publisher in made for each in publisher.took)
    for transport, _ in made:
        transport.close()
    return {
        "n": len(took),
        "per_s": round(len(took) / seconds),
        "p50_ms": round(statistics.median(took), 3),
        "p99_ms": round(took[int(len(took) * 0.99)], 3),
        "refused": sum(publisher.refused for _, publisher in made),
    }


def one_message(number: int, connection: int = 0) -> bytes:
    """Return an event for JetStream, the same bytes as the hub is sent, known by its id."""
    named = event(name_of(number, "one"))
    body = json.dumps(named).encode()
    return message(b"bench.one", [("Nats-Msg-Id", str(named["id"]))], body, inbox_of(connection))


def one_batch(number: int, connection: int) -> bytes:
    """Return an atomic batch; the last of it is acknowledged."""
    parts: list[bytes] = []
    for at in range(BATCH):
        body = json.dumps(event(name_of(number * BATCH + at, "many"))).encode()
        headers = [("Nats-Batch-Id", f"b{number}"), ("Nats-Batch-Sequence", str(at + 1))]
        if at < BATCH - 1:
            parts.append(message(b"bench.many", headers, body))
        else:
            parts.append(message(b"bench.many", [*headers, ("Nats-Batch-Commit", "1")], body, inbox_of(connection)))
    return b"".join(parts)


async def make_stream(port: int, name: str, **config: object) -> None:
    """Make a stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"name": name, "subjects": [f"bench.{name}"], "storage": "file", **config}).encode()
    writer.write(b'CONNECT {"verbose":false}\r\nSUB _I.> 1\r\n')
    writer.write(b"PUB $JS.API.STREAM.CREATE.%b _I.a %d\r\n%b\r\n" % (name.encode(), len(body), body))
    while not (line := await reader.readline()).startswith(b"{"):
        pass
    writer.close()
    if b'"error"' in line:
        raise RuntimeError(line)


def jetstream(port: int, turn: int, *, singly: int, batched: int) -> dict[str, Any]:
    """Measure JetStream, syncing always, for one turn."""
    first, first_batch = turn * singly * 2, turn * batched
    one = deque(map(one_message, range(first, first + singly)))
    together = asyncio.run(publish(port, [one], CONNECTIONS))
    spread = [
        deque(one_message(number, at) for number in range(first + singly + at, first + singly * 2, CONNECTIONS))
        for at in range(CONNECTIONS)
    ]
    apart = asyncio.run(publish(port, spread, 1))
    shares = [
        deque(one_batch(number, at) for number in range(first_batch + at, first_batch + batched, BATCH_CONNECTIONS))
        for at in range(BATCH_CONNECTIONS)
    ]
    many = asyncio.run(publish(port, shares, 1))
    return {
        "one_connection": together,
        "many_connections": apart,
        "per_s": max(together["per_s"], apart["per_s"]),
        "batch": many,
        "batch_events_per_s": many["per_s"] * BATCH,
    }


def hub_too(hub: HubProcess, key: str, turn: int, *, singly: int, batched: int) -> dict[str, Any]:
    """Measure the hub with the same events, for one turn."""
    each = singly // CONNECTIONS
    sources = [iter(list(singles(at, each, key, f"one{turn}"))) for at in range(CONNECTIONS)]
    single = asyncio.run(run_load(hub.port, sources))
    many = [iter(batches(at, batched // BATCH_CONNECTIONS, key, f"many{turn}")) for at in range(BATCH_CONNECTIONS)]
    batch = asyncio.run(run_load(hub.port, many))
    return {**single.summary(), "batch": batch.summary(), "batch_events_per_s": round(batch.per_second * BATCH)}


def beside_jetstream(hub: HubProcess, key: str, directory: Path, *, turns: int, **sizes: int) -> dict[str, Any]:
    """Measure both in turns, so that what else the machine does strikes both; figures are medians over the turns."""
    server = NatsServer(current=True, sync=True, below=directory)
    theirs: list[dict[str, Any]] = []
    ours: list[dict[str, Any]] = []
    try:
        os.sched_setaffinity(0, {SERVER_CPU})  # what it starts has the core that the hub has, and no other
        server.start()
        os.sched_setaffinity(0, {LOAD_CPU})
        asyncio.run(make_stream(server.port, "one"))
        asyncio.run(make_stream(server.port, "many", allow_atomic=True))
        for turn in range(turns):
            theirs.append(jetstream(server.port, turn, **sizes))
            ours.append(hub_too(hub, key, turn, **sizes))
    finally:
        server.remove()

    def ratio(name: str) -> float:
        return round(statistics.median(own[name] / other[name] for own, other in zip(ours, theirs, strict=True)), 2)

    middle = sorted(range(turns), key=lambda turn: theirs[turn]["per_s"])[turns // 2]
    return {
        "turns": turns,
        "in_flight": CONNECTIONS,
        "jetstream": theirs[middle],
        "hub": ours[middle],
        "times_jetstream": ratio("per_s"),
        "times_jetstream_batched": ratio("batch_events_per_s"),
        "of_each_turn": [[own["per_s"], other["per_s"]] for own, other in zip(ours, theirs, strict=True)],
    }


def relayed(hub: HubProcess, kind: str, server: BrokerServer) -> dict[str, float]:
    """Have the hub hand everything that it keeps to a broker; returns the rate."""
    hub.must(
        "POST", "/relays",
        {"name": kind, "kind": kind.partition("-")[0], "servers": [f"127.0.0.1:{server.port}"], "start": "start",
         "types": ["com.example.*"]},
    )  # fmt: skip
    cpu, begun = hub.cpu_s(), time.perf_counter()
    while True:
        time.sleep(0.02)
        shown = hub.must("GET", f"/relays/{kind}")
        if shown["state"] == "relaying" and shown["lag_records"] == 0:
            break
        if shown["sent"] and time.perf_counter() - begun > MEASURED_S:
            break
        if time.perf_counter() - begun > WAIT_S:
            raise RuntimeError(str(shown))
    seconds, used = time.perf_counter() - begun, hub.cpu_s() - cpu
    return {
        "events": shown["sent"], "per_s": round(shown["sent"] / seconds), "hub_core_busy": round(used / seconds, 2),
        "hub_us_per_event": round(used / shown["sent"] * 1e6, 1),
    }  # fmt: skip


async def delay(hub: HubProcess, key: str, port: int, count: int) -> dict[str, float]:
    """Measure from a publisher's answer to the event at a subscriber of NATS."""
    seen: dict[str, float] = {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\nSUB hub.> 1\r\n')

    async def listen() -> None:
        while line := await reader.readline():
            if line.startswith(b'{"specversion"'):
                seen[json.loads(line)["id"]] = time.perf_counter()
            elif line.startswith(b"PING"):
                writer.write(b"PONG\r\n")

    listening = asyncio.create_task(listen())
    publisher, out = await asyncio.open_connection("127.0.0.1", hub.port)
    answered: dict[str, float] = {}
    begun = time.perf_counter() + 0.1
    for number in range(count):
        await asyncio.sleep(begun + number / DELAY_PER_S - time.perf_counter())
        name = name_of(number, "told")
        out.write(post("/events", key, json.dumps(event(name)).encode()))
        await answer(publisher)
        answered[name] = time.perf_counter()
    async with asyncio.timeout(WAIT_S):
        while len(seen) < count:
            await asyncio.sleep(0.01)
    listening.cancel()
    for each in (out, writer):
        each.close()
    took = sorted(max(0.0, seen[name] - at) * 1_000 for name, at in answered.items())
    return {
        "n": count, "p50_ms": round(statistics.median(took), 2), "p95_ms": round(took[int(count * 0.95)], 2),
        "p99_ms": round(took[int(count * 0.99)], 2),
    }  # fmt: skip


def relays(hub: HubProcess, key: str, directory: Path, *, told: int) -> dict[str, Any]:
    """Measure a relay to every broker there is."""
    makers: dict[str, Callable[[], BrokerServer]] = {
        "nats": lambda: NatsServer(current=True, below=directory),
        "nats-sync": lambda: NatsServer(current=True, sync=True, below=directory),
        "redis": lambda: RedisServer(below=directory),
        "kafka": lambda: KafkaServer(below=directory),
    }
    found: dict[str, Any] = {}
    for kind, make in makers.items():
        try:
            server = make()
        except MissingError as missing:
            found[kind] = {"left_out": str(missing)}
            continue
        try:
            server.start()
            found[kind] = relayed(hub, kind, server)
            if kind == "nats":
                found["delay"] = asyncio.run(delay(hub, key, server.port, told))
            hub.must("DELETE", f"/relays/{kind}")
        finally:
            server.remove()
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    sizes = {"turns": 1, "singly": 1_920, "batched": 40} if short else {"turns": 5, "singly": 3_840, "batched": 80}
    os.sched_setaffinity(0, {LOAD_CPU})
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        options = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
        with running_hub(root / "data", cpu=SERVER_CPU, **options) as hub:
            key = hub.tenant("bench", "enterprise")
            try:
                figures = beside_jetstream(hub, key, root, **sizes)
            except MissingError as missing:
                sys.exit(str(missing))
            os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))  # brokers may use every core
            figures["relays"] = relays(hub, key, root, told=200 if short else 5_000)
        figures["fsyncs_per_s"] = fsyncs_per_second(root)
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
