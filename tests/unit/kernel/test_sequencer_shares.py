"""Who gets into a group commit, and who may wait: the sequencer with shares."""

from __future__ import annotations

import asyncio

import pytest

from central_hub.kernel import sequencer as sequencing
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import HUB_ACTOR, Actor
from central_hub.kernel.sequencer import GROUP_COMMIT_BYTES_MAX, GROUP_COMMIT_MAX, Tx
from tests.unit.kernel.test_sequencer import ACTOR, Added, World, running

LOUD, QUIET = DomainId("loud"), DomainId("quiet")


async def put(world: World, domain: DomainId, name: str, actor: Actor = ACTOR) -> int:
    """Write a name; returns its position in the log."""

    def decide(tx: Tx) -> None:
        tx.append(domain, Added(name=name), streams=(f"name/{name}",))

    return (await world.sequencer.submit(actor, (domain,), decide)).pos


async def flooded(world: World, count: int, size: int = 1) -> list[asyncio.Task[int]]:
    """Have one domain send so many commands while the store stands still."""
    world.log.gate.clear()
    tasks = [asyncio.create_task(put(world, LOUD, f"{number:05}" + "x" * size)) for number in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_one_command_is_in_the_next_group_however_many_another_has_waiting() -> None:
    async with running() as world:
        tasks = await flooded(world, 1_000)
        quiet = asyncio.create_task(put(world, QUIET, "one"))
        await asyncio.sleep(0)
        world.log.gate.set()
        assert await quiet <= 2 * GROUP_COMMIT_MAX  # the group that was on its way, and the next
        await asyncio.gather(*tasks)


async def test_the_hubs_own_work_goes_before_what_tenants_have_waiting() -> None:
    async with running() as world:
        tasks = await flooded(world, 1_000)
        own = [
            asyncio.create_task(put(world, PLATFORM, "platform")),
            asyncio.create_task(put(world, LOUD, "expired", HUB_ACTOR)),
        ]
        await asyncio.sleep(0)
        assert world.sequencer.waiting_domains == 1
        world.log.gate.set()
        assert [await each - GROUP_COMMIT_MAX for each in own] == [1, 2]
        await asyncio.gather(*tasks)


async def test_a_group_of_large_commands_ends_early() -> None:
    async with running() as world:
        tasks = await flooded(world, 40, size=30_000)
        world.log.gate.set()
        await asyncio.gather(*tasks)
        assert max(world.log.batches) <= GROUP_COMMIT_BYTES_MAX // 30_000 + 1


async def test_commands_of_one_domain_keep_their_order() -> None:
    async with running() as world:
        tasks = await flooded(world, 500)
        others = [asyncio.create_task(put(world, QUIET, f"{number:05}")) for number in range(500)]
        await asyncio.sleep(0)
        world.log.gate.set()
        for mine in (tasks, others):
            positions = await asyncio.gather(*mine)
            assert positions == sorted(positions)


async def test_when_too_many_wait_the_hubs_own_work_still_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencing, "QUEUE_MAX", 12)
    monkeypatch.setattr(sequencing, "QUEUE_RESERVED", 4)
    async with running() as world:
        tasks = await flooded(world, 8)
        assert (world.sequencer.queued, world.sequencer.queued_of(LOUD)) == (8, 8)
        with pytest.raises(HubError, match="overloaded"):
            await put(world, QUIET, "one")
        own = [asyncio.create_task(put(world, LOUD, f"own-{number}", HUB_ACTOR)) for number in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(HubError, match="overloaded"):
            await put(world, LOUD, "own-5", HUB_ACTOR)
        world.log.gate.set()
        await asyncio.gather(*tasks, *own)
        assert (world.sequencer.queued, world.sequencer.queued_of(LOUD)) == (0, 0)
