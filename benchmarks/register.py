"""Durable registration over HTTP: one by one over 64 connections, and in batches.

    python benchmarks/register.py            # the full form
    python benchmarks/register.py --short    # as the tests run it

Every instance is distinct and every answer means fsynced. The hub has one core, the load
generator the other. The limit measured in the same run is the disk: fsyncs per second of a
one-page file, which is how often a hub could answer if it committed one by one.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from http_load import post, run_load
from hub_process import HubProcess, running_hub

CONNECTIONS: Final = 64
SERVICES: Final = 500
SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
BATCH: Final = 500
BATCH_CONNECTIONS: Final = 4
BAR_SINGLE: Final = 9_000
BAR_BATCH: Final = 40_000
UNLIMITED: Final = "1000000000"


def instance(number: int, prefix: str) -> dict[str, object]:
    """Return a registration as a service would send it."""
    return {
        "name": f"{prefix}-{number % SERVICES}",
        "instance_id": f"{prefix}-{number}",
        "host": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "port": 8_000 + number % 1_000,
        "metadata": {"type": "trading", "region": "eu"},
        "lease_ttl_s": 3_600,
    }


def singles(connection: int, count: int, key: str) -> Iterator[bytes]:
    """Yield one connection's registrations."""
    for number in range(connection * count, (connection + 1) * count):
        yield post("/services/register", key, json.dumps(instance(number, "one")).encode())


def batches(connection: int, count: int, key: str) -> Iterator[bytes]:
    """Yield one connection's batches of `BATCH`."""
    for batch in range(connection * count, (connection + 1) * count):
        items = [instance(number, "many") for number in range(batch * BATCH, (batch + 1) * BATCH)]
        yield post("/services/register/batch", key, json.dumps({"instances": items}).encode())


def fsyncs_per_second(directory: Path, seconds: float = 1.0) -> float:
    """Measure how often this disk makes a page durable."""
    path = directory / "fsync"
    count, begun = 0, time.perf_counter()
    with path.open("wb", buffering=0) as file:
        while time.perf_counter() - begun < seconds:
            file.write(bytes(4_096))
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return round(count / (time.perf_counter() - begun))


def measure(hub: HubProcess, *, each: int, batches_each: int) -> dict[str, Any]:
    """Run both forms against a hub."""
    key = hub.tenant("bench", "enterprise")
    cpu = hub.cpu_s()
    single = asyncio.run(run_load(hub.port, [singles(number, each, key) for number in range(CONNECTIONS)]))
    single_cpu = hub.cpu_s() - cpu
    sources = [list(batches(number, batches_each, key)) for number in range(BATCH_CONNECTIONS)]
    cpu = hub.cpu_s()
    batch = asyncio.run(run_load(hub.port, [iter(source) for source in sources]))
    batch_cpu = hub.cpu_s() - cpu
    count = len(hub.must("GET", "/services/many-0", key=key)["instances"])
    assert count == BATCH * batches_each * BATCH_CONNECTIONS // SERVICES, "every instance of every batch is there"
    return {
        "single": {**single.summary(), "hub_core_busy": round(single_cpu / single.seconds, 2), "bar": BAR_SINGLE},
        "batch": {
            **batch.summary(),
            "instances_per_s": round(batch.per_second * BATCH),
            "hub_core_busy": round(batch_cpu / batch.seconds, 2),
            "bar": BAR_BATCH,
        },
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CPU})
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        options = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
        with running_hub(root / "data", cpu=SERVER_CPU, **options) as hub:
            sizes = {"each": 60, "batches_each": 4} if arguments.short else {"each": 800, "batches_each": 20}
            figures = measure(hub, **sizes)
        figures["fsyncs_per_s"] = fsyncs_per_second(root)
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
