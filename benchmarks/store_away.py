"""A hub whose PostgreSQL goes away under load: what readers and writers notice, and how soon it is back.

    python benchmarks/store_away.py            # the full form: three rounds, 15 seconds away
    python benchmarks/store_away.py --short    # as the tests run it

Instances are kept by heartbeats with leases shorter than the store is away. Readers discover over
HTTP without a pause, before (the peer) and while the server is killed; a writer tries to register
every 50 ms. Then the server is started again, and the first write that is taken counts. The hub
runs on one core, the load on the other, the server where there is room.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import itertools
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

import asyncpg

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.http_load import Outcome, run_load
from benchmarks.hub_process import HubProcess, running_hub
from central_hub.adapters.postgres.migrations import prepare
from tools.postgres_server import PostgresServer

SERVICES: Final = 40
READERS: Final = 8
LEASE_S: Final = 6.0
BEAT_EVERY_S: Final = 2.0
WRITE_EVERY_S: Final = 0.05
BAR_REFUSED_MS: Final = 100.0
BAR_BACK_S: Final = 2.0


def get(path: str, key: str) -> bytes:
    """Write a GET request as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()


def reads(key: str, until: list[float]) -> Iterator[bytes]:
    """Yield discoveries, service after service, until a time that may be moved."""
    for number in itertools.count():
        if time.monotonic() >= until[0]:
            return
        yield get(f"/services/discover/service-{number % SERVICES}", key)


def registration(number: int) -> dict[str, object]:
    """One instance of one service, kept by heartbeats."""
    return {
        "name": f"service-{number}", "instance_id": f"instance-{number}", "host": "127.0.0.1", "port": 10_000 + number,
        "lease_ttl_s": LEASE_S,
    }  # fmt: skip


async def beat(hub: HubProcess, until: list[float]) -> None:
    """Renew every lease every few seconds."""
    names = [{"service_name": f"service-{n}", "instance_id": f"instance-{n}"} for n in range(SERVICES)]
    while time.monotonic() < until[0]:
        await asyncio.to_thread(hub.call, "POST", "/services/heartbeats", {"instances": names})
        await asyncio.sleep(BEAT_EVERY_S)


def write_until_refused(port: int, token: str, seconds: float) -> list[float]:
    """Try to register while the store is away; returns how many milliseconds each refusal took.

    Runs in a process of its own: beside the readers it would wait for their interpreter and count that too.

    Raises:
        RuntimeError: a write was taken that nobody could make durable.
    """
    took: list[float] = []
    until_s = time.monotonic() + seconds
    body = json.dumps(registration(SERVICES))
    lines = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        while time.monotonic() < until_s:
            begun = time.perf_counter()
            connection.request("POST", "/services/register", body, lines)
            answer = connection.getresponse()
            said = answer.read()
            took.append((time.perf_counter() - begun) * 1e3)
            if answer.status != 503:
                raise RuntimeError(f"a write was answered {answer.status} without a store: {said!r}")
            time.sleep(WRITE_EVERY_S)
    return took


async def refused_ms(hub: HubProcess, seconds: float) -> list[float]:
    """Run `write_until_refused` in a process of its own."""
    writing = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--write", str(hub.port), str(seconds),
        env={**os.environ, "HUB_TOKEN": hub.bootstrap}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await writing.communicate()
    if writing.returncode:
        raise RuntimeError("the writer failed")
    return [float(each) for each in json.loads(out)]


async def one_round(server: PostgresServer, hub: HubProcess, seconds: float) -> dict[str, Any]:
    """Measure with the store, without it, and its return."""
    for number in range(SERVICES):
        hub.must("POST", "/services/register", registration(number))
    until = [time.monotonic() + seconds / 2]
    beating = asyncio.create_task(beat(hub, [time.monotonic() + seconds * 1.5 + 2]))
    await run_load(hub.port, [reads(hub.bootstrap, [time.monotonic() + 0.5]) for _ in range(READERS)])
    before = await run_load(hub.port, [reads(hub.bootstrap, until) for _ in range(READERS)])
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(0.2)
    until = [time.monotonic() + seconds]
    writing = asyncio.create_task(refused_ms(hub, seconds))
    away = await run_load(hub.port, [reads(hub.bootstrap, until) for _ in range(READERS)])
    refused = await writing
    there = hub.must("GET", "/services/")["services"]
    await asyncio.to_thread(server.start)
    begun = time.monotonic()
    while (await asyncio.to_thread(hub.call, "POST", "/services/register", registration(SERVICES)))[0] != 201:
        await asyncio.sleep(0.01)
    back_s = time.monotonic() - begun
    beating.cancel()
    await asyncio.wait((beating,))
    gone = [name for name in (f"service-{n}" for n in range(SERVICES)) if not there[name]["instances"]]
    return {
        "before": before.summary(),
        "away": away.summary(),
        "p99_ratio": round(ratio(before, away), 3),
        "refusals": len(refused),
        "refused_worst_ms": round(max(refused), 1),
        "refused_p99_ms": round(sorted(refused)[int(0.99 * len(refused))], 1),
        "falsely_expired": gone,
        "back_s": round(back_s, 3),
    }


def ratio(before: Outcome, away: Outcome) -> float:
    """Return how much slower the slowest hundredth of reads was without the store."""
    return away.percentile(0.99) / before.percentile(0.99)


async def furnish(server: PostgresServer) -> str:
    """Make roles and a database; returns the hub's address."""
    for role in ("owner", "hub"):
        server.sql(f"CREATE ROLE {role} LOGIN")
    server.sql("CREATE DATABASE hub OWNER owner")
    connection = await asyncpg.connect(server.address("hub", "owner"))
    await prepare(connection, "hub")
    await connection.close()
    return server.address("hub", "hub")


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Run some rounds with one server and one hub; returns each, the worst and the medians."""
    server = PostgresServer.initialised()
    try:
        address = asyncio.run(furnish(server))
        cores = sorted(os.sched_getaffinity(0))
        with (
            tempfile.TemporaryDirectory(prefix="away-") as directory,
            running_hub(Path(directory) / "hub", cpu=cores[0], store=address) as hub,
        ):
            os.sched_setaffinity(0, {cores[-1]})
            found = [asyncio.run(one_round(server, hub, seconds)) for _ in range(rounds)]
    finally:
        server.remove()
    return {
        "what": "a hub whose PostgreSQL goes away under load",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "away_s": seconds,
        "failed_reads": sum(int(one["away"]["refused"]) for one in found),
        "reads": sum(int(one["away"]["n"]) for one in found),
        "read_p99_ratio": statistics.median(one["p99_ratio"] for one in found),
        "read_p99_before_ms": statistics.median(one["before"]["p99_ms"] for one in found),
        "refused_worst_ms": max(one["refused_worst_ms"] for one in found),
        "falsely_expired": [name for one in found for name in one["falsely_expired"]],
        "back_worst_s": max(one["back_s"] for one in found),
        "rounds": found,
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seconds", type=float, help="Away so long, once.")
    parser.add_argument("--write", nargs=2, metavar=("PORT", "SECONDS"), help="Be the writer of another run.")
    given = parser.parse_args()
    if given.write is not None:
        print(json.dumps(write_until_refused(int(given.write[0]), os.environ["HUB_TOKEN"], float(given.write[1]))))
        return
    if given.seconds is not None:
        print(json.dumps(measure(1, given.seconds), indent=2))
        return
    short = given.short
    print(json.dumps(measure(1, 8.0) if short else measure(3, 15.0), indent=2))


if __name__ == "__main__":
    main()
