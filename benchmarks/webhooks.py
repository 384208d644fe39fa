"""Webhooks: how soon endpoints are told, how many, and what those that hang or fail cost the others.

    python benchmarks/webhooks.py            # the full form
    python benchmarks/webhooks.py --short    # as the tests run it

An event is a tenant that was renamed. Told is measured from the answer to the rename, which is durable then, to the
event's arrival at a receiver in the load generator's process, its signature verified. The peer in the same run is the
same receiver asked by a plain client on as many connections, a fresh one for each message as the hub makes them. The
hub has one core, the load generator and the receiver the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

sys.path.insert(0, str(Path(__file__).parent))
from hub_process import HubProcess, running_hub

from central_hub.kernel.signatures import secret_bytes, verify

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
UPDATED: Final = "io.centralhub.tenant.updated.v1"
VICTIMS: Final = 10
HANGING: Final = 12
FAILING: Final = 12
HOSTILE_ENDPOINTS: Final = 4
VICTIM_PER_S: Final = 40.0
HOSTILE_PER_S: Final = 80.0
AT_ONCE: Final = 16
DRAIN_S: Final = 20.0


class Receiver:
    """Takes messages: `/ok/…` is taken, `/fail/…` is refused for ever, `/hang/…` is never answered."""

    def __init__(self) -> None:
        self.at_s: dict[tuple[str, str], float] = {}
        self.taken = 0
        self.order_kept = True
        self._last: dict[str, int] = {}
        self.secrets: dict[str, bytes] = {}
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=1_024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            request, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers["content-length"]))
            path = request.split(" ")[1]
            if path.startswith("/hang"):
                await reader.read(1)  # until the hub gives up
            elif path.startswith("/fail"):
                writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
            else:
                self._take(path, headers, body)
                writer.write(b"HTTP/1.1 204 Taken\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the hub went away, or the measurement is over
        finally:
            writer.close()

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        now_s = time.perf_counter()
        verify(headers, body, [self.secrets[path]], now_s=time.time())
        event = json.loads(body)
        seq = int(event["hubseq"].rpartition(".")[2])
        self.order_kept = self.order_kept and seq > self._last.get(path, 0)
        self._last[path] = seq
        self.taken += 1
        self.at_s[event["tenantid"], event["data"]["name"]] = now_s


def furnish(hub: HubProcess, receiver: Receiver, kind: str, count: int, endpoints: int = 1) -> list[str]:
    """Create tenants of a kind, each with endpoints."""
    names = [f"{kind}-{number}" for number in range(count)]
    for name in names:
        hub.must("POST", "/tenants", {"id": name, "name": name, "tier": "pro"})
        for number in range(endpoints):
            path = f"/{kind}/{name}/{number}"
            body = {"url": f"http://127.0.0.1:{receiver.port}{path}", "events": [UPDATED]}
            receiver.secrets[path] = secret_bytes(hub.must("POST", f"/tenants/{name}/webhooks", body)["secret"])
    return names


class Writers:
    """Renames tenants, and remembers when each rename was acknowledged."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._number = 0
        self.asked_s: dict[tuple[str, str], float] = {}
        self.acked_s: dict[tuple[str, str], float] = {}

    async def rename(self, tenant: str) -> None:
        """Rename a tenant to what it never was called."""
        self._number += 1
        name = f"n{self._number}-{id(self)}"
        self.asked_s[tenant, name] = time.perf_counter()
        async with self._session.patch(f"/tenants/{tenant}", json={"name": name}) as answer:
            assert answer.status == 200, await answer.text()
        self.acked_s[tenant, name] = time.perf_counter()

    async def pace(self, tenants: Sequence[str], per_s: float, seconds: float) -> None:
        """Rename at a constant rate, whatever the answers take."""
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(per_s * seconds)):
                await asyncio.sleep(max(0.0, begun + number / per_s - time.perf_counter()))
                group.create_task(self.rename(tenants[number % len(tenants)]))


async def drained(receiver: Receiver, wanted: Sequence[tuple[str, str]]) -> int:
    """Wait for the last of some events; returns how many never came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while any(each not in receiver.at_s for each in wanted):
                await asyncio.sleep(0.02)
    return sum(each not in receiver.at_s for each in wanted)


async def paced(
    hub: HubProcess, receiver: Receiver, victims: Sequence[str], hostile: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Measure how soon the victims are told, with the hostile tenants beside them or without."""
    headers = {"authorization": f"Bearer {hub.bootstrap}"}
    async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{hub.port}", headers=headers) as session:
        writers, others = Writers(session), Writers(session)
        noise = asyncio.create_task(others.pace(hostile, HOSTILE_PER_S, seconds)) if hostile else None
        await writers.pace(victims, VICTIM_PER_S, seconds)
        if noise is not None:
            await noise
        lost = await drained(receiver, list(writers.acked_s))
    # The event may be there before the answer to the rename is read: then it took no time that anybody could notice.
    took = sorted(
        max(0.0, receiver.at_s[each] - at_s) * 1_000 for each, at_s in writers.acked_s.items() if each in receiver.at_s
    )
    whole = sorted(
        (receiver.at_s[each] - writers.asked_s[each]) * 1_000 for each in writers.acked_s if each in receiver.at_s
    )
    return {
        "events": len(took),
        "lost": lost,
        "p50_ms": round(took[len(took) // 2], 2),
        "p99_ms": round(took[int(len(took) * 0.99)], 2),
        "from_request_p50_ms": round(whole[len(whole) // 2], 2),
        "from_request_p99_ms": round(whole[int(len(whole) * 0.99)], 2),
    }


async def many(hub: HubProcess, receiver: Receiver, tenants: Sequence[str], count: int) -> dict[str, Any]:
    """Let as many events as there is room for be told, and count."""
    headers = {"authorization": f"Bearer {hub.bootstrap}"}
    before = receiver.taken
    async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{hub.port}", headers=headers) as session:
        writers = Writers(session)
        for tenant in tenants:  # the events are there before the first is told
            hub.must("POST", f"/tenants/{tenant}/webhooks/{_only(hub, tenant)}/disable")

        async def some(tenant: str) -> None:
            for _ in range(count // len(tenants)):
                await writers.rename(tenant)

        await asyncio.gather(*(some(tenant) for tenant in tenants))
        begun = time.perf_counter()
        for tenant in tenants:
            hub.must("POST", f"/tenants/{tenant}/webhooks/{_only(hub, tenant)}/enable")
        lost = await drained(receiver, list(writers.acked_s))
    took_s = max(receiver.at_s[each] for each in writers.acked_s if each in receiver.at_s) - begun
    told = receiver.taken - before
    return {"events": told, "lost": lost, "per_s": round(told / took_s)}


def _only(hub: HubProcess, tenant: str) -> str:
    return str(hub.must("GET", f"/tenants/{tenant}/webhooks")["webhooks"][0]["webhook_id"])


async def floor(receiver: Receiver, count: int) -> int:
    """Return how many messages a second a plain client brings, a connection for each."""
    path = next(path for path in receiver.secrets if path.startswith("/fail"))
    request = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 300\r\n\r\n".encode() + b"x" * 300

    async def some() -> None:
        for _ in range(count // AT_ONCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
            writer.write(request)
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return round(count / (time.perf_counter() - begun))


async def measured(directory: Path, *, short: bool) -> dict[str, Any]:
    """Return the figures."""
    seconds, count = (2.0, 300) if short else (15.0, 6_000)
    options = {"webhook_networks": "127.0.0.0/8", "webhook_http": "true"}
    async with Receiver() as receiver:
        with running_hub(directory / "data", cpu=SERVER_CPU, **options) as hub:
            there = await asyncio.to_thread(_furnished, hub, receiver)
            alone = await paced(hub, receiver, there["ok"], (), seconds)
            throughput = await many(hub, receiver, there["ok"], count)
            beside = await paced(hub, receiver, there["ok"], [*there["hang"], *there["fail"]], seconds)
            again = await paced(hub, receiver, there["ok"], (), seconds)
            return {
                "alone": alone,
                "beside_hostile": beside,
                "alone_again": again,
                "ratio_from_request_p99": round(
                    beside["from_request_p99_ms"] / max(one["from_request_p99_ms"] for one in (alone, again)), 2
                ),
                "throughput": throughput,
                "lost": alone["lost"] + beside["lost"] + again["lost"] + throughput["lost"],
                "order_kept": receiver.order_kept,
                "floor_per_s": await floor(receiver, 320 if short else 3_200),
            }


def _furnished(hub: HubProcess, receiver: Receiver) -> dict[str, list[str]]:
    return {
        "ok": furnish(hub, receiver, "ok", VICTIMS),
        "hang": furnish(hub, receiver, "hang", HANGING, HOSTILE_ENDPOINTS),
        "fail": furnish(hub, receiver, "fail", FAILING, HOSTILE_ENDPOINTS),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    os.sched_setaffinity(0, {LOAD_CPU})
    with tempfile.TemporaryDirectory() as name:
        figures = asyncio.run(measured(Path(name), short=short))
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
