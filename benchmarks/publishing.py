"""Publishing configuration: how long until 1,000 SDK clients have applied it, and how many changes a second.

    python benchmarks/publishing.py              # the full form: 300 changes, 20,000 publishes
    python benchmarks/publishing.py --short

Applied: 1,000 clients of the SDK in two processes, of 100 tenants with a layer of their own each, values of 200 keys.
Ten times a second the layer of everyone gets a new value; time runs from the moment the request is sent to the moment
a client's program has the value in hand with what differs, the clients' own work included. The hub, both processes of
clients and the publisher share the machine's cores; the clients keep nothing on disk, since a thousand programs have a
thousand of them. The floor, in the same run: as many plain sockets told 500 bytes by a server that does nothing else,
until the last of them has them.

Publishes: 64 connections, each changing its tenant's layer, every answer after fsync; one client follows one of the
tenants. What the disk does by itself is measured in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.config_watchers import Applied
from benchmarks.configuration import own, section
from benchmarks.http_load import Outcome, run_load
from benchmarks.hub_process import HubProcess, cpu_s, running_hub
from benchmarks.register import fsyncs_per_second
from benchmarks.watch import floor

WATCHERS: Final = 1_000
PROCESSES: Final = 2
TENANTS: Final = 100
KEYS: Final = 200
OWN_KEYS: Final = 20
CHANGES_PER_S: Final = 10
PUBLISHERS: Final = 64
SETTLE_S: Final = 2.0
UNLIMITED: Final = "1000000000"
SCHEMA: Final = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "integer"}},
}


def fill(hub: HubProcess) -> list[str]:
    """Create tenants with a layer each; returns a key of each."""
    hub.must("PUT", "/config/schemas/settings", SCHEMA)
    changes: list[dict[str, Any]] = [{"layer": {}, "if_match": "*", "document": section(KEYS, 0)}]
    keys: list[str] = []
    for at in range(TENANTS):
        name = f"tenant-{at:05d}"
        keys.append(hub.tenant(name, "enterprise"))
        document = own(at, OWN_KEYS)
        changes.append({"layer": {"tenant": name}, "if_match": "*", "document": document})
    hub.must("POST", "/config/changes", {"changes": changes})
    return keys


def change(hub: HubProcess, path: str, body: object) -> bytes:
    """Return a merge patch of a layer as it goes over the wire."""
    data = msgspec.json.encode(body)
    return (
        f"PATCH {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {hub.bootstrap}\r\nif-match: *\r\n"
        f"content-type: application/merge-patch+json\r\ncontent-length: {len(data)}\r\n\r\n"
    ).encode() + data


@contextlib.contextmanager
def watching(hub: HubProcess, keys_file: Path, count: int, result: Path) -> Iterator[int]:
    """Run clients until the block ends, when their result is there; yields their process id."""
    command = [sys.executable, str(Path(__file__).with_name("config_watchers.py"))]
    command += [str(hub.port), str(keys_file), str(count), str(result)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the clients did not get their values")
        yield process.pid
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


async def publish(hub: HubProcess, changes: int) -> list[tuple[float, float]]:
    """Make changes at their moments; returns for each when it was sent and when it was acknowledged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    times: list[tuple[float, float]] = []
    begun = time.monotonic()
    for number in range(1, changes + 1):
        await asyncio.sleep(begun + number / CHANGES_PER_S - time.monotonic())
        sent = time.monotonic()
        writer.write(change(hub, "/config/layers/global", {"settings": {"group-0": {"key-0": number}}}))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(head)
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        times.append((sent, time.monotonic()))
        await reader.readexactly(length)
    writer.close()
    await asyncio.sleep(SETTLE_S)
    return times


def waits(times: list[tuple[float, float]], seen: list[Applied]) -> list[float]:
    """Return for every change and client the milliseconds until it, or one after it, was applied.

    Raises:
        RuntimeError: a client never had the last one.
    """
    found: list[float] = []
    for applied in seen:
        at = 0
        for number, (sent, _) in enumerate(times, start=1):
            while at < len(applied) and applied[at][0] < number:
                at += 1
            if at == len(applied):
                raise RuntimeError(f"a client did not hear of change {number}")
            found.append((applied[at][1] - sent) * 1e3)
    return sorted(found)


def applied(hub: HubProcess, root: Path, keys: list[str], *, watchers: int, changes: int) -> dict[str, Any]:
    """Measure from publish to applied."""
    each = watchers // PROCESSES
    results = [root / f"seen-{at}.json" for at in range(PROCESSES)]
    with contextlib.ExitStack() as stack:
        pids: list[int] = []
        for at, result in enumerate(results):
            keys_file = root / f"keys-{at}.txt"
            keys_file.write_text("\n".join(keys[at:] + keys[:at]))
            pids.append(stack.enter_context(watching(hub, keys_file, each, result)))
        hub_cpu, their_cpu, begun = hub.cpu_s(), sum(map(cpu_s, pids)), time.perf_counter()
        times = asyncio.run(publish(hub, changes))
        elapsed = time.perf_counter() - begun
        hub_cpu, their_cpu = hub.cpu_s() - hub_cpu, sum(map(cpu_s, pids)) - their_cpu
    seen = [one for result in results for one in msgspec.json.decode(result.read_bytes(), type=list[Applied])]
    found = waits(times, seen)
    events = sum(len(one) - 1 for one in seen)
    acknowledged = sorted((after - sent) * 1e3 for sent, after in times)
    return {
        "watchers": len(seen),
        "changes": changes,
        "n": len(found),
        "p50_ms": _at(found, 0.5),
        "p95_ms": _at(found, 0.95),
        "p99_ms": _at(found, 0.99),
        "max_ms": _at(found, 1.0),
        "acknowledged_p99_ms": _at(acknowledged, 0.99),
        "events": events,
        "hub_core_busy": round(hub_cpu / elapsed, 2),
        "clients_us_per_event": round(their_cpu / events * 1e6, 1),
        "hub_us_per_event": round(hub_cpu / events * 1e6, 1),
    }


def publishes(hub: HubProcess, root: Path, keys: list[str], *, each: int) -> dict[str, Any]:
    """Measure publishes a second, with one client that follows."""

    def changes(connection: int) -> Iterator[bytes]:
        path = f"/config/layers/tenant/tenant-{connection:05d}"
        for number in range(1, each + 1):
            yield change(hub, path, {"settings": {"group-0": {"key-0": number}}})

    result, keys_file = root / "seen-one.json", root / "key.txt"
    keys_file.write_text(keys[0])
    with watching(hub, keys_file, 1, result):
        used = hub.cpu_s()
        outcome: Outcome = asyncio.run(run_load(hub.port, [changes(at) for at in range(PUBLISHERS)]))
        used = hub.cpu_s() - used
        time.sleep(SETTLE_S)
    (seen,) = msgspec.json.decode(result.read_bytes(), type=list[Applied])
    if outcome.refused or seen[-1][0] != each:
        raise RuntimeError(f"{outcome.refused} publishes were refused, and the client saw {seen[-1]}")
    return {
        **outcome.summary(),
        "hub_us_per_publish": round(used / len(outcome.latencies_ms) * 1e6, 1),
        "hub_core_busy": round(used / outcome.seconds, 2),
        "values_the_client_applied": len(seen),
    }


def _at(ordered: list[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8_192)), hard))
    options = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with running_hub(root / "data", **options) as hub:
            keys = fill(hub)
            figures: dict[str, Any] = {
                "applied": applied(
                    hub, root, keys, watchers=100 if given.short else WATCHERS, changes=20 if given.short else 300
                ),
                "publishes": publishes(hub, root, keys, each=10 if given.short else 300),
            }
        figures["floor_ms"] = asyncio.run(floor(100 if given.short else WATCHERS, 20))
        figures["fsyncs_per_s"] = fsyncs_per_second(root)
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
