"""A limit spent by 32 services themselves, from slices, with the hub killed for a minute in the middle.

    python benchmarks/slices.py            # the full form: 100,000 an hour, 60 s without the hub
    python benchmarks/slices.py --short    # as the tests run it: 3 s without the hub

Clients are real ones in 4 processes, some three times as busy as others, some hardly at all; together they want more
than the limit. Counted is what they admitted, from their own counters, and how often they asked the hub.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from hub_process import HubProcess, await_ready, free_port

from central_hub import HubClient, TenantBudget
from central_hub.tenants.secrets import SECRET_RANDOM_BYTES, mint_bootstrap

CLIENTS: Final = 32
PROCESSES: Final = 4
TICK_S: Final = 0.01
TENANT: Final = "bench"
LIMIT_NAME: Final = "api_calls_per_hour"
FULL: Final = ("enterprise", 100_000, 10.0, 60.0, 60.0)
SHORT: Final = ("enterprise", 100_000, 5.0, 3.0, 12.0)
"""Tier, its limit, and seconds with the hub, without it, and with it again."""
WANTED: Final = 1.6
"""How many times the limit is wanted, were the load the same all the time."""
HOUR_S: Final = 3_600


async def spend(hub: HubClient, rate: float, until_s: float) -> dict[str, int]:
    """Spend at a rate until a time; returns the counters."""
    async with TenantBudget(hub, LIMIT_NAME) as budget:
        owed = 0.0
        began = last = time.monotonic()
        while last < until_s:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            owed += (now - last) * rate
            last = now
            while owed >= 1:
                owed -= 1
                budget.spend()
        assert last > began
    return {"admitted": budget.admitted, "denied": budget.denied, "hub_calls": budget.hub_calls}


async def client(url: str, key: str, number: int, seconds: float, total_rate: float) -> None:
    """Run one process's share of the clients and print their counters."""
    until_s = time.monotonic() + seconds
    weights = [(0.1, 0.5, 1.0, 3.0)[at % 4] for at in range(CLIENTS)]
    mine = range(number, CLIENTS, PROCESSES)
    async with HubClient(url, key, cache_dir="") as hub:
        rates = [total_rate * weights[(at * 7) % CLIENTS] / sum(weights) for at in mine]
        counters = await asyncio.gather(*(spend(hub, rate, until_s) for rate in rates))
    print(json.dumps(counters))


def start_hub(port: int, token: str, data: Path) -> HubProcess:
    """Start a hub on what is there."""
    environment = {**os.environ, "HUB_BOOTSTRAP_TOKEN": token, "HUB_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "central_hub", "serve", "--port", str(port), "--data", str(data)]
    log = data.parent / "hub.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    hub = HubProcess(process, port, token)
    await_ready(hub, log)
    return hub


def measure(tier: str, limit: int, before_s: float, away_s: float, after_s: float) -> dict[str, Any]:
    """Run it once; returns the figures."""
    seconds = before_s + away_s + after_s
    while HOUR_S - time.time() % HOUR_S < seconds + 20:  # all of it belongs to one hour
        time.sleep(1)
    rate = WANTED * limit / (before_s + after_s)
    port, token = free_port(), mint_bootstrap(secrets.token_bytes(SECRET_RANDOM_BYTES))
    with tempfile.TemporaryDirectory(prefix="slices-") as directory:
        data = Path(directory) / "data"
        hub = start_hub(port, token, data)
        key = hub.tenant(TENANT, tier)
        arguments = [f"http://127.0.0.1:{port}", key]
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--client", *arguments, str(number), str(seconds), str(rate)],
                stdout=subprocess.PIPE,
            )
            for number in range(PROCESSES)
        ]
        try:
            time.sleep(before_s)
            hub.process.send_signal(signal.SIGKILL)
            hub.process.wait()
            time.sleep(away_s)
            hub = start_hub(port, token, data)
            counters = [
                one for process in processes for one in json.loads(process.communicate(timeout=seconds + 60)[0])
            ]
            usage = hub.must("GET", f"/tenants/{TENANT}/usage", key=key)
        finally:
            for process in (*processes, hub.process):
                process.kill()
                process.wait()
    admitted, denied, calls = (sum(one[name] for one in counters) for name in ("admitted", "denied", "hub_calls"))
    (said,) = [one["used"] for one in usage["limits"] if one["name"] == LIMIT_NAME]
    return {
        "what": "one limit spent by 32 clients from slices, the hub killed in between",
        "limit": limit,
        "clients": len(counters),
        "seconds_without_the_hub": away_s,
        "admitted": admitted,
        "denied": denied,
        "over_the_limit": max(0, admitted - limit),
        "used_percent": round(100 * admitted / limit, 2),
        "hub_says_used": said,
        "hub_calls": calls,
        "calls_per_100_admitted": round(100 * calls / admitted, 3),
        "calls_per_100_decisions": round(100 * calls / (admitted + denied), 3),
    }


def main() -> int:
    """Run it and print the figures as JSON; the exit code says whether nothing went over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    if options.client:
        url, key, number, seconds, rate = options.client
        asyncio.run(client(url, key, int(number), float(seconds), float(rate)))
        return 0
    figures = measure(*(SHORT if options.short else FULL))
    print(json.dumps(figures, indent=2))
    return 1 if figures["over_the_limit"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
