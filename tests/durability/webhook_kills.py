"""A real hub that delivers to a real receiver, killed with SIGKILL in the middle, again and again.

Writers rename tenants; every acknowledged name is one event. Each tenant has endpoints at a receiver that runs as a
process of its own. When the last hub has caught up, the checker reads the receiver's file alone: nothing acknowledged
is missing, every name came under one id, and each endpoint was told in the order of the log: what is not new is
something it was told before.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.durability.killing import Killed, killed_hub

TENANTS: Final = ("company_abc", "company_def", "company_xyz")
ENDPOINTS: Final = 2
LOAD_MAX_S: Final = 0.8
CAUGHT_UP_S: Final = 90.0
UPDATED: Final = "io.centralhub.tenant.updated.v1"


@dataclass(slots=True)
class Ledger:
    """Names that were acknowledged, and names that were sent."""

    acknowledged: dict[str, list[str]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TENANTS, 0))


@dataclass(slots=True)
class Outcome:
    """What happened, and every violation found."""

    kills: int = 0
    acknowledged: int = 0
    delivered: int = 0
    duplicates: int = 0
    violations: list[str] = field(default_factory=list)


async def kill_while_delivering(directory: Path, *, kills: int, seed: int) -> Outcome:
    """Kill one hub `kills` times while it delivers; returns what was found."""
    draw = random.Random(seed)
    file, secrets = directory / "received.jsonl", directory / "secrets.json"
    secrets.write_text("{}", "utf-8")
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.durability.receiving", str(file), str(secrets), str(seed),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert receiver.stdout is not None
        port = int(await asyncio.wait_for(receiver.stdout.readline(), 30))
        ledger = Ledger()
        async with killed_hub(directory) as hub:
            await _begin(hub.url, port, secrets)
            for _ in range(kills):
                await _load(hub, ledger, draw.uniform(0.1, LOAD_MAX_S))
                await hub.start()
            await _caught_up(file, ledger)
        return _judged(file, ledger, kills)
    finally:
        receiver.kill()
        await receiver.wait()


async def _begin(url: str, port: int, secrets: Path) -> None:
    kept: dict[str, str] = {}
    async with aiohttp.ClientSession(base_url=url) as session:
        for tenant in TENANTS:
            body: dict[str, Any] = {"id": tenant, "name": "zero", "tier": "enterprise"}
            async with session.post("/tenants", json=body) as answer:
                assert answer.status == 201, await answer.text()
            for number in range(ENDPOINTS):
                path = f"/{tenant}/{number}"
                body = {"url": f"http://127.0.0.1:{port}{path}", "events": [UPDATED]}
                async with session.post(f"/tenants/{tenant}/webhooks", json=body) as answer:
                    assert answer.status == 201, await answer.text()
                    kept[path] = (await answer.json())["secret"]
    secrets.write_text(json.dumps(kept), "utf-8")


async def _load(hub: Killed, ledger: Ledger, seconds: float) -> None:
    """Rename tenants until the hub is dead."""
    async with aiohttp.ClientSession(base_url=hub.url) as session, asyncio.TaskGroup() as group:
        writers = [group.create_task(_rename(session, ledger, tenant)) for tenant in TENANTS]
        await asyncio.sleep(seconds)
        await hub.end(signal.SIGKILL)
        for writer in writers:
            writer.cancel()


async def _rename(session: aiohttp.ClientSession, ledger: Ledger, tenant: str) -> None:
    while True:
        ledger.sent[tenant] += 1
        name = f"{tenant} {ledger.sent[tenant]}"
        try:
            async with session.patch(f"/tenants/{tenant}", json={"name": name}) as answer:
                if answer.status == 200:
                    ledger.acknowledged[tenant].append(name)
        except aiohttp.ClientError:
            return


def _received(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


async def _caught_up(file: Path, ledger: Ledger) -> None:
    """Wait until every endpoint has had the last acknowledged name of its tenant."""
    wanted = {
        (f"/{tenant}/{number}", names[-1])
        for tenant, names in ledger.acknowledged.items()
        for number in range(ENDPOINTS)
        if names
    }
    try:
        async with asyncio.timeout(CAUGHT_UP_S):
            while wanted - {(one["path"], one["event"]["data"]["name"]) for one in _received(file) if "event" in one}:
                await asyncio.sleep(0.2)
    except TimeoutError:
        pass  # the checker says what is missing


def _judged(file: Path, ledger: Ledger, kills: int) -> Outcome:
    outcome = Outcome(kills=kills, acknowledged=sum(len(names) for names in ledger.acknowledged.values()))
    received = _received(file)
    outcome.violations += [f"{one['path']}: {one['violation']}" for one in received if "violation" in one]
    for tenant, names in ledger.acknowledged.items():
        for number in range(ENDPOINTS):
            path = f"/{tenant}/{number}"
            told = [one for one in received if one["path"] == path and "event" in one]
            outcome.delivered += len(told)
            outcome.duplicates += len(told) - len({one["id"] for one in told})
            outcome.violations += violations_of(path, told, names)
    return outcome


def violations_of(path: str, told: Sequence[dict[str, Any]], acknowledged: Sequence[str]) -> list[str]:
    """Judge what one endpoint was told, in the order in which it was."""
    found: list[str] = []
    ids: dict[str, str] = {}
    seen: set[str] = set()
    highest = 0
    for one in told:
        name, seq = one["event"]["data"]["name"], int(one["event"]["hubseq"].rpartition(".")[2])
        if one["id"] != one["event"]["id"]:
            found.append(f"{path}: '{name}' came under another id than its own")
        if ids.setdefault(name, one["id"]) != one["id"]:
            found.append(f"{path}: '{name}' came under two ids")
        if one["event"]["tenantid"] != path.split("/")[1]:
            found.append(f"{path}: '{name}' is another tenant's")
        if seq < highest and one["id"] not in seen:
            found.append(f"{path}: '{name}' came out of order")
        highest = max(highest, seq)
        seen.add(one["id"])
    missing = [name for name in acknowledged if name not in ids]
    found += [f"{path}: '{name}' was acknowledged and never told" for name in missing]
    order = [name for name in ids if name in set(acknowledged)]
    if order != [name for name in acknowledged if name in ids]:
        found.append(f"{path}: names came in another order than they were acknowledged in")
    return found
