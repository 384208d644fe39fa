"""Two hubs that decide at the same time over one PostgreSQL: limits, names and idempotency keys hold over both.

Each has views of its own and decides on what it has seen; what the other wrote meanwhile is found behind the head's
lock, and the command is decided again.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.postgres.members import Joining
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from tests.postgres import Database
from tests.unit.quotas.house import House, LimitTable, ctx_of

LIMIT = 7
ROUNDS = 12
names = itertools.count(1)


@asynccontextmanager
async def deciding(database: Database, keys: KeyRing, name: str) -> AsyncIterator[House]:
    log = await PostgresLog.open(
        database.address,
        mint=lambda: f"history-{next(names)}",
        joining=Joining(node=f"http://{name}:7000", process=f"{name}-{next(names)}", version="test"),
    )
    house = House(ManualClock(), log, keys, LimitTable(max_concurrent_requests=LIMIT))  # type: ignore[arg-type]  # a log like any
    house.runner.listen(house.keeper.applied)
    await house.runner.catch_up()
    log.follow(house.sequencer.follow, lambda: None)
    await log.join(lambda: house.runner.pos)
    committing = asyncio.create_task(house.sequencer.run())
    try:
        yield house
    finally:
        house.sequencer.close()
        await asyncio.wait_for(committing, 10)
        await log.close()


@asynccontextmanager
async def two(database: Database) -> AsyncIterator[tuple[House, House]]:
    keys = KeyRing(bytes(32), MemoryKeys())
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(deciding(database, keys, "a"))
        other = await stack.enter_async_context(deciding(database, keys, "b"))
        yield one, other


async def agreed(one: House, other: House, domain: DomainId) -> int:
    """Wait until both have seen the same; returns what is held."""
    async with asyncio.timeout(10):
        while one.runner.pos != other.runner.pos:
            await asyncio.sleep(0.005)
    assert one.used(domain) == other.used(domain)
    return one.used(domain)


async def attempt(house: House, tenant: str, amount: int, key: str | None = None) -> str:
    """Hold an amount; returns the lease's id, or the code of the refusal."""
    while True:
        try:
            held = await house.hold(amount, ctx=ctx_of(tenant), key=key)
        except HubError as refused:
            if refused.code == "contended":  # lost several times in a row: a caller tries again
                continue
            return refused.code
        return held.lease.id


@pytest.mark.parametrize("seed", range(3))
async def test_two_hubs_never_admit_more_than_the_limit_together(database: Database, seed: int) -> None:
    draw = random.Random(seed)
    async with two(database) as (one, other):
        for number in range(ROUNDS):
            tenant = f"tenant-{seed}-{number}"
            wanted = [(draw.choice((one, other)), draw.randint(1, 3)) for _ in range(draw.randint(4, 12))]
            got = await asyncio.gather(*(attempt(house, tenant, amount) for house, amount in wanted))
            held = sum(amount for (_, amount), answer in zip(wanted, got, strict=True) if answer != "quota_exceeded")
            assert await agreed(one, other, DomainId(tenant)) == held <= LIMIT
            # What is under way counts as held: of two hubs' refusals one may be too many, of their admissions none.
            assert held > 0


async def test_one_key_at_two_hubs_at_the_same_time_is_one_lease(database: Database) -> None:
    async with two(database) as (one, other):
        for number in range(ROUNDS):
            tenant = f"keyed-{number}"
            wanted = [attempt(house, tenant, 2, key="once") for house in (one, other, one, other)]
            leases = set(await asyncio.gather(*wanted))
            assert len(leases) == 1
            assert await agreed(one, other, DomainId(tenant)) == 2


async def test_what_is_given_back_at_one_hub_is_free_at_the_other(database: Database) -> None:
    async with two(database) as (one, other):
        held = await one.hold(LIMIT)
        await agreed(one, other, DomainId("acme"))
        assert await attempt(other, "acme", 1) == "quota_exceeded"
        await one.allocations.release(ctx_of(), held.lease.id)
        assert await agreed(one, other, DomainId("acme")) == 0
        assert await attempt(other, "acme", LIMIT) != "quota_exceeded"
