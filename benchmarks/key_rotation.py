"""Secrets and keys: every data key rewrapped and renewed under load, and what a read on record costs.

    python benchmarks/key_rotation.py            # the full form: 10,000 tenants with a data key each
    python benchmarks/key_rotation.py --short    # as the tests run it

While keys rotate, readers read secrets of all tenants (each read decrypts, and is durable before the value leaves) and
a writer gives them new versions; every value is compared. The hub has one core, the load generator the other.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from http_load import post, put, run_load
from hub_process import HubProcess, running_hub

CONNECTIONS: Final = 16
READERS: Final = 2
SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
UNLIMITED: Final = "1000000000"
PATH: Final = "app/token"
ROTATION_MAX_S: Final = 300.0


def at(tenant: int) -> str:
    """Return where a tenant's secret is."""
    return f"/tenants/t-{tenant}/secrets/value?path={PATH}"


def furnish(hub: HubProcess, tenants: int) -> None:
    """Make tenants, each with a data key and a secret."""

    def made(connection: int) -> Iterator[bytes]:
        for number in range(connection, tenants, CONNECTIONS):
            body = {"id": f"t-{number}", "name": f"T {number}", "tier": "pro"}
            yield post("/tenants", hub.bootstrap, json.dumps(body).encode())

    def kept(connection: int) -> Iterator[bytes]:
        for number in range(connection, tenants, CONNECTIONS):
            yield put(at(number), hub.bootstrap, b'{"value":"0"}')

    for requests in (made, kept):
        outcome = asyncio.run(run_load(hub.port, [requests(number) for number in range(CONNECTIONS)]))
        assert not outcome.refused, outcome.summary()


def reads(hub: HubProcess, tenants: int, count: int) -> dict[str, Any]:
    """Read secrets over several connections, each tenant within what one tenant may."""

    def of(connection: int) -> Iterator[bytes]:
        rng = random.Random(connection)
        for _ in range(count // CONNECTIONS):
            target, key = at(rng.randrange(tenants)), hub.bootstrap
            yield f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()

    return asyncio.run(run_load(hub.port, [of(number) for number in range(CONNECTIONS)])).summary()


class Load:
    """Readers and a writer until `stop`: values and failures are counted."""

    def __init__(self, hub: HubProcess, tenants: int) -> None:
        self._hub = hub
        self._tenants = tenants
        self._written = [0] * tenants
        self._ended = threading.Event()
        self.reads = self.writes = 0
        self.failed: list[str] = []
        self.slowest_ms = 0.0
        self._threads = [threading.Thread(target=self._read, args=(seed,)) for seed in range(READERS)]
        self._threads.append(threading.Thread(target=self._write))
        for thread in self._threads:
            thread.start()

    def stop(self) -> dict[str, Any]:
        """End the load and say what it saw."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        return {
            "reads": self.reads,
            "writes": self.writes,
            "failed": len(self.failed),
            "failures": self.failed[:5],
            "slowest_ms": round(self.slowest_ms, 1),
        }

    def _read(self, seed: int) -> None:
        rng = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self._hub.port, timeout=30)
        while not self._ended.is_set():
            tenant = rng.randrange(self._tenants)
            least = self._written[tenant]
            status, body = self._ask(connection, "GET", tenant, None)
            if status != 200 or int(body["value"]) < least:
                self.failed.append(f"read {status} {body}")
            self.reads += 1

    def _write(self) -> None:
        rng = random.Random(99)
        connection = http.client.HTTPConnection("127.0.0.1", self._hub.port, timeout=30)
        number = 0
        while not self._ended.is_set():
            number += 1
            tenant = rng.randrange(self._tenants)
            status, body = self._ask(connection, "PUT", tenant, json.dumps({"value": str(number)}))
            if status == 200:
                self._written[tenant] = number
            else:
                self.failed.append(f"write {status} {body}")
            self.writes += 1

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, tenant: int, body: str | None
    ) -> tuple[int, Any]:
        headers = {
            "authorization": f"Bearer {self._hub.bootstrap}",
            "content-type": "application/json",
            "if-match": "*",
        }
        begun = time.perf_counter()
        connection.request(method, at(tenant), body, headers)
        answer = connection.getresponse()
        data = json.loads(answer.read())
        self.slowest_ms = max(self.slowest_ms, (time.perf_counter() - begun) * 1_000)
        return answer.status, data


def rotation(hub: HubProcess, tenants: int, what: str) -> dict[str, Any]:
    """Rotate keys under load, from the command to the end."""
    load = Load(hub, tenants)
    time.sleep(0.5)
    begun = time.perf_counter()
    answer = hub.must("POST", "/encryption/rotations", {"what": what})
    while answer["rotation"].get("phase") != "done":
        assert time.perf_counter() - begun < ROTATION_MAX_S, answer
        time.sleep(0.05)
        answer = hub.must("GET", "/encryption")
    took_s = time.perf_counter() - begun
    return {"data_keys": answer["data_keys"], "behind": answer["behind"], "took_s": round(took_s, 2), **load.stop()}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    tenants = 500 if short else 10_000
    os.sched_setaffinity(0, {LOAD_CPU})
    with tempfile.TemporaryDirectory() as name:
        options = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
        with running_hub(Path(name) / "data", cpu=SERVER_CPU, **options) as hub:
            furnish(hub, tenants)
            figures: dict[str, Any] = {
                "tenants": tenants,
                "reads": reads(hub, tenants, 2_000 if short else 40_000),
                "key_encryption_key": rotation(hub, tenants, "key_encryption_key"),
                "data_keys": rotation(hub, tenants, "data_keys"),
            }
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
