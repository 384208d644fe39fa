"""Another hub writes between decide and append, as often and as meanly as it can: what was promised still holds."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from central_hub.adapters.keyring import KEY_BYTES, KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog, MemorySnapshots
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Append, Idempotency
from central_hub.kernel.records import Applied
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import CONFLICT_RETRIES_MAX, Sequencer, Tx
from tests.adapters.logs import ACME, ACTOR, OTHER, whole

LIMIT = 12


class Taken(Fact, frozen=True, kw_only=True):
    """A name was taken."""

    name: str
    by: str


class Names:
    """Who took which name, and how often it was taken."""

    name = "names"
    facts: frozenset[type[Fact]] = frozenset({Taken})

    def __init__(self) -> None:
        self.taken: dict[DomainId, Counter[str]] = {}
        self.by: dict[tuple[DomainId, str], str] = {}

    def apply(self, applied: Applied) -> None:
        assert isinstance(applied.fact, Taken)
        self.taken.setdefault(applied.domain, Counter())[applied.fact.name] += 1
        self.by.setdefault((applied.domain, applied.fact.name), applied.fact.by)

    def dump(self, domain: DomainId) -> Iterable[object]:
        yield dict(self.taken.get(domain, Counter()))

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            self.taken[domain] = Counter(msgspec.msgpack.decode(chunk, type=dict[str, int]))


class World:
    """A hub on a memory log with an adversary that plays by the rules: it takes free names, under the limit."""

    def __init__(self, seed: int, meanness: float) -> None:
        self.draw = random.Random(seed)
        self.meanness = meanness
        self.log = MemoryLog(adversary=self.attack)
        self.ring = KeyRing(bytes(KEY_BYTES), MemoryKeys())
        self.view = Names()
        self.runner = self.fresh_runner(self.view)
        self.sequencer = Sequencer(self.log, self.ring, self.runner, ManualClock(), random.Random(seed).randbytes)
        self.others: list[str] = []
        self._theirs = Names()  # the other hub's own view, always current

    def fresh_runner(self, view: Names) -> Runner:
        return Runner(self.log, self.ring, FactTypes([Taken]), [view])

    def attack(self, log: MemoryLog, batch: Sequence[Append]) -> None:
        if self.draw.random() >= self.meanness:
            return
        for append in batch[:2]:
            for domain, stream in sorted(append.reads):
                if stream.startswith("name/"):
                    self.take_as_another(domain, stream.removeprefix("name/"))

    def take_as_another(self, domain: DomainId, name: str) -> None:
        there = Counter(
            msgspec.msgpack.decode(self.ring.open(one.domain, one.key_id, one.data, _bound(one)), type=Taken).name
            for one in self.log.records
            if one.domain == domain
        )
        if name in there or len(there) >= LIMIT:
            return
        self.others.append(name)
        self.log.write_as_another_hub(self.ring, domain, Taken(name=name, by="other"), (f"name/{name}", "count/names"))

    async def take(self, name: str, domain: DomainId = ACME, *, key: str = "") -> str:
        def decide(tx: Tx) -> str:
            tx.touch(domain, f"name/{name}")
            taken = self.view.taken.get(domain, Counter())
            if name in taken:
                raise HubError("taken", Kind.CONFLICT, "taken")
            if len(taken) + tx.pending(domain, "count/names") >= LIMIT:
                raise HubError("full", Kind.LIMIT, "full")
            tx.append(domain, Taken(name=name, by="us"), streams=(f"name/{name}",), counts={"count/names": 1})
            return f"ours: {name}"

        idempotency = Idempotency(domain=domain, source="t", id=key) if key else None
        return (await self.sequencer.submit(ACTOR, (domain,), decide, idempotency=idempotency)).answer


def _bound(one: object) -> bytes:
    from central_hub.kernel.records import Record, associated_data

    assert isinstance(one, Record)
    return associated_data(one.domain, one.id, one.type)


@asynccontextmanager
async def running(seed: int, meanness: float) -> AsyncIterator[World]:
    world = World(seed, meanness)
    for domain in (ACME, OTHER):
        await world.ring.ensure(domain)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.sequencer.run())
        yield world
        world.sequencer.close()


@pytest.mark.parametrize("seed", range(40))
async def test_names_stay_unique_limits_hold_and_views_equal_the_log(seed: int) -> None:
    draw = random.Random(seed)
    async with running(seed, meanness=draw.choice((0.1, 0.5, 0.9))) as world:
        ours: dict[tuple[DomainId, str], str] = {}
        for _ in range(6):
            wanted = [(draw.choice((ACME, OTHER)), f"n{draw.randrange(16)}") for _ in range(draw.randint(1, 8))]
            answers = await asyncio.gather(
                *(world.take(name, domain) for domain, name in wanted), return_exceptions=True
            )
            for (domain, name), answer in zip(wanted, answers, strict=True):
                if isinstance(answer, str):
                    assert (domain, name) not in ours, "taken twice"
                    ours[(domain, name)] = answer
                else:
                    assert isinstance(answer, HubError)
                    assert answer.code in ("taken", "full", "contended")
        await world.runner.catch_up()
        for domain in (ACME, OTHER):
            taken = world.view.taken.get(domain, Counter())
            assert all(count == 1 for count in taken.values()), "a name was taken twice"
            assert len(taken) <= LIMIT
            assert whole(await world.log.verify(domain))
        assert {place for place, by in world.view.by.items() if by == "us"} == set(ours)
        again = Names()
        await world.fresh_runner(again).start(MemorySnapshots())
        assert again.taken == world.view.taken
    assert [one.pos for one in world.log.records] == list(range(1, len(world.log.records) + 1))


async def test_the_adversary_is_met() -> None:
    async with running(1, meanness=1.0) as world:
        with pytest.raises(HubError) as lost:
            await world.take("a")
        assert lost.value.code == "taken"
        assert world.others == ["a"]
        assert world.view.by[(ACME, "a")] == "other"


async def test_the_last_place_goes_to_one_of_two_hubs() -> None:
    async with running(2, meanness=0.0) as world:
        for number in range(LIMIT - 1):
            await world.take(f"n{number}")
        world.log.adversary = lambda log, batch: world.take_as_another(ACME, "theirs")
        with pytest.raises(HubError) as lost:
            await world.take("ours")
        assert lost.value.code == "full"
        assert len(world.view.taken[ACME]) == LIMIT


async def test_writes_of_another_that_have_nothing_to_do_with_it_cost_no_try() -> None:
    async with running(3, meanness=0.0) as world:
        await world.take("before")
        world.log.adversary = lambda log, batch: log.write_as_another_hub(
            world.ring, OTHER, Taken(name=f"o{len(log.records)}", by="other"), ("name/o",)
        )
        assert await world.take("a") == "ours: a"
        assert sum(one.domain == ACME for one in world.log.records) == 2


async def test_a_retry_under_its_key_after_a_lost_race_writes_once() -> None:
    async with running(4, meanness=0.0) as world:
        raced = [False]

        def once(log: MemoryLog, batch: Sequence[Append]) -> None:
            if not raced[0]:
                raced[0] = True
                log.write_as_another_hub(world.ring, ACME, Taken(name="z", by="other"), ("count/names",))

        world.log.adversary = once
        assert await asyncio.gather(*(world.take("a", key="k") for _ in range(3))) == ["ours: a"] * 3
        assert world.view.taken[ACME] == Counter({"z": 1, "a": 1})


async def test_one_that_is_beaten_every_time_is_told_so_and_nothing_is_written() -> None:
    async with running(5, meanness=0.0) as world:
        world.log.adversary = lambda log, batch: log.write_as_another_hub(
            world.ring, ACME, Taken(name=f"z{len(log.records)}", by="other"), ("name/a",)
        )
        with pytest.raises(HubError) as lost:
            await world.take("a")
        assert lost.value.code == "contended"
        assert len(world.log.records) == CONFLICT_RETRIES_MAX
        assert "a" not in world.view.taken[ACME]
