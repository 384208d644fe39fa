"""Measures what one hub costs: a real one on one core, asked over HTTP, half a minute in all.

Costs are seconds of the hub's own processor time, so that what else the machine does changes them little. The hub's
store is the embedded one; what a store of several hubs takes is measured on PostgreSQL where its programs are here.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
import append
import heartbeats
import register
from http_load import run_load
from hub_process import HubProcess, running_hub
from watch import Watchers, instance
from watch import register as change_watched

from benchmarks.cells.costs import Costs

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
UNLIMITED: Final = "1000000000"
OPTIONS: Final = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
TAIL: Final = 30_000
"""Records that a start reads from the log."""
FILLED: Final = 30_000
TENANT_HAS: Final = 100
"""Instances of each tenant, when memory is measured."""
STREAMS: Final = 2_000
CHANGES: Final = 10
IMPORTS: Final = 200
NEVER: Final = "1000000000"
WORKED_MIN_S: Final = 0.2
"""Processor time is counted in hundredths of a second; a cost comes from no less than this."""

Figures = dict[str, float]
Say = Callable[[str], None]


def calibrated(say: Say) -> Costs:
    """Measure everything.

    Args:
        say: told what is measured now.

    Raises:
        RuntimeError: a hub did not start, or refused what it should take.
    """
    os.sched_setaffinity(0, {LOAD_CPU})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 20_000)), hard))
    found: Figures = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, part in (
            ("requests", _requests), ("streams", _streams), ("imports", _imports), ("memory", _memory),
            ("the log", _log),
        ):  # fmt: skip
            say(name)
            found |= part(Path(directory) / name.replace(" ", "-"))
    say("the store")
    os.sched_setaffinity(0, {SERVER_CPU, LOAD_CPU})
    store, rates = _store()
    return Costs(
        machine=f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        on=f"{datetime.now(UTC):%Y-%m-%d}",
        store=store,
        **{name: float(f"{figure:.4g}") for name, figure in {**found, **rates}.items()},
    )


def _each(hub: HubProcess, count: int, work: Callable[[], None]) -> float:
    """Return the hub's processor seconds for each of `count` things that `work` makes it do."""
    before = hub.cpu_s()
    work()
    used = hub.cpu_s() - before
    if used < WORKED_MIN_S:
        raise RuntimeError(f"{used} s of work are too few to say what one of {count} costs")
    return used / count


def _loaded(hub: HubProcess, sources: list[Iterator[bytes]]) -> Callable[[], None]:
    def work() -> None:
        outcome = asyncio.run(run_load(hub.port, sources))
        if outcome.refused:
            raise RuntimeError(f"{outcome.refused} requests were refused")

    return work


def _gets(target: str, key: str, count: int) -> Iterator[bytes]:
    request = f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()
    for _ in range(count):
        yield request


def _requests(data: Path) -> Figures:
    data.mkdir()
    with running_hub(data / "hub", cpu=SERVER_CPU, **OPTIONS) as hub:
        key = hub.tenant("bench", "enterprise")
        heartbeats.fill(hub, key)
        name, _ = heartbeats.name(0)
        connections = range(heartbeats.CONNECTIONS)
        batches = [heartbeats.batches(number, 50, key) for number in range(heartbeats.BATCH_CONNECTIONS)]
        singles = [register.singles(number, 300, key) for number in connections]
        registered = [register.batches(number, 10, key) for number in range(register.BATCH_CONNECTIONS)]
        reads = [_gets(f"/services/discover/{name}", key, 800) for _ in connections]
        beats = [heartbeats.singles(number, 800, key) for number in connections]
        smallest = [_gets("/livez", key, 300) for _ in connections]
        in_batch = len(batches) * 50 * heartbeats.BATCH
        return {
            "refuse_s": _each(hub, len(smallest) * 300, _loaded(hub, smallest)),
            "beat_s": _each(hub, len(beats) * 800, _loaded(hub, beats)),
            "beat_in_batch_s": _each(hub, in_batch, _loaded(hub, [iter(one) for one in batches])),
            "read_s": _each(hub, len(reads) * 800, _loaded(hub, reads)),
            "register_s": _each(hub, len(singles) * 300, _loaded(hub, singles)),
            "register_in_batch_s": _each(hub, len(registered) * 10 * register.BATCH, _loaded(hub, registered)),
        }


def _streams(data: Path) -> Figures:
    data.mkdir()
    with running_hub(data / "hub", cpu=SERVER_CPU, **OPTIONS) as hub:
        key = hub.tenant("bench", "enterprise")
        for number in range(5):
            hub.must("POST", "/services/register", instance(number, 8_000), key=key)
        return asyncio.run(_watched(hub, key))


async def _watched(hub: HubProcess, key: str) -> Figures:
    server = psutil.Process(hub.process.pid)
    request = f"GET /watch?services=watched HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()
    watchers = Watchers(STREAMS)
    memory, cpu = server.memory_info().rss, hub.cpu_s()
    await watchers.open(hub.port, request)
    opened = hub.cpu_s() - cpu
    await asyncio.sleep(1)
    held = server.memory_info().rss - memory
    control = await asyncio.open_connection("127.0.0.1", hub.port)
    cpu = hub.cpu_s()
    for change in range(CHANGES):
        last = watchers.expect()
        await change_watched(control, key, change)
        await asyncio.wait_for(last, 30)
    told = hub.cpu_s() - cpu
    control[1].close()
    watchers.close()
    if min(opened, told) < WORKED_MIN_S / 2:
        raise RuntimeError("too little work to say what a stream costs")
    return {"open_s": opened / STREAMS, "tell_s": told / CHANGES / STREAMS, "stream_bytes": held / STREAMS}


def _imports(data: Path) -> Figures:
    data.mkdir()
    with running_hub(data / "hub", cpu=SERVER_CPU, **OPTIONS) as hub:
        hub.must("POST", "/tenants", {"id": "origin", "name": "Origin", "tier": "pro"})
        layer = "/config/layers/tenant/origin"
        etag = str(hub.must("GET", layer)["etag"])
        document = {"rate_limits": {"api_calls_per_hour": 500}, "resource_limits": {"max_data_storage_mb": 100}}
        status, answer = hub.call("PUT", layer, document, headers={"if-match": etag})
        if status >= 300:
            raise RuntimeError(f"a layer was refused: {answer}")
        exported = hub.must("GET", "/tenants/origin/export")

        def work() -> None:
            for number in range(IMPORTS):
                hub.must("POST", "/tenants/import", {"document": exported, "id": f"copy-{number}"})

        begun = time.perf_counter()
        each_s = _each(hub, IMPORTS, work)
        return {"import_s": each_s, "import_wall_s": (time.perf_counter() - begun) / IMPORTS}


def _fill(hub: HubProcess, count: int) -> None:
    for tenant in range(count // TENANT_HAS):
        key = hub.tenant(f"tenant-{tenant}", "enterprise")
        items = [
            {
                "name": f"svc-{number // 10}", "instance_id": f"i-{tenant}-{number}", "host": "10.0.0.1",
                "port": 8_000 + number, "metadata": {"type": "model-server", "region": "eu-1"}, "version": "1.4.2",
                "zone": "zone-1", "tags": ["gpu"], "lease_ttl_s": 3_600,
            }
            for number in range(TENANT_HAS)
        ]  # fmt: skip
        hub.must("POST", "/services/register/batch", {"instances": items}, key=key)


def _memory(data: Path) -> Figures:
    data.mkdir()
    with running_hub(data / "hub", cpu=SERVER_CPU, **OPTIONS) as hub:
        process = psutil.Process(hub.process.pid)
        empty = process.memory_info().rss
        _fill(hub, FILLED)
    with running_hub(data / "hub", cpu=SERVER_CPU, **OPTIONS) as hub:  # as a start leaves it, without what filling took
        full = psutil.Process(hub.process.pid).memory_info().rss
    return {"empty_bytes": float(empty), "instance_bytes": (full - empty) / FILLED}


def _log(data: Path) -> Figures:
    data.mkdir()
    with running_hub(data / "hub", cpu=SERVER_CPU, snapshot_every=NEVER, **OPTIONS) as hub:
        empty_s = hub.cpu_s()
        key = hub.tenant("bench", "enterprise")
        for start in range(0, TAIL, register.BATCH):
            items = [register.instance(number, "tail") for number in range(start, start + register.BATCH)]
            status, _ = hub.call("POST", "/services/register/batch", {"instances": items}, key=key)
            if status >= 300:
                raise RuntimeError(f"a batch was refused with {status}")
        hub.process.kill()
        hub.process.wait()
    with running_hub(data / "hub", cpu=SERVER_CPU, snapshot_every=NEVER, **OPTIONS) as hub:
        return {"apply_s": max(0.0, hub.cpu_s() - empty_s) / TAIL}


def _store() -> tuple[str, Figures]:
    """Return what the store takes: PostgreSQL where it is here, else the embedded one."""
    try:
        import postgres

        from tools.postgres_server import MissingError

        try:
            found: dict[str, Any] = postgres.measure(1, singles=60, batches=20, seconds=0.5)
        except MissingError:
            pass
        else:
            together, alone = float(found["batch_records_per_s"]), float(found["single_per_s"])
            return str(found["server"]).split(",")[0], {"records_per_s": together, "lone_records_per_s": alone}
    except ImportError:  # asyncpg is an extra
        pass
    found = append.measure(1, singles=60, batches=20)
    alone = float(found["rounds"][0]["single"]["per_s"])
    rates = {"records_per_s": float(found["batch_records_per_s"]), "lone_records_per_s": alone}
    return "SQLite, of one hub alone", rates


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Print the costs as JSON."""
    import msgspec

    print(json.dumps(msgspec.to_builtins(calibrated(lambda what: print(what, file=sys.stderr))), indent=2))


if __name__ == "__main__":
    main()
