"""A real hub that events are published to, killed with SIGKILL in the middle, again and again.

Publishers of two tenants send events singly and in batches. When the hub is back, what was in doubt is sent again, as a
publisher would; the checker then reads each tenant's events from the start: every acknowledged one is there, once, and
nothing is there that this tenant did not send. What one publisher sent is in the order in which it was acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.durability.killing import Killed, killed_hub

TENANTS: Final = ("company_abc", "company_xyz")
PUBLISHERS: Final = 4
BATCH: Final = 20
LOAD_MAX_S: Final = 0.8
TYPE: Final = "com.example.order.placed"


@dataclass(slots=True)
class Ledger:
    """Names of events by tenant: acknowledged in order, and sent without an answer."""

    acknowledged: dict[str, list[str]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})
    in_doubt: dict[str, list[str]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})


@dataclass(slots=True)
class Outcome:
    """What happened, and every violation found."""

    kills: int = 0
    acknowledged: int = 0
    in_doubt: int = 0
    violations: list[str] = field(default_factory=list)


async def kill_while_publishing(directory: Path, *, kills: int, seed: int) -> Outcome:
    """Kill one hub `kills` times while it is published to; returns what was found."""
    draw, outcome = random.Random(seed), Outcome(kills=kills)
    ledger = Ledger()
    async with killed_hub(directory) as hub:
        await _begin(hub.url)
        for kill in range(kills):
            await _load(hub, ledger, draw, kill)
            await hub.start()
            outcome.in_doubt += sum(map(len, ledger.in_doubt.values()))
            await _send_again(hub.url, ledger)
        for tenant in TENANTS:
            outcome.violations += violations_of(tenant, await _told(hub.url, tenant), ledger.acknowledged[tenant])
    outcome.acknowledged = sum(map(len, ledger.acknowledged.values()))
    return outcome


def violations_of(tenant: str, told: Sequence[str], acknowledged: Sequence[str]) -> list[str]:
    """Judge what a tenant's events are, in the order of the log; names are `tenant-publisher-…`."""
    there = set(told)
    found = [f"{name} was acknowledged and is lost" for name in acknowledged if name not in there]
    found += [f"{name} is there, and nobody sent it" for name in sorted(there - set(acknowledged))]
    if len(there) < len(told):
        found.append(f"{tenant}: {len(told) - len(there)} events are there twice")
    for publisher in range(PUBLISHERS):
        mine = f"{tenant}-{publisher}-"
        at_first = list(dict.fromkeys(name for name in told if name.startswith(mine)))
        if at_first != [name for name in acknowledged if name.startswith(mine) and name in there]:
            found.append(f"{tenant}: what publisher {publisher} sent is in another order")
    return found


async def _begin(url: str) -> None:
    async with aiohttp.ClientSession(url) as session:
        for tenant in TENANTS:
            body = {"id": tenant, "name": tenant, "tier": "enterprise"}
            async with session.post("/tenants", json=body) as answer:
                assert answer.status == 201, await answer.text()


async def _load(hub: Killed, ledger: Ledger, draw: random.Random, kill: int) -> None:
    async with aiohttp.ClientSession(hub.url) as session, asyncio.TaskGroup() as group:
        for tenant in TENANTS:
            for publisher in range(PUBLISHERS):
                name = f"{tenant}-{publisher}-{kill}"
                group.create_task(_publish_until_dead(session, ledger, tenant, name, publisher % 2 == 1))
        await asyncio.sleep(draw.uniform(0.1, LOAD_MAX_S))
        await hub.end(signal.SIGKILL)


async def _publish_until_dead(
    session: aiohttp.ClientSession, ledger: Ledger, tenant: str, name: str, in_batches: bool
) -> None:
    sent = 0
    while True:
        names = [f"{name}-{sent + at}" for at in range(BATCH if in_batches else 1)]
        sent += len(names)
        try:
            await _publish(session, tenant, names)
        except aiohttp.ClientError:
            ledger.in_doubt[tenant] += names
            return
        ledger.acknowledged[tenant] += names


async def _publish(session: aiohttp.ClientSession, tenant: str, names: Sequence[str]) -> dict[str, Any]:  # Any: JSON
    events = [{"specversion": "1.0", "id": name, "type": TYPE, "source": "/orders", "data": {}} for name in names]
    body = events if len(events) > 1 else events[0]
    async with session.post("/events", json=body, headers={"x-tenant-id": tenant}) as answer:
        assert answer.status == 201, await answer.text()
        said: dict[str, Any] = await answer.json()
    assert said["accepted"] + said["duplicates"] == len(names), said
    return said


async def _send_again(url: str, ledger: Ledger) -> None:
    """Send what was in doubt a second time; it is there once, whether or not it had gone through."""
    async with aiohttp.ClientSession(url) as session:
        for tenant, names in ledger.in_doubt.items():
            for name in names:
                await _publish(session, tenant, [name])
            ledger.acknowledged[tenant] += names
            names.clear()


async def _told(url: str, tenant: str) -> list[str]:
    """Return the names of every event that a tenant's services published, in order."""
    names: list[str] = []
    after = "start"
    async with aiohttp.ClientSession(url) as session:
        while True:
            query = {"after": after, "types": TYPE, "limit": "500", "wait_s": "0"}
            async with session.get("/events", params=query, headers={"x-tenant-id": tenant}) as answer:
                assert answer.status == 200, await answer.text()
                page: dict[str, Any] = await answer.json()  # Any: JSON
            names += [one["id"] for one in page["events"]]
            if not page["more"]:
                return names
            after = page["next"]
