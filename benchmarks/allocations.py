"""Capacity under attack: allocations from 8 processes at once, with processes and the hub killed at random.

    python benchmarks/allocations.py            # the full form: 1,000,000 allocations
    python benchmarks/allocations.py --short    # as the tests run it

One tenant, one resource with a limit of 100, and several times as many who want it. Clients are killed with SIGKILL
while they hold something; so is the hub, and it is started again on what the kill left. Three ways to see whether more
than the limit was ever held:

- the log, read without the hub: the sum of live leases after every record of it;
- the holders: what each was certain to hold (from the answer to the sending of the release, or to the end of the TTL as
  the holder counts it), laid side by side on one clock;
- the hub: a page of all leases, asked for all the time, whose sum is what it says is used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from allocation_client import ACQUIRED, COUNTS, EVENT
from hub_process import HubProcess, await_ready, free_port

from central_hub.adapters.stores import open_directory
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.records import associated_data
from central_hub.quotas.model import FACTS, Ending, TenantResourcesAllocated, TenantResourcesFreed
from central_hub.tenants.secrets import SECRET_RANDOM_BYTES, mint_bootstrap

PROCESSES: Final = 8
CONNECTIONS: Final = 8
FEATURE: Final = "max_concurrent_requests"
LIMIT: Final = 100
TTL_S: Final = 2.0
LATE_S: Final = 1.0
FULL: Final = 1_000_000
SHORT: Final = 12_000
HUB_LIVES_S: Final = (6.0, 20.0)
CLIENT_LIVES_S: Final = (0.5, 3.0)
SHORT_LIVES: Final = ((0.8, 2.0), (0.3, 1.0))
LOOK_EVERY_S: Final = 0.1
DEADLINE_S: Final = 3_000.0


@dataclass
class Run:
    """What happens, and what was seen."""

    directory: Path
    port: int
    token: str
    draw: random.Random
    clients: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])
    died_s: dict[int, float] = field(default_factory=dict[int, float])
    hub: subprocess.Popen[bytes] | None = None
    hub_down_ms: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    hub_kills: int = 0
    looks: int = 0
    faults: list[str] = field(default_factory=list[str])
    key: str = ""

    def start_hub(self) -> HubProcess:
        """Start the hub on what is there."""
        environment = {**os.environ, "HUB_BOOTSTRAP_TOKEN": self.token, "HUB_LOG_LEVEL": "warning"}
        data = str(self.directory / "data")
        command = [sys.executable, "-m", "central_hub", "serve", "--port", str(self.port), "--data", data]
        log = self.directory / "hub.log"
        with log.open("ab") as output:
            self.hub = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        os.sched_setaffinity(self.hub.pid, {0})
        hub = HubProcess(self.hub, self.port, self.token)
        await_ready(hub, log)
        return hub

    def kill_hub(self) -> None:
        """Kill the hub and start it again."""
        assert self.hub is not None
        down_ms = time.time() * 1_000
        self.hub.kill()
        self.hub.wait()
        self.start_hub()
        self.hub_down_ms.append((down_ms, time.time() * 1_000))
        self.hub_kills += 1

    def start_client(self, at: int) -> None:
        """Start a client in a place."""
        arguments = (
            self.port, "/tenants/bench/allocations", self.key, self.directory, self.draw.getrandbits(32), TTL_S,
            CONNECTIONS,
        )  # fmt: skip
        script = Path(__file__).parent / "allocation_client.py"
        process = subprocess.Popen([sys.executable, script, *map(str, arguments)])
        os.sched_setaffinity(process.pid, {1 % (os.cpu_count() or 1)})
        self.clients[at : at + 1] = [process]

    def kill_client(self, at: int) -> None:
        """Kill the client in a place and start another."""
        self._kill(at)
        self.start_client(at)

    def stop(self) -> None:
        """Kill what is left of the clients."""
        for at in range(len(self.clients)):
            self._kill(at)

    def counts(self) -> tuple[int, int, int]:
        """Return how many allocations were admitted, refused, and answered otherwise."""
        found = [COUNTS.unpack(path.read_bytes()) for path in self.directory.glob("counts-*") if path.stat().st_size]
        return tuple(map(sum, zip(*found, strict=True))) if found else (0, 0, 0)  # type: ignore[return-value]

    def _kill(self, at: int) -> None:
        process = self.clients[at]
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.died_s[process.pid] = time.monotonic()


@contextlib.contextmanager
def running(seed: int) -> Iterator[Run]:
    """Run a hub with a tenant; everything is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="allocations-") as directory:
        token = mint_bootstrap(secrets.token_bytes(SECRET_RANDOM_BYTES))
        run = Run(Path(directory), free_port(), token, random.Random(seed))
        try:
            hub = run.start_hub()
            run.key = hub.tenant("bench", "enterprise", ["quota:read", "quota:write"])
            hub.must("PUT", f"/tenants/bench/overrides/{FEATURE}", {"value": LIMIT})
            yield run
        finally:
            run.stop()
            if run.hub is not None:
                run.hub.kill()
                run.hub.wait()


def attack(run: Run, wanted: int, lives: tuple[tuple[float, float], tuple[float, float]]) -> float:
    """Let the clients loose until so many allocations were answered; returns the seconds it took."""
    begun = time.monotonic()
    for at in range(PROCESSES):
        run.start_client(at)
    hub_dies = begun + run.draw.uniform(*lives[0])
    client_dies = begun + run.draw.uniform(*lives[1])
    while sum(run.counts()) < wanted or not run.hub_kills:
        now = time.monotonic()
        if now - begun > DEADLINE_S:
            run.faults.append("too slow")
            break
        if now >= hub_dies:
            run.kill_hub()
            hub_dies = time.monotonic() + run.draw.uniform(*lives[0])
        if now >= client_dies:
            run.kill_client(run.draw.randrange(PROCESSES))
            client_dies = time.monotonic() + run.draw.uniform(*lives[1])
        look(run)
        time.sleep(LOOK_EVERY_S)
    took = time.monotonic() - begun
    run.stop()
    return took


def look(run: Run) -> None:
    """Ask the hub for everything that is held, and hold its sum against what it says."""
    assert run.hub is not None
    hub = HubProcess(run.hub, run.port, run.token)
    try:
        page = hub.must("GET", "/tenants/bench/allocations?limit=1000", key=run.key)
    except OSError:
        return
    run.looks += 1
    held = sum(lease["amount"] for lease in page["leases"])
    said = {lease["used"] for lease in page["leases"]} or {0}
    if said != {held} or held > LIMIT:
        run.faults.append(f"the hub says {said}, its leases are {held}")


def certain(run: Run) -> tuple[int, int]:
    """Return the most that all holders together were certain to hold at one time, and how many leases that is about."""
    moves: list[tuple[float, int]] = []
    leases = 0
    for path in run.directory.glob("events-*"):
        died_s = run.died_s[int(path.name.removeprefix("events-"))]
        released: dict[int, float] = {}
        acquired: list[tuple[int, int, float, float]] = []
        data = path.read_bytes()
        for kind, amount, number, asked_s, at_s in EVENT.iter_unpack(data[: len(data) // EVENT.size * EVENT.size]):
            if kind == ACQUIRED:
                acquired.append((number, amount, asked_s, at_s))
            else:
                released[number] = at_s
        for number, amount, asked_s, at_s in acquired:
            until_s = min(released.get(number, died_s), asked_s + TTL_S)
            if until_s > at_s:
                moves += [(at_s, amount), (until_s, -amount)]
                leases += 1
    moves.sort()
    most = held = 0
    for _, change in moves:
        held += change
        most = max(most, held)
    return most, leases


async def recorded(run: Run) -> dict[str, Any]:
    """Read the log without the hub: the sum after every record, and how late what nobody released was free again."""
    stores = await open_directory(run.directory / "data", incarnation="-")
    types = FactTypes(FACTS)
    names = {fact.__name__ for fact in FACTS}
    live: dict[str, tuple[int, int]] = {}
    held = most = allocated = expired = above = after = token = 0
    late_ms: list[float] = []
    try:
        while records := await stores.log.read(after, 5_000):
            for record in records:
                if record.type not in names:
                    continue
                sealed_for = associated_data(record.domain, record.id, record.type)
                fact = types.decode(
                    record.type, stores.sealer.open(record.domain, record.key_id, record.data, sealed_for)
                )
                if isinstance(fact, TenantResourcesAllocated):
                    assert record.domain_seq > token
                    token = record.domain_seq
                    live[fact.lease_id] = (fact.amount, record.time_ms)
                    held, allocated = held + fact.amount, allocated + 1
                elif isinstance(fact, TenantResourcesFreed):
                    for lease_id in fact.lease_ids:
                        amount, since_ms = live.pop(lease_id)
                        held -= amount
                        if fact.reason is Ending.EXPIRED:
                            expired += 1
                            if not any(down <= record.time_ms and up >= since_ms for down, up in run.hub_down_ms):
                                late_ms.append(record.time_ms - since_ms - TTL_S * 1_000)
                most = max(most, held)
                above += held > LIMIT
            after = records[-1].pos
    finally:
        await stores.log.close()
    return {
        "records": after,
        "allocated": allocated,
        "expired": expired,
        "most_held": most,
        "records_above_the_limit": above,
        "held_at_the_end": held,
        "expiry_late_ms_max": round(max(late_ms, default=0.0)),
        "expiry_late_ms_n": len(late_ms),
    }


def measure(wanted: int, seed: int, lives: tuple[tuple[float, float], tuple[float, float]]) -> dict[str, Any]:
    """Attack one hub; returns the figures."""
    with running(seed) as run:
        seconds = attack(run, wanted, lives)
        time.sleep(TTL_S + LATE_S)
        look(run)
        admitted, refused, other = run.counts()
        unexpected = run.directory / "unexpected"
        if unexpected.exists():
            run.faults.append(f"an answer nobody expects: {unexpected.read_text()[:200]}")
        assert run.hub is not None
        run.hub.kill()
        run.hub.wait()
        log = asyncio.run(recorded(run))
        most_certain, leases = certain(run)
        client_kills = len(run.died_s) - PROCESSES
    over = log["records_above_the_limit"] + (most_certain > LIMIT) + len(run.faults)
    return {
        "what": "allocations from 8 processes with kill -9 of clients and hub",
        "allocations": admitted + refused + other,
        "admitted": admitted,
        "refused": refused,
        "answered_otherwise": other,
        "seconds": round(seconds, 1),
        "per_s": round((admitted + refused + other) / seconds),
        "client_kills": client_kills,
        "hub_kills": run.hub_kills,
        "limit": LIMIT,
        "log": log,
        "still_held_after_ttl_and_a_second": log["held_at_the_end"],
        "certainly_held_most": most_certain,
        "certainly_held_leases": leases,
        "looks": run.looks,
        "faults": run.faults,
        "over_admissions": over,
    }


def main() -> int:
    """Run it and print the figures as JSON; the exit code says whether the bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allocations", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    lives = SHORT_LIVES if options.short else (HUB_LIVES_S, CLIENT_LIVES_S)
    figures = measure(options.allocations or (SHORT if options.short else FULL), options.seed, lives)
    print(json.dumps(figures, indent=2))
    late = figures["still_held_after_ttl_and_a_second"] or figures["log"]["expiry_late_ms_max"] > LATE_S * 1_000
    return 1 if figures["over_admissions"] or late else 0


if __name__ == "__main__":
    raise SystemExit(main())
