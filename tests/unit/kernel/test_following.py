"""What others write to the store: read between commits, with their keys; and what is said when nothing can be told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from central_hub.adapters.keyring import KEY_BYTES, KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import outcome_unknown, store_unavailable
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.records import Actor
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer, Tx
from tests.adapters.logs import Noted
from tests.adapters.test_stores import Texts

ACME = DomainId("acme")
ACTOR = Actor(principal="key-1", kind="service")
MASTER = os.urandom(KEY_BYTES)


class Hub:
    """A sequencer on a log and on keys that others may use too."""

    def __init__(self, log: MemoryLog, keys: MemoryKeys) -> None:
        self.log = log
        self.texts = Texts()
        self.ring = KeyRing(MASTER, keys)
        self.runner = Runner(log, self.ring, FactTypes([Noted]), [self.texts])
        self.sequencer = Sequencer(log, self.ring, self.runner, ManualClock(), os.urandom)

    async def write(self, text: str, *, key: str = "", refuse: HubError | None = None) -> str:
        def decide(tx: Tx) -> str:
            if refuse is not None:
                raise refuse
            tx.append(ACME, Noted(text=text), streams=("note/1",))
            return text

        idempotency = Idempotency(domain=ACME, source="s", id=key) if key else None
        return (await self.sequencer.submit(ACTOR, (ACME,), decide, idempotency=idempotency)).answer


@asynccontextmanager
async def running() -> AsyncIterator[Hub]:
    hub = Hub(MemoryLog(), MemoryKeys())
    task = asyncio.create_task(hub.sequencer.run())
    yield hub
    hub.sequencer.close()
    await task


async def until_seen(hub: Hub, count: int) -> None:
    async with asyncio.timeout(5):
        while len(hub.texts.of.get(ACME, [])) < count:
            await asyncio.sleep(0)


async def test_what_another_hub_wrote_is_read_when_the_store_hints_at_it() -> None:
    async with running() as hub:
        await hub.write("mine")
        hub.log.write_as_another_hub(hub.ring, ACME, Noted(text="theirs"), ("note/2",))
        await asyncio.sleep(0.01)
        assert hub.texts.of[ACME] == ["mine"]
        hub.sequencer.follow()
        await until_seen(hub, 2)
        assert hub.texts.of[ACME] == ["mine", "theirs"]


async def test_what_another_hub_sealed_under_a_key_of_its_own_is_opened() -> None:
    keys = MemoryKeys()
    log = MemoryLog()
    here, there = Hub(log, keys), KeyRing(MASTER, keys)
    await there.ensure(ACME)
    log.write_as_another_hub(there, ACME, Noted(text="theirs"), ("note/2",))
    await here.runner.catch_up()
    assert here.texts.of[ACME] == ["theirs"]


async def test_a_key_that_is_nowhere_is_still_refused() -> None:
    log = MemoryLog()
    here, there = Hub(log, MemoryKeys()), KeyRing(MASTER, MemoryKeys())
    await there.ensure(ACME)
    log.write_as_another_hub(there, ACME, Noted(text="theirs"), ("note/2",))
    with pytest.raises(HubError) as refused:
        await here.runner.catch_up()
    assert refused.value.code == "unreadable_record"


async def test_a_hint_while_the_store_is_away_harms_nothing() -> None:
    async with running() as hub:
        hub.log.write_as_another_hub(await sealing(hub), ACME, Noted(text="theirs"), ("note/2",))
        read, hub.log.read = hub.log.read, away
        hub.sequencer.follow()
        async with asyncio.timeout(5):
            while not hub.sequencer.failed_reads:
                await asyncio.sleep(0)
        hub.log.read = read
        assert await hub.write("mine") == "mine"
        assert hub.texts.of[ACME] == ["theirs", "mine"]


async def sealing(hub: Hub) -> KeyRing:
    await hub.ring.ensure(ACME)
    return hub.ring


async def away(*_: object) -> None:
    raise store_unavailable("away")


async def refused(work: object) -> str:
    with pytest.raises(HubError) as caught:
        await work
    return caught.value.code


async def test_an_outcome_that_nobody_knows_stays_unknown_when_it_cannot_be_looked_up() -> None:
    async with running() as hub:
        hub.log.fail_with = outcome_unknown("cut off")
        hub.log.lookup = away
        assert await refused(hub.write("mine", key="k")) == "outcome_unknown"


async def test_what_a_rule_refuses_is_not_said_of_a_command_whose_first_try_cannot_be_looked_up() -> None:
    async with running() as hub:
        hub.log.lookup = away
        taken = HubError("taken", Kind.CONFLICT, "taken")
        assert await refused(hub.write("mine", key="k", refuse=taken)) == "store_unavailable"
