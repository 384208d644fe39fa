"""How long one step holds the hub's event loop, under everything the other benchmarks do.

    python benchmarks/steps.py            # the full form
    python benchmarks/steps.py --short    # as the tests run it

Registrations one by one and in batches, heartbeats likewise, a service of 1,000 instances that
changes, full listings of 20,000 instances, a snapshot. A step's time is the processor time of
the hub's thread (see timed_steps.py), so a busy machine does not lengthen it; the start and the
end of the hub do not count.
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
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import heartbeats, register
from benchmarks.http_load import run_load
from benchmarks.hub_process import HubProcess, running_hub
from benchmarks.timed_steps import REPORT

BAR_MS: Final = 2.0
SNAPSHOT_EVERY: Final = 500
SNAPSHOT_LOOK_S: Final = 6.0
BIG: Final = 1_000
LISTINGS: Final = ("/services/", "/health/services", "/prometheus/targets", "/health/tenant", "/services/discover")
UNLIMITED: Final = "1000000000"

Phase = Callable[[], object]


def phases(hub: HubProcess, key: str, *, short: bool) -> dict[str, Phase]:
    """Return what is done, in order, by name."""
    each = 20 if short else 300
    batches = 2 if short else 10

    def load(sources: list[Any]) -> object:
        return asyncio.run(run_load(hub.port, [iter(source) for source in sources]))

    def big() -> None:
        for start in range(0, BIG, register.BATCH):
            items = [
                {**register.instance(number, "big"), "name": "big"} for number in range(start, start + register.BATCH)
            ]
            hub.must("POST", "/services/register/batch", {"instances": items}, key=key)
        for number in range(10):
            changed = {**register.instance(number, "big"), "name": "big", "version": "2"}
            hub.must("POST", "/services/register", changed, key=key)
            hub.must("GET", "/services/discover/big", key=key)

    def listings() -> None:
        for path in LISTINGS:
            for _ in range(3):
                hub.fetch(path, key)

    return {
        "registrations": lambda: load([register.singles(n, each, key) for n in range(register.CONNECTIONS)]),
        "registrations in batches": lambda: load([register.batches(n, batches, key) for n in range(4)]),
        "heartbeats": lambda: (
            heartbeats.fill(hub, key),
            load([heartbeats.singles(n, each, key) for n in range(heartbeats.CONNECTIONS)]),
        ),
        "heartbeats in batches": lambda: load([heartbeats.batches(n, batches, key) for n in range(4)]),
        "a service of 1,000 changes": big,
        "full listings": listings,
        "a snapshot": lambda: time.sleep(SNAPSHOT_LOOK_S),
    }


def summed_up(report: Path) -> dict[str, Any]:
    """Return the longest steps of each phase and how many were longer than the bar."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    phase = ""
    for line in report.read_text("utf-8").splitlines():
        if line.startswith("="):
            phase = line[1:]
            continue
        took, _, name = line.partition(" ")
        if phase:
            found[phase].append((float(took), name))
    phases_found = {
        phase: {
            "longest_ms": max(steps)[0],
            "over_the_bar": sum(took > BAR_MS for took, _ in steps),
            "longest": [f"{took:.1f} {name}" for took, name in sorted(steps, reverse=True)[:3]],
        }
        for phase, steps in found.items()
    }
    return {
        "longest_ms": max((one["longest_ms"] for one in phases_found.values()), default=0.0),
        "phases": phases_found,
    }


def measure(*, short: bool) -> dict[str, Any]:
    """Run every phase against one hub."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "steps"
        os.environ[REPORT] = str(report)
        options = {
            "writes_per_tenant_s": UNLIMITED,
            "reads_per_tenant_s": UNLIMITED,
            "snapshot_every": str(SNAPSHOT_EVERY),
        }
        launcher = (str(Path(__file__).with_name("timed_steps.py")),)
        with running_hub(Path(directory) / "data", cpu=register.SERVER_CPU, launcher=launcher, **options) as hub:
            key = hub.tenant("bench", "enterprise")
            time.sleep(1.0)  # the framework is loaded by then
            for name, phase in phases(hub, key, short=short).items():
                with report.open("a", encoding="utf-8") as file:
                    file.write(f"={name}\n")
                phase()
            with report.open("a", encoding="utf-8") as file:
                file.write("=\n")
        return summed_up(report)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {register.LOAD_CPU})
    figures = measure(short=arguments.short)
    figures["bar_ms"] = BAR_MS
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
