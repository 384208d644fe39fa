"""What the SDK costs: resolve, import, a direct call beside plain aiohttp, and a hub that goes away.

    python benchmarks/sdk.py [--seconds 3] [--pairs 7] [--json]

Plain aiohttp is measured in the same run, in alternating pairs, against the same server process
over loopback; both sides send the same JSON body and headers of the same size and read the whole
answer. The figure is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

RESOLVE_US_MAX = 3.0
IMPORT_MS_MAX = 150.0
CALL_RATIO_MAX = 1.25
BODY = {"symbol": "EURUSD", "side": "buy", "quantity": 100_000, "price": 1.0842}

SERVER = """
import asyncio, sys
from aiohttp import web
async def answer(request):
    await request.read()
    return web.json_response({"approved": True})
async def main():
    app = web.Application(); app.router.add_post("/risk/validate", answer)
    runner = web.AppRunner(app, access_log=None); await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure_import(runs: int = 15) -> dict[str, float]:
    """Time of imports in a fresh interpreter, less an empty interpreter's: wall and CPU.

    Bytecode is compiled, as it is for an installed package. The best of the runs counts: other
    work on the machine only ever adds.
    """
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return _imports(runs, environment)


def _imports(runs: int, environment: dict[str, str]) -> dict[str, float]:

    def best_ms(code: str) -> tuple[float, float]:
        wall: list[float] = []
        used: list[float] = []
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        for _ in range(runs):
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall.append((time.perf_counter() - began) * 1000)
            used.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
        return min(wall), min(used)

    empty, empty_cpu = best_ms("pass")
    figures = {"interpreter_ms": empty}
    for name, code in (
        ("import_central_hub", "import central_hub"),
        ("import_asyncio", "import asyncio"),
        ("import_hub_client", "from central_hub import HubClient"),
        ("import_all_names", "from central_hub import BaseService, HubClient, ServiceConfig, SyncHubClient"),
    ):
        wall, used = best_ms(code)
        figures[f"{name}_ms"], figures[f"{name}_cpu_ms"] = wall - empty, used - empty_cpu
    return figures


def measure_resolve(instances: int = 10, rounds: int = 200_000) -> dict[str, float]:
    """Time of one `resolve` on a view of ten instances, the loop around it subtracted."""
    from central_hub import HubClient, Instance, ServiceState

    client = HubClient("http://127.0.0.1:9", cache_dir="")
    view = client._follower.view  # a benchmark may look inside
    view.services["risk"] = ServiceState(
        service="risk",
        revision=1,
        instances={
            f"i-{n}": Instance(instance_id=f"i-{n}", host="127.0.0.1", port=8_000 + n, status="healthy")
            for n in range(instances)
        },
    )
    client.resolve("risk")
    resolve = client.resolve
    best: list[float] = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(rounds):
            resolve("risk")
        used = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(rounds):
            pass
        best.append((used - (time.perf_counter() - began)) / rounds * 1e6)
    return {"resolve_us": statistics.median(best), "resolve_us_best": min(best)}


async def _rate(call: Callable[[], Awaitable[Any]], *, seconds: float, concurrency: int) -> float:
    until = time.perf_counter() + seconds
    done = 0

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await call()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return done / (time.perf_counter() - began)


async def measure_calls(pairs: int, seconds: float, concurrency: int) -> dict[str, float]:
    """Ratio of the time of a direct call through the SDK to plain aiohttp's, medians of alternating pairs."""
    import aiohttp

    from central_hub import HubClient, Instance, ServiceState

    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)])
    try:
        await _listening(port)
        url = f"http://127.0.0.1:{port}/risk/validate"
        headers = {
            "x-correlation-id": "0123456789abcdef",
            "x-tenant-id": "acme",
            "x-user-id": "ann",
            "x-service-name": "bench",
            "x-request-deadline-ms": "10000",
            "idempotency-key": "key",
        }
        async with HubClient(
            "http://127.0.0.1:9", cache_dir="", tenant_id="acme", user_id="ann", service_name="bench"
        ) as hub:
            hub._follower.view.services["risk"] = ServiceState(  # a benchmark may look inside
                service="risk",
                revision=1,
                instances={"i": Instance(instance_id="i", host="127.0.0.1", port=port, status="healthy")},
            )
            hub.resolve("risk")
            async with aiohttp.ClientSession() as session:

                async def plain() -> None:
                    async with session.post(url, json=BODY, headers=headers) as response:
                        json.loads(await response.read())

                async def through_the_sdk() -> None:
                    answer = await hub.request("risk", "POST", "/risk/validate", json=BODY, idempotency_key="key")
                    answer.json()

                ratios, plains, sdks = [], [], []
                for call in (plain, through_the_sdk):
                    await _rate(call, seconds=0.5, concurrency=concurrency)
                for number in range(pairs):
                    order = (plain, through_the_sdk) if number % 2 else (through_the_sdk, plain)
                    rates = {call: await _rate(call, seconds=seconds, concurrency=concurrency) for call in order}
                    plains.append(rates[plain])
                    sdks.append(rates[through_the_sdk])
                    ratios.append(rates[plain] / rates[through_the_sdk])
        name = f"c{concurrency}"
        return {
            f"{name}_plain_per_s": statistics.median(plains),
            f"{name}_sdk_per_s": statistics.median(sdks),
            f"{name}_ratio": statistics.median(ratios),
            f"{name}_ratio_low": min(ratios),
            f"{name}_ratio_high": max(ratios),
        }
    finally:
        server.kill()
        server.wait()


async def measure_outage(seconds: float) -> dict[str, float]:
    """Calls while the real hub is killed (kill -9) and started again: failures, and how soon it is followed again."""
    from central_hub import BaseService, HubClient, ServiceConfig

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "central_hub", "serve", "--open", "--port", str(port)]
        command += ["--data", str(Path(directory) / "data")]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        hub_process = start()
        try:
            await _listening(port)
            async with HubClient(url, cache_dir="") as service_hub, HubClient(url, cache_dir="") as hub:
                service = BaseService(ServiceConfig("risk", "1", lease_ttl_s=2.0), service_hub)

                @service.handle("POST", "/risk/validate")
                async def validate(_: Any) -> dict[str, bool]:
                    return {"approved": True}

                serving = asyncio.create_task(service.serve())
                assert await hub.ready("risk", timeout=15)
                failed = done = 0
                going = True

                async def load() -> None:
                    nonlocal failed, done
                    while going:
                        answer = await hub.request("risk", "POST", "/risk/validate", json=BODY)
                        done += 1
                        failed += answer.status != 200
                        await asyncio.sleep(random.random() / 100)

                tasks = [asyncio.create_task(load()) for _ in range(8)]
                await asyncio.sleep(1)
                hub_process.send_signal(signal.SIGKILL)
                hub_process.wait()
                await asyncio.sleep(seconds)
                age = hub.view_age_s or 0.0
                hub_process = start()
                await _listening(port)
                began = time.perf_counter()
                while not hub.connected and time.perf_counter() - began < 30:
                    await asyncio.sleep(0.01)
                followed = time.perf_counter() - began
                await asyncio.sleep(3)
                going = False
                await asyncio.gather(*tasks)
                service.stop()
                await serving
                return {
                    "outage_s": seconds,
                    "calls": done,
                    "failed_calls": failed + hub.stats["failures"],
                    "view_age_at_end_s": age,
                    "followed_again_s": followed,
                }
        finally:
            hub_process.kill()
            hub_process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def main() -> None:
    """Measure and print; exits 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one side of a pair")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--outage", type=float, default=60.0, help="seconds the hub is away; 0 to leave it out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: dict[str, float] = {**measure_resolve(), **measure_import()}
    for concurrency in (1, 32):
        figures |= asyncio.run(measure_calls(options.pairs, options.seconds, concurrency))
    if options.outage:
        figures |= asyncio.run(measure_outage(options.outage))
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        for name, value in figures.items():
            print(f"{name:28} {value:12.3f}")
    missed = [
        name
        for name, ok in (
            ("resolve", figures["resolve_us"] < RESOLVE_US_MAX),
            ("import", figures["import_all_names_ms"] < IMPORT_MS_MAX),
            ("call at 1", figures["c1_ratio"] < CALL_RATIO_MAX),
            ("call at 32", figures["c32_ratio"] < CALL_RATIO_MAX),
            ("outage", figures.get("failed_calls", 0) == 0),
        )
        if not ok
    ]
    if missed:
        sys.exit("missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
