"""What a tenant that asks for a hundred times its share costs the others: their p99 with it and without, in pairs.

    python benchmarks/neighbours.py            # the full form: nine pairs
    python benchmarks/neighbours.py --short    # as the tests run it
    python benchmarks/neighbours.py --realtime # on a machine that does other things too (root)

Four tenants read and write at a steady rate, each kind at a fifth of what the same client gets
through when it does nothing else (measured first), each answer timed from when its request was due.
A fifth tenant, `loud`, is off and on in turn, in random order within each pair. While it is on it
asks for a hundred times its limits at once: reads, writes and allocations, pipelined over a hundred
connections without listening, and a hundred times the streams it may open. Its limits are low, so
that a hundred times as much is what one process can send.

The hub has one core. The victims' client has the other, and the abuser shares it at the lowest
priority (nice 19), so that what victims feel is what it does to the hub and not its own processor
time. The first second of each, when it spends what it may at once and is told for the first time,
is reported apart; a second without it goes before each time without it as well. After each time it
was on there is a pause until nothing of it is left.

Where other programs want both cores, their share of them is all that a p99 shows, with a neighbour or
without. `--realtime` puts the hub and the victims' client, and not the abuser, before everything else on
the machine; the report says so. `without_against_without` says how far apart two runs without the
neighbour are, which is what to hold the ratio against.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from http_load import run_load
from hub_process import HubProcess, running_hub
from neighbour_load import Timed, Victims, get, registration

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
TENANTS: Final = 4
CONNECTIONS: Final = 32
CAPACITY_CONNECTIONS: Final = 32
SHARE: Final = 0.2
TIMES: Final = 100
LIMITS: Final = {
    "hub_reads_per_second": 50,
    "hub_writes_per_second": 5,
    "hub_requests_in_flight": 20,
    "hub_watches": 5,
    "hub_queued_writes": 5,
    "hub_allocations": 5,
}
RESAMPLES: Final = 10_000
START_S: Final = 1.0
PAUSE_S: Final = 2.5
BAR_RATIO: Final = 1.25
METRICS: Final = ("central_hub_limited_total", "central_hub_holds_total", "central_hub_holds_closed_total")


def furnish(hub: HubProcess) -> tuple[list[str], str]:
    """Create everyone; returns the victims' keys and the abuser's."""
    victims = [hub.tenant(f"quiet-{number}", "enterprise") for number in range(TENANTS)]
    loud = hub.tenant("loud", "free")
    for name, value in LIMITS.items():
        hub.must("PUT", f"/tenants/loud/overrides/{name}", {"value": value, "reason": "benchmark"})
    for key in (*victims, loud):
        for number in range(3):
            body = {"name": "own", "instance_id": f"first-{number}", "host": "10.0.0.1", "port": 80 + number}
            hub.must("POST", "/services/register", body | {"lease_ttl_s": 3_600}, key=key)
    return victims, loud


async def capacity(hub: HubProcess, keys: Sequence[str], seconds: float) -> dict[str, float]:
    """Measure how many of each a second get through, one kind at a time, over connections that wait for each answer."""
    found: dict[str, float] = {}
    for name in ("reads", "writes"):
        until = time.perf_counter() + seconds

        def requests(at: int, name: str = name, until: float = until) -> Any:
            number = 0
            while time.perf_counter() < until:
                number += 1
                key = keys[at % TENANTS]
                again = number * CAPACITY_CONNECTIONS + at
                yield get("/services/discover/own", key) if name == "reads" else registration(key, "all", again)

        outcome = await run_load(hub.port, [requests(at) for at in range(CAPACITY_CONNECTIONS)])
        found[f"{name}_per_s"] = round(outcome.per_second)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def interval(ratios: Sequence[float]) -> list[float]:
    """Return the 95 % bootstrap interval of the geometric mean of ratios, drawn pair by pair."""
    draw = random.Random(1)
    means = sorted(statistics.geometric_mean(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return [round(means[int(RESAMPLES * 0.025)], 3), round(means[int(RESAMPLES * 0.975)], 3)]


class Neighbour:
    """The abuser's process."""

    def __init__(self, hub: HubProcess, key: str) -> None:
        reads, writes = LIMITS["hub_reads_per_second"] * TIMES, LIMITS["hub_writes_per_second"] * TIMES
        watches = LIMITS["hub_watches"] * TIMES
        command = [sys.executable, str(Path(__file__).with_name("neighbour_load.py"))]
        command += [str(hub.port), key, str(reads), str(writes), str(watches)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self._process.pid, {LOAD_CPU})

    async def order(self, what: str) -> dict[str, Any]:
        """Give an order and wait until it is carried out."""
        return await asyncio.get_running_loop().run_in_executor(None, self._order, what)

    def _order(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def measure(hub: HubProcess, *, pairs: int, seconds: float) -> dict[str, Any]:
    """Run the pairs; returns what a report says."""
    keys, loud = furnish(hub)
    able = await capacity(hub, keys, min(1.5, seconds))
    rates = {name: able[f"{name}_per_s"] * SHARE for name in ("reads", "writes")}
    readers = Victims(hub.port, lambda at, number: get("/services/discover/own", keys[at % TENANTS]), CONNECTIONS)
    writers = Victims(
        hub.port, lambda at, number: registration(keys[at % TENANTS], "all", number % 20_000), CONNECTIONS
    )
    await readers.open()
    await writers.open()
    neighbour = Neighbour(hub, loud)
    order = random.Random(7)
    found: list[dict[str, Any]] = []
    told: Counter[str] = Counter()
    try:
        await both(readers, writers, rates, seconds)
        for _ in range(pairs):
            pair: dict[str, Any] = {}
            for state in order.sample(("off", "on"), 2):
                if state == "on":
                    await neighbour.order("on")
                first = summary(await both(readers, writers, rates, START_S))
                if state == "on":
                    pair["start"] = first
                began, cpu = time.perf_counter(), hub.cpu_s()
                pair[state] = summary(await both(readers, writers, rates, seconds))
                pair[state]["hub_core_busy"] = round((hub.cpu_s() - cpu) / (time.perf_counter() - began), 2)
                if state == "on":
                    left = await neighbour.order("off")
                    told.update({f"answered_{status}": count for status, count in left["answers"].items()})
                    told.update({"offered": left["offered"], "left_out": left["left_out"]})
                    await asyncio.sleep(PAUSE_S)
            found.append(pair)
    finally:
        readers.close()
        writers.close()
        neighbour.close()
    return {**report(found), "capacity": able, "victims_per_s": rates, "abuser": {**told, **metrics(hub)}}


async def both(readers: Victims, writers: Victims, rates: dict[str, float], seconds: float) -> dict[str, Timed]:
    """Have the victims read and write for a while."""
    reads, writes = await asyncio.gather(readers.run(rates["reads"], seconds), writers.run(rates["writes"], seconds))
    return {"reads": reads, "writes": writes}


def summary(measured: dict[str, Timed]) -> dict[str, Any]:
    """Return the figures of one state of a pair."""
    return {
        name: {
            "n": len(timed.latencies_ms),
            "p50_ms": round(percentile(timed.latencies_ms, 0.5), 3),
            "p99_ms": round(percentile(timed.latencies_ms, 0.99), 3),
            "errors": sum(timed.errors.values()),
        }
        for name, timed in measured.items()
    }


def report(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ratios of the victims' p99 with the neighbour to that without, with their intervals."""
    said: dict[str, Any] = {"pairs": len(found), "bar": BAR_RATIO, "errors": 0}
    for name in ("reads", "writes"):
        off, on = ([pair[state][name]["p99_ms"] for pair in found] for state in ("off", "on"))
        ratios = [with_it / without for without, with_it in zip(off, on, strict=True)]
        alike = [after / before for before, after in pairwise(off)]
        said[name] = {
            "p99_ms_without": round(statistics.median(off), 3),
            "p99_ms_with": round(statistics.median(on), 3),
            "ratio": round(statistics.geometric_mean(ratios), 3),
            "interval_95": interval(ratios),
            "median_ratio": round(statistics.median(ratios), 3),
            "p99_ms_first_second": round(statistics.median(pair["start"][name]["p99_ms"] for pair in found), 3),
            "without_against_without": interval(alike) if alike else [],
        }
        said["errors"] += sum(pair[state][name]["errors"] for pair in found for state in ("off", "start", "on"))
    busy = {state: statistics.median(pair[state]["hub_core_busy"] for pair in found) for state in ("off", "on")}
    return {**said, "hub_core_busy": busy, "runs": found}


def metrics(hub: HubProcess) -> dict[str, float]:
    """Return what the hub itself counted of the abuser."""
    _, text = hub.call("GET", "/metrics")
    lines = (line.rpartition(" ") for line in bytes(text).decode().splitlines() if line.startswith(METRICS))
    return {name: float(value) for name, _, value in lines if float(value)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--realtime", action="store_true", help="put hub and victims before other programs (root)")
    arguments = parser.parse_args()
    pairs, seconds = (3, 1.0) if arguments.short else (9, 3.0)
    os.sched_setaffinity(0, {LOAD_CPU})
    with tempfile.TemporaryDirectory() as name, running_hub(Path(name) / "data", cpu=SERVER_CPU) as hub:
        if arguments.realtime:
            for thread in (*map(int, os.listdir(f"/proc/{hub.process.pid}/task")), 0):
                os.sched_setscheduler(thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        figures = asyncio.run(measure(hub, pairs=arguments.pairs or pairs, seconds=arguments.seconds or seconds))
    figures["realtime"] = arguments.realtime
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
