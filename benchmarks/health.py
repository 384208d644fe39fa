"""Health: leases, heartbeats, aggregates and probes, in process.

    python benchmarks/health.py                  # the full form, about a minute
    python benchmarks/health.py --short          # a few seconds, as the tests run it
    python benchmarks/health.py --only probes

Prints one JSON object. Everything runs on one core (the first), the servers that are probed on
the other, so the probe rate is that of one core. The peer of the probe rate, in the same run, is
bare asyncio opening, asking and closing the same connections without any of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import platform
import random
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from central_hub.adapters.clock import SystemClock
from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import LOOPBACK_GRANTS, Policy
from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.adapters.probes import Probes
from central_hub.edge.server import loop_factory
from central_hub.health.keeper import Keeper
from central_hub.health.model import FACTS as HEALTH_FACTS
from central_hub.health.model import HEARTBEAT_BATCH_MAX, Sign
from central_hub.health.monitor import Monitor
from central_hub.health.reading import HealthReading
from central_hub.health.schemas import Heartbeat, HeartbeatBatch
from central_hub.health.usecases import Heartbeats
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import DomainId, TenantId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.kernel.wheel import Timer, TimingWheel
from central_hub.monitoring.process import LoopWatch
from central_hub.registry.model import FACTS, Instance, ServicesRegistered, Status
from central_hub.registry.signals import Loads
from central_hub.registry.view import RegistryView

ACME: Final = DomainId("acme")
CALLER: Final = TenantContext(
    principal=Principal(id="key-1", kind=PrincipalKind.KEY, home=ACME, scopes=frozenset()),
    tenant_id=TenantId("acme"),
    tier="free",
    rank=0,
)
SERVERS: Final = 8
LOAD_CPU: Final = 1
OWN_CPU: Final = 0


class NoTiers:
    """Aggregates ask for no tier."""

    def rank_of(self, tier: str) -> int | None:
        return 0

    def tier_at(self, rank: int) -> str | None:
        return None

    def limits_of(self, domain: str, tier: str) -> dict[str, int]:
        return {}


class Bench:
    """Health wired as in the hub, over a log in memory."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.view = RegistryView({"free": 0}.get)
        ring = KeyRing(os.urandom(32), MemoryKeys())
        self.runner = Runner(MemoryLog(), ring, FactTypes((*FACTS, *HEALTH_FACTS)), [self.view])
        self.sequencer = Sequencer(self.runner._log, ring, self.runner, self.clock, os.urandom)
        self.egress = Egress(Policy(LOOPBACK_GRANTS), self.clock)
        self.probes = Probes(self.egress)
        self.loads = Loads()
        self.keeper = Keeper(self.probes, self.loads, self.clock)
        self.monitor = Monitor(self.keeper, self.probes, self.view, self.sequencer, self.clock)
        self.heartbeats = Heartbeats(self.keeper, self.view, self.loads, self.clock, self.monitor.changed)
        self.reading = HealthReading(self.keeper, self.view, NoTiers(), self.clock)

    def register(self, count: int, per_service: int, *, ports: list[int] | None = None) -> None:
        """Register instances that beat or, with ports, that probes keep."""
        instances = [
            Instance(
                service_name=f"svc-{n // per_service:05d}",
                instance_id=f"i-{n}",
                host="127.0.0.1",
                port=ports[n % SERVERS] if ports else 9,
                lease_ttl_s=None if ports else 30.0,
                status=Status.HEALTHY if ports else Status.UNKNOWN,
                owner="key-1",
            )
            for n in range(count)
        ]
        for start in range(0, count, 100):
            fact = ServicesRegistered(instances=tuple(instances[start : start + 100]))
            applied = Applied(
                pos=1, domain=ACME, domain_seq=start + 1, streams=("bulk",), category=Category.FACT,
                type="ServicesRegistered", id=str(start), time_ms=0, actor=HUB_ACTOR, fact=fact,
            )  # fmt: skip
            self.view.apply(applied)
            self.keeper.applied([applied])


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 4)
        for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }


def per_call_us(action: Callable[[], object], count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - begun) / count * 1e6


def bench_wheel(count: int) -> dict[str, Any]:
    rng = random.Random(1)
    wheel: TimingWheel[int] = TimingWheel(0)
    timers = [Timer(n) for n in range(count)]
    ttls = [float(rng.randint(1_000, 3_600_000)) for _ in timers]
    begun = time.perf_counter()
    for timer, ttl in zip(timers, ttls, strict=True):
        wheel.set(timer, ttl)
    set_us = (time.perf_counter() - begun) / count * 1e6
    begun = time.perf_counter()
    for timer, ttl in zip(timers, ttls, strict=True):
        wheel.set(timer, ttl + 500)
    renew_us = (time.perf_counter() - begun) / count * 1e6
    slices: list[float] = []
    fired, now = 0, 0.0
    gc.collect()
    gc.disable()
    begun = time.perf_counter()
    while len(wheel):
        now += 250
        more = True
        while more:
            step = time.perf_counter()
            due, more = wheel.advance(now)
            slices.append((time.perf_counter() - step) * 1e3)
            fired += len(due)
    expire_us = (time.perf_counter() - begun) / count * 1e6
    gc.enable()
    assert fired == count
    return {
        "leases": count,
        "set_us": round(set_us, 3),
        "renew_us": round(renew_us, 3),
        "expire_us": round(expire_us, 3),
        "slice_ms": percentiles(slices),
    }


async def bench_heartbeats(count: int, batch: int) -> dict[str, Any]:
    bench = Bench()
    bench.register(count, 10)
    for kept in [k for d in bench.keeper.population.domains() for g in d.groups.values() for k in g.members.values()]:
        bench.keeper.renew(kept, bench.clock.monotonic_ms(), bench.clock.now_ms())
    bench.keeper.dirty.clear()
    names = [(f"svc-{n // 10:05d}", f"i-{n}") for n in range(count)]
    plain = [{"service_name": service, "instance_id": name} for service, name in names]
    loaded = [{**one, "in_flight": n % 7, "load": 0.4, "latency_ms_p95": 12.5} for n, one in enumerate(plain)]
    decoder = msgspec.json.Decoder(HeartbeatBatch)
    answer: dict[str, Any] = {"leases": count, "batch": batch}
    for what, beats in (("batch_plain", plain), ("batch_with_load", loaded)):
        bodies = [msgspec.json.encode({"instances": beats[s : s + batch]}) for s in range(0, count, batch)]
        best = float("inf")
        for _ in range(5):
            begun = time.process_time()
            for body in bodies:
                msgspec.json.encode(await bench.heartbeats.beat_many(CALLER, decoder.decode(body).instances))
            best = min(best, time.process_time() - begun)
        answer[what] = {"us_per_lease": round(best / count * 1e6, 3), "leases_per_s": round(count / best)}
    said = Heartbeat(in_flight=3, load=0.4, latency_ms_p95=12.5)
    rounds = iter(names * 2)
    single_us = per_call_us(lambda: bench.heartbeats.beat(CALLER, *next(rounds), said), count)
    answer["single"] = {"us": round(single_us, 3), "per_s": round(1e6 / single_us)}
    return answer


async def bench_aggregates(count: int) -> dict[str, Any]:
    bench = Bench()
    bench.register(count, 5)
    kept = [k for d in bench.keeper.population.domains() for g in d.groups.values() for k in g.members.values()]
    for n, one in enumerate(kept):
        sign = Sign.REFUSED if n % 50 == 0 else Sign.PASS
        for _ in range(2):
            bench.keeper.probed(one, sign, latency_ms=4.0, at_ms=1.0, now_ms=1_705_746_600_000 + n)
    read_us = [per_call_us(lambda: msgspec.json.encode(bench.reading.tenant(CALLER)), 1) for _ in range(2_000)]
    system_us = [per_call_us(lambda: msgspec.json.encode(bench.reading.system()), 1) for _ in range(2_000)]
    watch = LoopWatch(0.0005)
    looking = asyncio.create_task(watch.run())
    await asyncio.sleep(0.05)
    listing_ms: list[float] = []
    gc.collect()
    gc.freeze()
    for _ in range(20):
        begun = time.perf_counter()
        body = (await bench.reading.services(CALLER)).body
        listing_ms.append((time.perf_counter() - begun) * 1e3)
        await asyncio.sleep(0.002)
    looking.cancel()
    return {
        "instances": count,
        "services": len(bench.view.services(ACME)),
        "tenant_us": percentiles(read_us),
        "system_us": percentiles(system_us),
        "listing_ms": percentiles(listing_ms),
        "listing_bytes": len(body),
        "longest_step_ms": round(watch.longest_s * 1e3, 2),
    }


def serve_health(ports: Any) -> None:  # Any: a multiprocessing pipe
    """Run the probed servers in a process of their own, on the other core."""
    pin(LOAD_CPU)

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")  # type: ignore[attr-defined]
            self.transport.close()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Answering, "127.0.0.1", 0, backlog=1_024) for _ in range(SERVERS)]
        ports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.sleep(600)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run())


async def bare_rate(ports: list[int], count: int) -> float:
    """Ask the same servers with bare sockets, as fast as one core goes."""
    loop = asyncio.get_running_loop()
    request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    async def some(share: int) -> None:
        for n in range(share):
            connection = socket.socket()
            connection.setblocking(False)
            await loop.sock_connect(connection, ("127.0.0.1", ports[n % SERVERS]))
            await loop.sock_sendall(connection, request)
            await loop.sock_recv(connection, 4_096)
            connection.close()

    begun = time.perf_counter()
    await asyncio.gather(*(some(count // 32) for _ in range(32)))
    return count / (time.perf_counter() - begun)


async def bench_probes(targets: int, seconds: float, ports: list[int]) -> dict[str, Any]:
    bare = await bare_rate(ports, 3_200)
    bench = Bench()
    bench.register(targets, 10, ports=ports)
    watch = LoopWatch(0.001)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(bench.sequencer.run()),
            group.create_task(bench.monitor.run()),
            group.create_task(watch.run()),
        ]
        await asyncio.sleep(3.0)  # what came due while registering is caught up with
        results, errors = bench.monitor.prober.results, bench.monitor.prober.schedule_errors_ms
        before, cpu, begun = dict(results), time.process_time(), time.perf_counter()
        errors.clear()
        watch.longest_s = 0.0
        late: list[float] = []
        while time.perf_counter() - begun < seconds:
            await asyncio.sleep(0.5)
            late += errors
            errors.clear()
        wall = time.perf_counter() - begun
        probed = sum(results.values()) - sum(before.values())
        used = time.process_time() - cpu
        for task in tasks:
            task.cancel()
    return {
        "targets": targets,
        "probes_per_s": round(probed / wall, 1),
        "due_per_s": round(targets * 1_000 / interval_ms(targets), 1),
        "passed": results.get(next(r for r in results if r.value == "passed"), 0),
        "schedule_error_ms": percentiles(late),
        "skipped": bench.monitor.prober.skipped,
        "core_busy": round(used / wall, 3),
        "us_of_core_per_probe": round(used / probed * 1e6, 1),
        "bare_sockets_per_s": round(bare),
        "longest_step_ms": round(watch.longest_s * 1e3, 2),
    }


def interval_ms(targets: int) -> float:
    from central_hub.health.rules import probe_interval_ms

    return probe_interval_ms(targets)


def pin(cpu: int) -> None:
    if cpu in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {cpu})


def probes_section(*, short: bool) -> dict[str, Any]:
    ours, theirs = multiprocessing.Pipe()
    serving = multiprocessing.get_context("spawn").Process(target=serve_health, args=(theirs,), daemon=True)
    serving.start()
    try:
        if not ours.poll(20):
            raise SystemExit("the probed servers did not start")
        ports: list[int] = ours.recv()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(bench_probes(20_000, 3.0 if short else 15.0, ports))
    finally:
        serving.terminate()
        serving.join(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", choices=("wheel", "heartbeats", "aggregates", "probes"))
    arguments = parser.parse_args()
    pin(OWN_CPU)
    short: bool = arguments.short
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "wheel": lambda: bench_wheel(20_000 if short else 100_000),
        "heartbeats": lambda: asyncio.run(bench_heartbeats(10_000 if short else 50_000, HEARTBEAT_BATCH_MAX // 5)),
        "aggregates": lambda: asyncio.run(bench_aggregates(10_000)),
        "probes": lambda: probes_section(short=short),
    }
    result: dict[str, Any] = {
        "what": "health, in process",
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]},
    }
    for name, section in sections.items():
        if arguments.only in (None, name):
            result[name] = section()
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
