"""A real hub whose consumers pull and acknowledge, killed with SIGKILL in the middle, again and again.

Consumers keep a ledger of what the hub said was acknowledged. When all is over everything that was published has been
acknowledged, and no event was given out after its acknowledgement had been answered.
"""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.durability.killing import Killed, killed_hub

TENANT: Final = "company_abc"
TYPE: Final = "com.example.order.placed"
CONSUMERS: Final = 4
LOAD_MAX_S: Final = 0.8
DRAIN_S: Final = 30.0


@dataclass(slots=True)
class Outcome:
    """What happened, and every violation found."""

    kills: int = 0
    published: set[str] = field(default_factory=set[str])
    acked: set[str] = field(default_factory=set[str])
    in_doubt: int = 0
    delivered: int = 0
    violations: list[str] = field(default_factory=list[str])


async def kill_while_consuming(directory: Path, *, kills: int, seed: int) -> Outcome:
    """Kill one hub `kills` times while its consumers acknowledge; returns what was found."""
    draw, outcome = random.Random(seed), Outcome(kills=kills)
    async with killed_hub(directory) as hub:
        async with aiohttp.ClientSession(hub.url) as session:
            await _post(session, "/tenants", {"id": TENANT, "name": TENANT, "tier": "enterprise"}, 201)
            terms = {"ack_wait_s": 1, "backoff_s": [0.05], "max_deliveries": 100, "max_in_flight": 50}
            wanted = {"name": "orders", "filter": {"types": ["com.*"]}, "terms": terms}
            await _post(session, "/subscriptions", wanted, 201)
        for kill in range(kills):
            await _load(hub, outcome, draw, kill)
            await hub.start()
        await _drain(hub.url, outcome)
    lost = sorted(outcome.published - outcome.acked)
    outcome.violations += [f"{name} was published and never given out" for name in lost]
    return outcome


async def _load(hub: Killed, outcome: Outcome, draw: random.Random, kill: int) -> None:
    async with aiohttp.ClientSession(hub.url) as session, asyncio.TaskGroup() as group:
        group.create_task(_publish_until_dead(session, outcome, kill))
        for _ in range(CONSUMERS):
            group.create_task(_consume_until_dead(session, outcome))
        await asyncio.sleep(draw.uniform(0.1, LOAD_MAX_S))
        await hub.end(signal.SIGKILL)


async def _publish_until_dead(session: aiohttp.ClientSession, outcome: Outcome, kill: int) -> None:
    sent = 0
    while True:
        name = f"{kill}-{sent}"
        event = {"specversion": "1.0", "id": name, "type": TYPE, "source": "/orders"}
        try:
            await _post(session, "/events", event, 201)
        except aiohttp.ClientError:
            return
        sent += 1
        outcome.published.add(name)


async def _consume_until_dead(session: aiohttp.ClientSession, outcome: Outcome) -> None:
    while True:
        try:
            await _take(session, outcome, wait_s=1)
        except aiohttp.ClientError:
            return


async def _take(session: aiohttp.ClientSession, outcome: Outcome, *, wait_s: float) -> int:
    """Pull some, and acknowledge them; what is not answered is in doubt, and may come again."""
    given = (await _post(session, f"/subscriptions/orders/pull?limit=10&wait_s={wait_s}", None, 200))["deliveries"]
    outcome.delivered += len(given)
    names = {one["id"]: one["event"]["id"] for one in given}
    outcome.violations += [f"{name} came again" for name in names.values() if name in outcome.acked]
    try:
        answer = await _post(session, "/subscriptions/orders/settle", {"ack": list(names)}, 200)
    except aiohttp.ClientError:
        outcome.in_doubt += len(names)
        raise
    unknown = set(answer["unknown"])
    outcome.acked |= {name for one, name in names.items() if one not in unknown}
    return len(given)


async def _drain(url: str, outcome: Outcome) -> None:
    """Take what is left, what was given out and never acknowledged included."""
    async with aiohttp.ClientSession(url) as session, asyncio.timeout(DRAIN_S):
        while True:
            shown = await _get(session, "/subscriptions/orders")
            taken = await _take(session, outcome, wait_s=0.2)
            if not taken and not shown["in_flight"] and not shown["behind"]:
                return


async def _get(session: aiohttp.ClientSession, path: str) -> dict[str, Any]:  # Any: JSON
    async with session.get(path, headers={"x-tenant-id": TENANT}) as answer:
        assert answer.status == 200, await answer.text()
        said: dict[str, Any] = await answer.json()
        return said


async def _post(session: aiohttp.ClientSession, path: str, body: object, status: int) -> dict[str, Any]:  # Any: JSON
    headers = {} if path == "/tenants" else {"x-tenant-id": TENANT}
    async with session.post(path, json=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        said: dict[str, Any] = await answer.json()
        return said
