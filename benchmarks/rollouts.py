"""Rollouts of configuration: how soon harmful changes come back by themselves, whom they reached, and false alarms.

    python benchmarks/rollouts.py                  # the full form: 100 harmful and 100 good changes
    python benchmarks/rollouts.py --short

A real hub, and four fleets of SDK services (`BaseService`, each with its own client and key) in one process: each
fleet is one service with instances of a free, a pro and an enterprise tenant. Each change of the service's layer is
valid and rolled out as a canary of a tenth with usual gates. What harms:

- `crash`: the process is gone while it takes the value up (its connections break, nothing is deregistered)
- `crash_later`: it is gone a second after it took the value up
- `refuse`: `on_config` raises; `hang`: it never returns
- `errors`: 40 % of the requests fail from then on; `errors_rising`: 2 % more every tenth of a second, up to 40 %
- `sick`: after a second it does not renew its lease any more
- `tier_refuses`, `tier_errors`: as above, in the enterprise tenant's instances only

All the time every instance serves 25 requests a second of which 2 % fail, one in ten instances fails 6 %, and every
four seconds a second passes in which 10 % fail everywhere. Taking up a value takes up to 200 ms. Time runs from the
request that starts the rollout to the moment at which the hub says that it is over; who was exposed is counted by the
instances themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.hub_process import HubProcess, cpu_s, running_hub
from central_hub import BaseService, ConfigDiff, HubClient, HubError, ServiceConfig

TIERS: Final = {"small": "free", "middle": "pro", "large": "enterprise"}
HARMS: Final = (
    "crash", "crash_later", "refuse", "hang", "errors", "errors_rising", "sick", "tier_refuses", "tier_errors",
)  # fmt: skip
GOOD: Final = "good"
SCOPES: Final = ["registry:read", "registry:write", "config:read", "health:read"]
SCHEMA: Final = {"type": "object", "properties": {"mode": {"type": "string"}, "serial": {"type": "integer"}}}
TICK_S: Final = 0.2
PER_TICK: Final = 5
NOISE: Final = 0.02
NOISIER: Final = 0.06
BURST: Final = 0.10
LEASE_S: Final = 2.0
LOOK_S: Final = 0.05
CANARY_BAKE_S: Final = 6.0
LAST_BAKE_S: Final = 2.0
OVER_AFTER_S: Final = 60.0
BACK_AFTER_S: Final = 30.0


class Instance(BaseService):
    """One instance; what its configuration says about it is what becomes of it."""

    def __init__(self, fleet: Fleet, tenant: str, number: int) -> None:
        self.fleet, self.tenant, self.number = fleet, tenant, number
        client = HubClient(fleet.url, fleet.keys[tenant], cache_dir="")
        config = ServiceConfig(
            fleet.service, "1.0", port=1_000 + number, instance_id=f"{tenant}-{number}", lease_ttl_s=LEASE_S
        )
        super().__init__(config, client)
        self.mode, self.serial, self.since_s = GOOD, -1, 0.0
        self.is_gone = False
        self.noise = NOISIER if number % 10 == 3 else NOISE

    async def on_config(self, diff: ConfigDiff) -> None:
        """Take up a value, or do not."""
        work = diff.config["work"]
        mode, serial = work["mode"], work["serial"]
        self.fleet.reached[serial].add(self.instance_id)
        harmed = not mode.startswith("tier_") or self.tenant == "large"
        mode = mode.removeprefix("tier_") if harmed else GOOD
        await asyncio.sleep(random.random() * 0.2)
        if mode == "crash":
            self.fleet.spawn(self.vanish())
            await asyncio.sleep(3_600)
        if mode == "hang":
            self.mode = mode
            await asyncio.sleep(3_600)
        if mode.startswith("refuse"):
            raise ValueError("not with me")
        self.mode, self.serial, self.since_s = mode, serial, time.monotonic()
        if mode in ("crash_later", "sick"):
            self.fleet.spawn(self._later(mode))

    def error_rate(self, now_s: float) -> float:
        """Return how many of its requests fail now."""
        if self.mode == "errors":
            return 0.4
        if self.mode == "errors_rising":
            return min(0.4, 0.2 * (now_s - self.since_s))
        return BURST if now_s % 4 < 1 else self.noise

    async def vanish(self) -> None:
        """Be gone as a killed process is: nothing is said, every connection breaks."""
        if self.is_gone:
            return
        self.is_gone = True
        registrar = self.registrar
        renewing = None if registrar is None else registrar._task  # pyright: ignore  # as a kill, not as a good end
        for task in (*self._followed, renewing):
            if task is not None:
                task.cancel()
        await self.hub.close()

    async def _later(self, mode: str) -> None:
        serial = self.serial
        await asyncio.sleep(1.0)
        if self.serial != serial:
            return
        if mode == "crash_later":
            await self.vanish()
        elif self.registrar is not None and self.registrar._task is not None:  # pyright: ignore  # as above
            self.registrar._task.cancel()  # pyright: ignore  # as above


class Fleet:
    """The instances of one service."""

    def __init__(self, url: str, keys: dict[str, str], service: str, size: int) -> None:
        self.url, self.keys, self.service = url, keys, service
        self.names = [(tenant, number) for number in range(size // len(TIERS)) for tenant in TIERS]
        self.instances: dict[tuple[str, int], Instance] = {}
        self.reached: dict[int, set[str]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Any) -> None:  # Any: a coroutine
        """Run something beside."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def begin(self, name: tuple[str, int]) -> None:
        """Start an instance."""
        instance = self.instances[name] = Instance(self, *name)
        await instance.start()

    async def mend(self) -> None:
        """Replace what is broken, and wait until every instance runs what everybody has."""
        for name, instance in list(self.instances.items()):
            registrar = instance.registrar
            sick = registrar is None or registrar._task is None or registrar._task.done()  # pyright: ignore  # nobody else tells
            if instance.is_gone or sick or instance.serial < 0 or instance.mode in ("hang", "crash"):
                await instance.vanish()
                await self.begin(name)

    async def settled(self, serial: int) -> None:
        """Wait until all run the same."""
        until_s = time.monotonic() + BACK_AFTER_S
        while time.monotonic() < until_s:
            if all(each.serial == serial and each.mode == GOOD for each in self.instances.values()):
                return
            await asyncio.sleep(LOOK_S)
        behind = [each.instance_id for each in self.instances.values() if each.serial != serial]
        raise RuntimeError(f"{self.service}: {behind} do not come to {serial}")

    async def serve(self) -> None:
        """Let every instance serve requests, some of which fail, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            for instance in self.instances.values():
                rate = instance.error_rate(now_s)
                for _ in range(PER_TICK):
                    instance.meter.began()
                    instance.meter.ended(now_s, 5.0, failed=random.random() < rate)

    async def end(self) -> None:
        """Stop everything."""
        await asyncio.gather(*(instance.vanish() for instance in self.instances.values()))


async def roll_out(operator: HubClient, fleet: Fleet, mode: str, serial: int, before: int) -> dict[str, Any]:
    """Roll one change out and return what became of it."""
    stages = [{"percent": 10, "bake_s": CANARY_BAKE_S}, {"percent": 100, "bake_s": LAST_BAKE_S}]
    change = {"layer": {"service": fleet.service}, "if_match": "*"}
    body = {
        "changes": [{**change, "merge_patch": {"work": {"mode": mode, "serial": serial}}}],
        "strategy": {"kind": "stages", "stages": stages},
        "gates": {"acknowledged_within_s": 4.0},
    }
    begun_s = time.monotonic()
    rollout = await operator.command("POST", "/rollouts", body)
    while rollout["state"] == "running" and time.monotonic() - begun_s < OVER_AFTER_S:
        await asyncio.sleep(LOOK_S)
        rollout = await operator.ask(f"/rollouts/{rollout['rollout_id']}")
    seconds = time.monotonic() - begun_s
    exposed = len(fleet.reached[serial])
    if rollout["state"] == "completed" and mode != GOOD:
        await operator.command("POST", f"/rollouts/{rollout['rollout_id']}/abort")  # it was missed; go on without it
    await asyncio.sleep(0.3)
    await fleet.mend()
    await fleet.settled(serial if rollout["state"] == "completed" and mode == GOOD else before)
    return {
        "mode": mode,
        "state": rollout["state"],
        "gate": rollout["failed_gate"],
        "reason": rollout["ended_reason"],
        "seconds": round(seconds, 3),
        "exposed_percent": round(100 * exposed / len(fleet.names), 2),
    }


async def drive(operator: HubClient, fleet: Fleet, modes: list[str], first: int) -> list[dict[str, Any]]:
    """Roll out one change after another on one fleet."""
    found: list[dict[str, Any]] = []
    before = 0
    for serial, mode in enumerate(modes, start=first):
        found.append(await roll_out(operator, fleet, mode, serial, before))
        if found[-1]["state"] == "completed" and mode == GOOD:
            before = serial
    return found


async def run(hub: HubProcess, *, fleets: int, size: int, harmful: int, good: int, seed: int) -> dict[str, Any]:
    """Run everything; returns the report."""
    url = f"http://127.0.0.1:{hub.port}"
    hub.must("PUT", "/config/schemas/work", SCHEMA)
    keys = {tenant: hub.tenant(tenant, tier, SCOPES) for tenant, tier in TIERS.items()}
    made = [Fleet(url, keys, f"work-{number}", size) for number in range(fleets)]
    document = {"work": {"mode": GOOD, "serial": 0}}
    for fleet in made:
        change = {"layer": {"service": fleet.service}, "if_match": "*", "document": document}
        hub.must("POST", "/config/changes", {"changes": [change]})
    modes = [HARMS[at % len(HARMS)] for at in range(harmful)] + [GOOD] * good
    random.Random(seed).shuffle(modes)
    async with HubClient(url, hub.bootstrap, cache_dir="") as operator:
        for fleet in made:
            await asyncio.gather(*(fleet.begin(name) for name in fleet.names))
        await asyncio.gather(*(fleet.settled(0) for fleet in made))
        serving = [asyncio.create_task(fleet.serve()) for fleet in made]
        await asyncio.sleep(6.0)  # so that there is a time before
        used, begun = cpu_s(hub.process.pid), time.monotonic()
        parts = await asyncio.gather(
            *(drive(operator, fleet, modes[at::fleets], 1_000 * (at + 1)) for at, fleet in enumerate(made))
        )
        busy = (cpu_s(hub.process.pid) - used) / (time.monotonic() - begun)
        for task in serving:
            task.cancel()
        for fleet in made:
            await fleet.end()
    return report([one for part in parts for one in part], instances=fleets * size, busy=busy)


def report(found: list[dict[str, Any]], *, instances: int, busy: float) -> dict[str, Any]:
    """Sum up what became of every change."""
    harmful = [one for one in found if one["mode"] != GOOD]
    good = [one for one in found if one["mode"] == GOOD]
    back = [one for one in harmful if one["state"] == "rolled_back"]
    by_mode: dict[str, Any] = {}
    for mode in sorted({one["mode"] for one in found}):
        of_mode = [one for one in found if one["mode"] == mode]
        by_mode[mode] = {
            "changes": len(of_mode),
            "rolled_back": sum(one["state"] == "rolled_back" for one in of_mode),
            "gates": sorted({one["gate"] for one in of_mode if one["gate"]}),
            "seconds_p50": percentile(of_mode, "seconds", 0.5),
            "seconds_max": percentile(of_mode, "seconds", 1.0),
            "exposed_percent_max": percentile(of_mode, "exposed_percent", 1.0),
        }
    return {
        "instances": instances,
        "harmful": len(harmful),
        "rolled_back": len(back),
        "not_rolled_back": [one for one in harmful if one["state"] != "rolled_back"],
        "back_s": {"p50": percentile(back, "seconds", 0.5), "p95": percentile(back, "seconds", 0.95)},
        "exposed_percent": {
            "p50": percentile(harmful, "exposed_percent", 0.5), "max": percentile(harmful, "exposed_percent", 1.0),
        },
        "good": len(good),
        "false_rollbacks": [one for one in good if one["state"] != "completed"],
        "by_mode": by_mode,
        "hub_core_busy": round(busy, 3),
    }  # fmt: skip


def percentile(found: list[dict[str, Any]], figure: str, share: float) -> float:
    """Return a percentile of one figure, 0 without any."""
    ordered = sorted(one[figure] for one in found)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def main() -> None:
    """Run and print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="every harm once, and as many good ones")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    harmful = good = len(HARMS) if given.short else 108
    with tempfile.TemporaryDirectory() as folder, running_hub(Path(folder) / "data") as hub:
        try:
            found = asyncio.run(run(hub, fleets=4, size=30, harmful=harmful, good=good, seed=given.seed))
        except HubError as error:
            raise SystemExit(f"{error}") from error
    found |= {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "python": platform.python_version()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
