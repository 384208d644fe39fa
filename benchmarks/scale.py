"""How big and how fast a hub starts: empty, and with 100,000 instances of 1,000 tenants.

    python benchmarks/scale.py                                  # the full form
    python benchmarks/scale.py --tenants 20 --instances 2000

Time to ready runs from the start of the process to the first 200 of /readyz, interpreter and
imports included; "python_start_s" is the same for an interpreter that does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from http_load import post, run_load
from hub_process import HubProcess, running_hub

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
BARS: Final = {"empty_ready_s": 1.0, "empty_rss_mb": 90, "full_ready_s": 3.0, "full_rss_mb": 500}
LOADERS: Final = 8
UNLIMITED: Final = "1000000000"
OPTIONS: Final = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}


def rss_mb(hub: HubProcess) -> float:
    """Return the hub's resident memory in megabytes (10^6)."""
    return round(psutil.Process(hub.process.pid).memory_info().rss / 1e6, 1)


def started(data: Path) -> Iterator[tuple[HubProcess, float]]:
    """Start a hub; yields it with the seconds it took to be ready."""
    begun = time.perf_counter()
    with running_hub(data, cpu=SERVER_CPU, **OPTIONS) as hub:
        yield hub, round(time.perf_counter() - begun, 2)


def batch(tenant: int, instances: int) -> bytes:
    """Return one tenant's instances, ten to a service."""
    items = [
        {
            "name": f"svc-{number // 10}",
            "instance_id": f"i-{tenant}-{number}",
            "host": f"10.{tenant % 250}.{number // 250}.{number % 250}",
            "port": 8_000 + number % 10,
            "metadata": {"type": "model-server", "region": "eu-1"},
            "version": "1.4.2",
            "zone": f"zone-{number % 3}",
            "tags": ["gpu", "batch"],
            "lease_ttl_s": 3_600,
        }
        for number in range(instances)
    ]
    return json.dumps({"instances": items}).encode()


def fill(hub: HubProcess, tenants: int, each: int) -> float:
    """Create tenants with a key each and register their instances; returns the seconds it took."""
    begun = time.perf_counter()
    keys = [hub.tenant(f"tenant-{number:04}", "enterprise") for number in range(tenants)]
    requests = [post("/services/register/batch", key, batch(number, each)) for number, key in enumerate(keys)]
    outcome = asyncio.run(run_load(hub.port, [iter(requests[number::LOADERS]) for number in range(LOADERS)]))
    assert outcome.refused == 0, "every batch is accepted"
    return round(time.perf_counter() - begun, 1)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--instances", type=int, default=100_000)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CPU})
    figures: dict[str, Any] = {"tenants": arguments.tenants, "instances": arguments.instances}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    figures["python_start_s"] = round(time.perf_counter() - begun, 2)
    with tempfile.TemporaryDirectory() as name:
        for hub, seconds in started(Path(name) / "empty"):
            figures["empty_ready_s"], figures["empty_rss_mb"] = seconds, rss_mb(hub)
        data = Path(name) / "full"
        for hub, _ in started(data):
            figures["fill_s"] = fill(hub, arguments.tenants, arguments.instances // arguments.tenants)
            figures["full_rss_mb_after_filling"] = rss_mb(hub)
        for hub, seconds in started(data):
            figures["full_ready_s"], figures["full_rss_mb"] = seconds, rss_mb(hub)
    figures["bars"] = BARS
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
