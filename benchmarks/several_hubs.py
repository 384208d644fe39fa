"""Several hubs on one PostgreSQL: how soon another tells what one took, how soon a dead one's work is taken over.

    python benchmarks/several_hubs.py            # the full form: 2,000 events, three kills
    python benchmarks/several_hubs.py --short

Told elsewhere: one event at a time is published to the first hub; followers stream the tenant's events from the first
and from the second. Time runs from the moment the publisher has its answer (durable) to the moment a follower has the
event; a follower that is told before the publisher counts as 0. The follower at the same hub is the peer.

Taken over: three hubs share 300 instances; one is killed with SIGKILL, and time runs until the two that are left own
everything. Then it is started again. Hubs, server, publisher and followers share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.hub_process import HubProcess
from central_hub.adapters.postgres.migrations import prepare
from central_hub.sdk.sse import SseParser
from tests.several_hubs import Hubs, is_settled, several_hubs, until, url
from tools.postgres_server import PostgresServer

PUBLISHED_PER_S: Final = 100
INSTANCES: Final = 300
SCOPES: Final = ["registry:read", "registry:write", "events:read", "events:write"]
SETTLE_S: Final = 1.0


class Follower:
    """Streams a tenant's events from one hub and notes when each came."""

    def __init__(self, hub: HubProcess, key: str) -> None:
        self._target = f"{url(hub.port)}/events/stream?types=com.example.timed"
        self._lines = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
        self.came_s: dict[str, float] = {}
        self.open = asyncio.Event()

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Follow until cancelled."""
        async with session.get(self._target, headers=self._lines) as response:
            response.raise_for_status()
            self.open.set()
            parser = SseParser()
            async for chunk in response.content.iter_any():
                now_s = time.perf_counter()
                for event in parser.feed(chunk):
                    if event.data:
                        self.came_s[json.loads(event.data)["id"]] = now_s


async def told(hubs: list[HubProcess], key: str, events: int) -> dict[str, Any]:
    """Publish events to the first hub and time how soon each hub tells them."""
    followers = [Follower(hub, key) for hub in hubs[:2]]
    answered_s: dict[str, float] = {}
    lines = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        following = [asyncio.create_task(follower.run(session)) for follower in followers]
        for follower in followers:
            await follower.open.wait()
        await asyncio.sleep(SETTLE_S)
        due_s = time.perf_counter()
        for number in range(events):
            due_s += 1 / PUBLISHED_PER_S
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            name = f"e-{number}"
            body = {"specversion": "1.0", "type": "com.example.timed", "source": "/bench", "id": name, "data": {"n": 1}}
            async with session.post(f"{url(hubs[0].port)}/events", json=body, headers=lines) as response:
                response.raise_for_status()
                await response.read()
            answered_s[name] = time.perf_counter()
        await asyncio.sleep(SETTLE_S)
        for task in following:
            task.cancel()
    same, other = ([latency_ms(follower, answered_s, name) for name in answered_s] for follower in followers)
    return {"events": events, "same_hub": summary(same), "another_hub": summary(other)}


def latency_ms(follower: Follower, answered_s: dict[str, float], name: str) -> float:
    """Return the milliseconds from the publisher's answer to the event; infinite for one that never came."""
    came_s = follower.came_s.get(name, float("inf"))
    return max(0.0, came_s - answered_s[name]) * 1e3


def summary(values: list[float]) -> dict[str, float]:
    """Return percentiles in milliseconds, and how many never came."""
    ordered = sorted(values)
    return {
        "p50_ms": round(ordered[len(ordered) // 2], 2),
        "p99_ms": round(ordered[int(0.99 * len(ordered))], 2),
        "worst_ms": round(ordered[-1], 2),
        "lost": sum(value == float("inf") for value in ordered),
    }


def taken_over(hubs: Hubs, times: int) -> list[float]:
    """Kill one hub after another; returns the seconds until the others own everything."""
    took: list[float] = []
    for number in range(times):
        running = list(hubs.hubs.values())
        victim = running[number % len(running)]
        hubs.kill(victim)
        left = list(hubs.hubs.values())
        took.append(round(until(lambda left=left: all(is_settled(hub, len(left)) for hub in left), within_s=30), 2))
        again = hubs.start(victim.port)
        everybody = [*left, again]
        until(lambda everybody=everybody: all(is_settled(hub, len(everybody)) for hub in everybody), within_s=30)
    return took


async def furnish(server: PostgresServer) -> str:
    """Make roles and a database; returns the hubs' address."""
    for role in ("owner", "hub"):
        server.sql(f"CREATE ROLE {role} LOGIN")
    server.sql("CREATE DATABASE hub OWNER owner")
    connection = await asyncpg.connect(server.address("hub", "owner"))
    await prepare(connection, "hub")
    await connection.close()
    return server.address("hub", "hub")


def measure(events: int, kills: int) -> dict[str, Any]:
    """Run both parts on one server and three hubs."""
    server = PostgresServer.initialised()
    try:
        address = asyncio.run(furnish(server))
        with (
            tempfile.TemporaryDirectory(prefix="several-") as directory,
            several_hubs(Path(directory), address, 3, log_level="warning") as (hubs, started),
        ):
            key = started[0].tenant("acme", "enterprise", SCOPES)
            until(lambda: started[1].call("GET", "/services/", key=key)[0] == 200, within_s=5)
            found = asyncio.run(told(started, key, events))
            batch = [
                {"name": f"s-{n % 20}", "instance_id": f"i-{n}", "host": "127.0.0.1", "port": 9, "lease_ttl_s": 600}
                for n in range(INSTANCES)
            ]
            started[0].must("POST", "/services/register/batch", {"instances": batch}, key=key)
            kill_s = taken_over(hubs, kills)
    finally:
        server.remove()
    return {
        "what": "three hubs on one PostgreSQL",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "told": found,
        "taken_over_s": kill_s,
        "taken_over_worst_s": max(kill_s),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    print(json.dumps(measure(300, 1) if short else measure(2_000, 3), indent=2))


if __name__ == "__main__":
    main()
