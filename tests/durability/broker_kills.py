"""A real hub relays to a real broker that is killed with SIGKILL under load, again and again; now and then the hub is.

Publishers number their events. Every event that the hub acknowledged has to be in the broker in the end. The checker
reads the broker alone, with a client of the test's own: nothing acknowledged is missing, nothing is there that
nobody sent, each event has one id however often it is there, and within each aggregate what comes first comes in the
order in which it was published.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tests.brokers import Got, Place
from tests.durability.killing import Killed, killed_hub

TENANTS: Final = ("company_abc", "company_def", "company_xyz")
SUBJECTS: Final = 3
LOAD_MAX_S: Final = 0.4
AWAY_MAX_S: Final = 0.2
HUB_EVERY: Final = 5
"""Every so many rounds the hub is killed as well."""
CAUGHT_UP_S: Final = 90.0

Aggregate = tuple[str, str]


@dataclass(slots=True)
class Ledger:
    """Numbers that were acknowledged, in order, and how far was sent, for each tenant and subject."""

    acknowledged: dict[Aggregate, list[int]] = field(default_factory=dict)
    sent: dict[Aggregate, int] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What happened, and every violation found."""

    kills: int = 0
    hub_kills: int = 0
    acknowledged: int = 0
    there: int = 0
    repeated: int = 0
    violations: list[str] = field(default_factory=list)


async def kill_brokers(directory: Path, place: Place, *, kills: int, seed: int) -> Outcome:
    """Kill a broker `kills` times while a hub relays to it; returns what was found."""
    draw = random.Random(seed)
    ledger, outcome = Ledger(), Outcome()
    async with killed_hub(directory) as hub:
        await _begin(hub.url, place)
        for number in range(kills):
            hub_too = number % HUB_EVERY == HUB_EVERY - 1
            outcome.hub_kills += hub_too
            await _round(hub, place, ledger, draw, hub_too=hub_too)
            outcome.kills += 1
        await _caught_up(hub.url)
    got = await place.read()
    outcome.acknowledged = sum(map(len, ledger.acknowledged.values()))
    outcome.there = len({one.id for one in got})
    outcome.repeated = len(got) - outcome.there
    outcome.violations = violations_of(got, ledger)
    return outcome


async def _begin(url: str, place: Place) -> None:
    async with aiohttp.ClientSession(base_url=url) as session:
        for tenant in TENANTS:
            async with session.post("/tenants", json={"id": tenant, "name": tenant, "tier": "enterprise"}) as answer:
                assert answer.status == 201, await answer.text()
        relay = {
            "name": "out", "kind": place.kind.value, "servers": [f"127.0.0.1:{place.server.port}"],
            "destination": place.destination, "types": ["com.example.*"], "start": "start",
        }  # fmt: skip
        async with session.post("/relays", json=relay) as answer:
            assert answer.status == 201, await answer.text()


async def _round(hub: Killed, place: Place, ledger: Ledger, draw: random.Random, *, hub_too: bool) -> None:
    """Publish, kill the broker and perhaps the hub, let the broker be away for a moment, and start it again."""
    async with aiohttp.ClientSession(base_url=hub.url) as session, asyncio.TaskGroup() as group:
        every = [(tenant, f"s{number}") for tenant in TENANTS for number in range(SUBJECTS)]
        writers = [group.create_task(_publish(session, ledger, one)) for one in every]
        await asyncio.sleep(draw.uniform(0.02, LOAD_MAX_S))
        await asyncio.to_thread(place.server.kill)
        await asyncio.sleep(draw.uniform(0.0, AWAY_MAX_S))
        if hub_too:
            await hub.end(signal.SIGKILL)
        for writer in writers:
            writer.cancel()
    await asyncio.to_thread(place.server.start)
    if hub_too:
        await hub.start()


async def _publish(session: aiohttp.ClientSession, ledger: Ledger, aggregate: Aggregate) -> None:
    """Publish numbers of one aggregate one after another; each is acknowledged, or the last that was sent."""
    tenant, subject = aggregate
    while True:
        number = ledger.sent[aggregate] = ledger.sent.get(aggregate, 0) + 1
        event = {
            "specversion": "1.0", "type": "com.example.counted", "source": "/services/kills", "subject": subject,
            "id": f"{subject}-{number}", "data": {"n": number},
        }  # fmt: skip
        try:
            async with session.post("/events", json=event, headers={"x-tenant-id": tenant}) as answer:
                if answer.status == 201:
                    ledger.acknowledged.setdefault(aggregate, []).append(number)
        except aiohttp.ClientError:
            return


async def _caught_up(url: str) -> None:
    """Wait until nothing waits; what is missing then the checker says."""
    async with aiohttp.ClientSession(base_url=url) as session, asyncio.timeout(CAUGHT_UP_S):
        while True:
            async with session.get("/relays/out") as answer:
                shown = await answer.json()
            if shown["state"] == "relaying" and shown["lag_records"] == 0:
                return
            await asyncio.sleep(0.1)


def violations_of(got: Sequence[Got], ledger: Ledger) -> list[str]:
    """Judge what a broker has, in its order."""
    found: list[str] = []
    ids: dict[tuple[Aggregate, int], str] = {}
    first: dict[Aggregate, list[int]] = {}
    for one in got:
        aggregate = (one.event["tenantid"], one.event["subject"])
        number = one.number
        if number > ledger.sent.get(aggregate, 0):
            found.append(f"{aggregate}: {number} was never sent")
        known = ids.get((aggregate, number))
        if known is None:
            ids[aggregate, number] = one.id
            first.setdefault(aggregate, []).append(number)
        elif known != one.id:
            found.append(f"{aggregate}: {number} is there under two ids")
    if len(set(ids.values())) != len(ids):
        found.append("two events have one id")
    for aggregate, numbers in ledger.acknowledged.items():
        there = first.get(aggregate, [])
        missing = sorted({*numbers} - {*there})
        if missing:
            found.append(f"{aggregate}: {missing} were acknowledged and are not there")
        if there != sorted(there):
            found.append(f"{aggregate}: what is there is not in order")
    return found
