"""One of several hubs judges an instance; the others pass on what they hear, and follow the log."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from central_hub.health.journal import Journal
from central_hub.health.keeper import Keeper
from central_hub.health.passing import GATHER_S, GATHERED_MAX, Passing
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.sequencer import Tx
from central_hub.registry.model import ServiceHealthChanged, Status, instance_stream
from tests.unit.health.support import ACME, World, instance
from tests.unit.health.support import running as running_alone
from tests.unit.sharing import GivenOwnership, Wire

SLACK_MS = 1_000.0
TTL_MS = 3_000.0


class Shared:
    """A hub among several; the log under it is what the others write to as well."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ownership = GivenOwnership()
        world.keeper = Keeper(
            world.probe, world.loads, world.clock, ownership=self.ownership, slack_ms=SLACK_MS
        )  # fmt: skip
        world.journal = Journal(world.keeper, world.view, world.sequencer, self.ownership)
        world.runner.listen(world.keeper.applied)

    async def said_elsewhere(self, status: Status) -> None:
        fact = ServiceHealthChanged(service="risk", instance_id="i-1", status=status, reason="", previous=status)

        def decide(tx: Tx) -> None:
            tx.append(ACME, fact, streams=(instance_stream("risk", "i-1"),))

        await self.world.sequencer.submit(HUB_ACTOR, (ACME,), decide)


@contextlib.asynccontextmanager
async def running():
    async with running_alone() as world:
        yield Shared(world)


async def test_a_lease_is_ended_by_the_hub_that_judges_and_by_no_other() -> None:
    async with running() as hub:
        hub.ownership.turn(mine=False)
        await hub.world.register(instance())
        hub.world.pass_time(5 * TTL_MS)
        assert hub.world.kept().leaving is None
        assert await hub.world.journal.write()
        assert hub.world.journal.written == 0
        # It is this hub's now, and nobody knows what the one before heard: the lease has its whole time.
        hub.ownership.turn(mine=True)
        hub.world.pass_time(TTL_MS + SLACK_MS - 100)
        assert hub.world.kept().leaving is None
        hub.world.pass_time(TTL_MS)
        assert hub.world.kept().leaving is not None
        assert await hub.world.journal.write()
        assert hub.world.view.instance(ACME, "risk", "i-1") is None


async def test_while_nobody_can_be_sure_no_lease_ends() -> None:
    async with running() as hub:
        await hub.world.register(instance())
        hub.ownership.turn(mine=True, is_sure=False)
        hub.world.pass_time(10 * TTL_MS)
        assert hub.world.kept().leaving is None
        hub.ownership.turn(mine=True)
        hub.world.pass_time(TTL_MS)
        assert hub.world.kept().leaving is None


async def test_a_hub_that_does_not_judge_shows_what_the_log_says() -> None:
    async with running() as hub:
        hub.ownership.turn(mine=False)
        await hub.world.register(instance())
        hub.world.beat("i-1")
        assert hub.world.kept().standing.status is Status.UNKNOWN
        for status in (Status.HEALTHY, Status.UNHEALTHY):
            await hub.said_elsewhere(status)
            assert hub.world.kept().standing.status is status
            assert hub.world.keeper.verdict(ACME, "risk", "i-1") is None
        assert not hub.world.keeper.dirty


async def test_what_a_hub_thought_and_did_not_journal_is_void_when_another_judges() -> None:
    async with running() as hub:
        await hub.world.register(instance())
        hub.world.beat("i-1")
        assert hub.world.kept().standing.status is Status.HEALTHY
        hub.ownership.turn(mine=False)
        assert await hub.world.journal.write()
        assert hub.world.kept().standing.status is Status.UNKNOWN
        assert not hub.world.keeper.dirty


async def test_a_verdict_that_another_hub_wrote_last_is_set_right_by_the_one_that_judges() -> None:
    async with running() as hub:
        await hub.world.register(instance())
        hub.world.beat("i-1")
        assert await hub.world.journal.write()
        await hub.said_elsewhere(Status.UNHEALTHY)
        assert await hub.world.journal.write()
        found = hub.world.view.instance(ACME, "risk", "i-1")
        assert found is not None
        assert found.status is Status.HEALTHY


async def test_the_system_as_a_whole_is_spoken_for_by_one() -> None:
    async with running() as hub:
        await hub.world.register(instance())
        await hub.said_elsewhere(Status.HEALTHY)
        hub.ownership.turn(mine=False)
        before = hub.world.runner.pos
        assert await hub.world.journal.write()
        assert hub.world.runner.pos == before


async def test_a_beat_that_one_hub_hears_renews_the_lease_at_the_other() -> None:
    async with running() as one, running() as other:
        here, there = Wire(), Wire()
        here.other = there
        hears = Passing(here, one.world.keeper, one.world.loads, one.world.clock)
        judges = Passing(there, other.world.keeper, other.world.loads, other.world.clock)
        for hub in (one, other):
            await hub.world.register(instance())
        one.ownership.turn(mine=False)
        passing = asyncio.create_task(hears.run())
        for _ in range(4):
            other.world.pass_time(TTL_MS - 500)
            hears.heard(one.world.kept(), load=0.25, acked_seq=7)
            await asyncio.sleep(3 * GATHER_S)
        passing.cancel()
        assert (hears.passed, judges.taken) == (4, 4)
        assert other.world.kept().leaving is None
        assert other.world.kept().standing.status is Status.HEALTHY
        load = other.world.loads.of(ACME, "risk", "i-1")
        assert load is not None
        assert (load.load, load.acked_seq) == (0.25, 7)


async def test_many_beats_go_in_signals_that_fit_and_too_many_are_lost() -> None:
    async with running() as one:
        wire = Wire()
        passing = Passing(wire, one.world.keeper, one.world.loads, one.world.clock)
        names = [f"instance-with-a-long-name-{number:06d}" for number in range(500)]
        await one.world.register(*(instance(name) for name in names))
        for name in names:
            passing.heard(one.world.kept(name), in_flight=1, load=0.5)
        running_it = asyncio.create_task(passing.run())
        await asyncio.sleep(3 * GATHER_S)
        running_it.cancel()
        assert passing.passed == 500
        assert wire.sent > 1
        assert GATHERED_MAX == 20_000


@pytest.mark.parametrize("anybody", [True, False])
async def test_nothing_is_gathered_where_nobody_would_hear_it(anybody: bool) -> None:
    async with running() as one:
        passing = Passing(Wire(anybody=anybody), one.world.keeper, one.world.loads, one.world.clock)
        await one.world.register(instance())
        passing.heard(one.world.kept())
        assert bool(passing._gathered) is anybody


async def test_a_beat_of_an_instance_that_is_not_here_is_passed_over() -> None:
    async with running() as one, running() as other:
        here, there = Wire(), Wire()
        here.other = there
        hears = Passing(here, one.world.keeper, one.world.loads, one.world.clock)
        judges = Passing(there, other.world.keeper, other.world.loads, other.world.clock)
        await one.world.register(instance())
        hears.heard(one.world.kept())
        running_it = asyncio.create_task(hears.run())
        await asyncio.sleep(3 * GATHER_S)
        running_it.cancel()
        assert judges.taken == 0
