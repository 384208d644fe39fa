"""Shared breakers: how soon many processes are protected by what some saw, and how many calls try what may be back.

    python benchmarks/shared_breakers.py            # the full form: 50 processes, 10 outages
    python benchmarks/shared_breakers.py --short

A real hub, a service, and processes of one tenant, each with a client of its own, that call the service a few times a
second. The service begins to fail, all at once; later it is back. *Evidence* is there when what the service itself
answered would be enough by the hub's own rule, were it known at once and to all: that moment is found by running the
rule over the service's own log. Measured is how much later each process's breaker was open (0 where its own calls told
it earlier), and how many calls reached the service from when all were open until all were closed again.

Every process is a real one, so that the figures hold the cost of as many interpreters on this machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import random
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from aiohttp import web

from benchmarks.hub_process import HubProcess, running_hub
from central_hub import BreakerOpen, HubClient, HubError
from central_hub.breakers import tiers
from central_hub.breakers.ledger import Ledger

FULL: Final = (50, 10, 2.0)
SHORT: Final = (8, 2, 4.0)
TENANT: Final = "acme"
OPEN_S: Final = 1.5
PLAN: Final = {"breaker_failure_rate": 0.5, "breaker_open_s": OPEN_S}
SCOPES: Final = ["registry:read", "registry:write", "config:read", "breakers:read", "breakers:write"]
QUIET_S: Final = 2.5
"""Between two outages: longer than the first span that is judged."""

WAIT_S: Final = 20.0
LEDGERS: Final = 200
CALLERS: Final = 50


class Service:
    """Answers 200 or 500, keeps when and to whom, and knows when that was evidence."""

    def __init__(self) -> None:
        self.failing = False
        self.evident_s = 0.0
        self.seen: list[float] = []
        self._ledger = Ledger()
        self._policy = tiers.policy_of(PLAN)

    def begin(self) -> None:
        """Begin to fail."""
        self.failing, self.evident_s = True, 0.0

    def end(self) -> None:
        """Answer again; what was seen is over."""
        self.failing = False
        self._ledger.clear()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a call."""
        now_s = time.monotonic()
        self.seen.append(now_s)
        caller = request.headers.get("x-service-name", "")
        self._ledger.add(caller, now_s, calls=1, failures=self.failing, slow=0)
        if self.failing and not self.evident_s and self._ledger.judge(now_s, self._policy) is not None:
            self.evident_s = now_s
        return web.json_response({}, status=500 if self.failing else 200)


class Caller:
    """A process that calls; tells when its breaker changes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.states: list[tuple[float, str]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self, url: str, key: str, rate: float) -> None:
        """Start it, and wait until it calls."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--caller", str(self.number), "--hub", url, "--rate", str(rate),
            stdout=asyncio.subprocess.PIPE, env={**os.environ, "HUB_API_KEY": key},
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            at_s, state = line.decode().split()
            self.states.append((float(at_s), state))

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    @property
    def state(self) -> str:
        """What it said last."""
        return self.states[-1][1] if self.states else ""

    def first(self, state: str, since_s: float) -> float:
        """Return when it was first in a state since then."""
        return next(at_s for at_s, said in self.states if said == state and at_s >= since_s)


async def call_for_ever(number: int, url: str, rate: float) -> None:
    """Be one of the processes."""

    def say(state: str) -> None:
        sys.stdout.write(f"{time.monotonic()} {state}\n")
        sys.stdout.flush()

    async with HubClient(url, cache_dir="", service_name=f"p-{number}", watch=("risk",)) as hub:
        await hub.ready("risk", timeout=WAIT_S)

        async def tell() -> None:
            async for change in hub.circuit_changes():
                say(change.after.value)

        telling = asyncio.create_task(tell())
        await asyncio.sleep(random.random() / rate)
        say("CLOSED")
        while not telling.done():
            with contextlib.suppress(BreakerOpen, HubError):
                await hub.request("risk", "GET", "/", timeout=2.0)
            await asyncio.sleep((0.5 + random.random()) / rate)


async def until(done: Any) -> None:  # Any: a question
    """Wait for something that has to happen."""
    async with asyncio.timeout(WAIT_S):
        while not done():
            await asyncio.sleep(0.01)


async def outages(service: Service, callers: list[Caller], times: int) -> dict[str, Any]:
    """Let the service fail and come back; return what was measured."""
    lags_ms: list[float] = []
    wasted: list[int] = []
    probes: list[int] = []
    recovered_ms: list[float] = []
    for _ in range(times):
        await asyncio.sleep(QUIET_S)
        began_s = time.monotonic()
        before = len(service.seen)
        service.begin()
        await until(lambda: all(caller.state == "OPEN" for caller in callers))
        opened_s = [caller.first("OPEN", began_s) for caller in callers]
        evident_s = service.evident_s or max(opened_s)
        lags_ms += [max(0.0, at_s - evident_s) * 1_000 for at_s in opened_s]
        all_open_s = max(opened_s)
        wasted.append(sum(1 for at_s in service.seen[before:] if at_s <= all_open_s))
        service.end()
        await until(lambda: all(caller.state == "CLOSED" for caller in callers))
        closed_s = [caller.first("CLOSED", all_open_s) for caller in callers]
        probes.append(sum(1 for at_s in service.seen if all_open_s < at_s <= min(closed_s)))
        recovered_ms.append((max(closed_s) - min(closed_s)) * 1_000)
    lags_ms.sort()
    return {
        "outages": times,
        "open_p50_ms": round(lags_ms[len(lags_ms) // 2], 1),
        "open_p99_ms": round(lags_ms[min(len(lags_ms) - 1, int(len(lags_ms) * 0.99))], 1),
        "open_max_ms": round(lags_ms[-1], 1),
        "failed_calls_before_all_were_open": wasted,
        "probes_max": max(probes),
        "probes": probes,
        "first_to_last_closed_max_ms": round(max(recovered_ms), 1),
    }


def report_ms(hub: HubProcess, key: str, rows: int = 256) -> float:
    """Return the median time of a report with as many rows as one may have."""
    body = {
        "caller": "bench",
        "reports": [{"service_name": "risk", "route_class": f"c-{n}", "calls": 9} for n in range(rows)],
    }
    taken: list[float] = []
    for _ in range(20):
        began = time.perf_counter()
        status, answer = hub.call("POST", "/circuits", body, key=key)
        taken.append((time.perf_counter() - began) * 1_000)
        if status != 202 or answer["recorded"] != rows:
            raise RuntimeError(f"not taken: {status} {answer}")
    return round(sorted(taken)[len(taken) // 2], 2)


def ledger_bytes() -> int:
    """Return what the hub keeps of one pair that as many processes report every second."""
    gc.collect()
    tracemalloc.start()
    began = tracemalloc.get_traced_memory()[0]
    ledgers = [Ledger() for _ in range(LEDGERS)]
    for second in range(12):
        for ledger in ledgers:
            for caller in range(CALLERS):
                ledger.add(f"{caller:016x}", float(second), calls=5, failures=1, slow=0)
    grown = tracemalloc.get_traced_memory()[0] - began
    tracemalloc.stop()
    return grown // len(ledgers)


async def measured(processes: int, times: int, rate: float) -> dict[str, Any]:
    """Run it all against a hub of its own."""
    service = Service()
    app = web.Application()
    app.router.add_get("/", service.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    callers = [Caller(number) for number in range(processes)]
    with tempfile.TemporaryDirectory() as directory, running_hub(Path(directory)) as hub:
        try:
            for method, path, body in (
                ("POST", "/tenants", {"id": TENANT, "name": TENANT, "tier": "enterprise"}),
                *(
                    ("PUT", f"/tenants/{TENANT}/overrides/{name}", {"value": value}) for name, value in PLAN.items()
                ),
                ("POST", "/services/register", {
                    "name": "risk", "host": "127.0.0.1", "port": port, "instance_id": "r-1", "lease_ttl_s": 3_600,
                }),
            ):  # fmt: skip
                status, answer = await asyncio.to_thread(hub.call, method, path, body)
                if status >= 300:
                    raise RuntimeError(f"{method} {path}: {status} {answer}")
            _, made = await asyncio.to_thread(
                hub.call, "POST", f"/tenants/{TENANT}/keys", {"name": "bench", "scopes": SCOPES}
            )
            key = made["api_key"]
            for caller in callers:
                await caller.start(f"http://127.0.0.1:{hub.port}", key, rate)
            async with asyncio.timeout(120):
                while not all(caller.state for caller in callers):
                    await asyncio.sleep(0.1)
            report = await outages(service, callers, times)
            report["report_of_256_rows_p50_ms"] = await asyncio.to_thread(report_ms, hub, key)
        finally:
            await asyncio.gather(*(caller.stop() for caller in callers))
            await runner.cleanup()
    return report


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--caller", type=int)
    parser.add_argument("--hub", default="")
    parser.add_argument("--rate", type=float, default=1.0)
    given = parser.parse_args()
    if given.caller is not None:
        asyncio.run(call_for_ever(given.caller, given.hub, given.rate))
        return
    processes, times, rate = SHORT if given.short else FULL
    report = asyncio.run(measured(processes, times, rate))
    report |= {
        "processes": processes, "calls_per_s_each": rate, "ledger_bytes": ledger_bytes(),
        "python": platform.python_version(), "cores": os.cpu_count(),
    }  # fmt: skip
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
