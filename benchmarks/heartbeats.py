"""Lease renewals over HTTP: one by one over 64 connections, and in batches of 1,000.

    python benchmarks/heartbeats.py            # the full form
    python benchmarks/heartbeats.py --short    # as the tests run it

The hub has one core, the load generator the other. The limit measured in the same run is the
smallest request the hub answers through the same sockets (`GET /livez`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from http_load import Outcome, post, put, run_load
from hub_process import HubProcess, running_hub

CONNECTIONS: Final = 64
INSTANCES: Final = 10_000
SERVICES: Final = 500
REGISTER_BATCH: Final = 500
BATCH: Final = 1_000
BATCH_CONNECTIONS: Final = 4
SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
BAR_SINGLE: Final = 20_000
BAR_BATCH: Final = 100_000
UNLIMITED: Final = "1000000000"


def name(number: int) -> tuple[str, str]:
    """Return the service and the id of an instance."""
    return f"beat-{number % SERVICES}", f"beat-{number}"


def fill(hub: HubProcess, key: str) -> None:
    """Register the instances whose leases are renewed."""
    for start in range(0, INSTANCES, REGISTER_BATCH):
        items = [
            {"name": service, "instance_id": instance_id, "host": "10.0.0.1", "port": 8_000, "lease_ttl_s": 3_600}
            for service, instance_id in map(name, range(start, start + REGISTER_BATCH))
        ]
        hub.must("POST", "/services/register/batch", {"instances": items}, key=key)


def singles(connection: int, count: int, key: str) -> Iterator[bytes]:
    """Yield one connection's heartbeats, each with the load its instance reports."""
    for number in range(connection * count, (connection + 1) * count):
        service, instance_id = name(number % INSTANCES)
        body = b'{"in_flight":%d,"load":0.%d}' % (number % 40, number % 90 + 10)
        yield put(f"/services/{service}/instances/{instance_id}/heartbeat", key, body)


def batches(connection: int, count: int, key: str) -> list[bytes]:
    """Return one connection's batches of `BATCH`."""
    made: list[bytes] = []
    for batch in range(connection * count, (connection + 1) * count):
        beats = [
            {"service_name": service, "instance_id": instance_id, "in_flight": number % 40, "load": 0.5}
            for number in range(batch * BATCH, (batch + 1) * BATCH)
            for service, instance_id in (name(number % INSTANCES),)
        ]
        made.append(post("/services/heartbeats", key, json.dumps({"instances": beats}).encode()))
    return made


def alive(count: int, key: str) -> Iterator[bytes]:
    """Yield the smallest request."""
    for _ in range(count):
        yield f"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()


def timed(hub: HubProcess, sources: list[Iterator[bytes]]) -> tuple[Outcome, dict[str, float]]:
    """Run a load; returns it and what it took of both cores."""
    cpu = hub.cpu_s()
    outcome = asyncio.run(run_load(hub.port, sources))
    used = hub.cpu_s() - cpu
    assert outcome.refused == 0, "every heartbeat renews a lease"
    return outcome, {**outcome.summary(), "hub_core_busy": round(used / outcome.seconds, 2)}


def measure(hub: HubProcess, *, each: int, batches_each: int) -> dict[str, Any]:
    """Run both forms, and the smallest request, against a hub."""
    key = hub.tenant("bench", "enterprise")
    fill(hub, key)
    _, floor = timed(hub, [alive(each, key) for _ in range(CONNECTIONS)])
    _, single = timed(hub, [singles(number, each, key) for number in range(CONNECTIONS)])
    made = [batches(number, batches_each, key) for number in range(BATCH_CONNECTIONS)]
    outcome, batch = timed(hub, [iter(one) for one in made])
    leases = round(outcome.per_second * BATCH)
    return {
        "smallest_request": floor,
        "single": {**single, "bar": BAR_SINGLE},
        "batch": {**batch, "leases_per_s": leases, "bar": BAR_BATCH},
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CPU})
    options = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
    with (
        tempfile.TemporaryDirectory() as directory,
        running_hub(Path(directory) / "data", cpu=SERVER_CPU, **options) as hub,
    ):
        sizes = {"each": 60, "batches_each": 4} if arguments.short else {"each": 3_000, "batches_each": 100}
        figures = measure(hub, **sizes)
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
