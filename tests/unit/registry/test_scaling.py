"""How many instances a service has is told once in a while, where it changed, by the hub whose it is to tell."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ownership import Alone
from central_hub.kernel.records import HUB_ACTOR, Category
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.registry.model import FACTS, Instance, ServiceRegistered, ServiceScaled, ServiceUnregistered
from central_hub.registry.scaling import TOLD_AT_ONCE, Scaling
from central_hub.registry.view import RegistryView
from tests.unit.registry.support import ACME, RANKS


class Elsewhere(Alone):
    """Another hub does it."""

    def owns(self, work: str, key: str) -> bool:
        return False


class House:
    """A registry on a memory log, and what tells its numbers."""

    def __init__(self, ownership: Alone | None = None) -> None:
        self.log, self.view = MemoryLog(), RegistryView(RANKS.get)
        keys = KeyRing(bytes(32), MemoryKeys())
        self.runner = Runner(self.log, keys, FactTypes(FACTS), [self.view])
        self.sequencer = Sequencer(self.log, keys, self.runner, ManualClock(), os.urandom)
        self.scaling = Scaling(self.view, self.sequencer, ownership or Alone())
        self.told: list[ServiceScaled] = []
        self.runner.listen(self.scaling.applied)
        self.runner.listen(
            lambda batch: self.told.extend(one.fact for one in batch if isinstance(one.fact, ServiceScaled))
        )

    async def write(self, *facts: Fact) -> None:
        def decide(tx: object) -> None:
            for fact in facts:
                tx.append(ACME, fact, streams=("x",))  # type: ignore[attr-defined]

        await self.sequencer.submit(HUB_ACTOR, (ACME,), decide)

    async def add(self, *ids: str, service: str = "risk") -> None:
        await self.write(*(
            ServiceRegistered(instance=Instance(service_name=service, instance_id=one, host="h", port=1)) for one in ids
        ))  # fmt: skip

    async def remove(self, *ids: str) -> None:
        await self.write(*(ServiceUnregistered(service="risk", instance_id=one) for one in ids))

    @property
    def said(self) -> list[tuple[str, int, int]]:
        return [(fact.service, fact.previous, fact.instances) for fact in self.told]


@asynccontextmanager
async def opened(ownership: Alone | None = None) -> AsyncIterator[House]:
    house = House(ownership)
    running = asyncio.create_task(house.sequencer.run())
    try:
        yield house
    finally:
        house.sequencer.close()
        await running


async def test_a_service_s_first_instances_do_not_scale_it_and_later_ones_do() -> None:
    async with opened() as house:
        await house.add("a", "b")
        await house.scaling.tell()
        assert house.said == []
        await house.add("c")
        await house.scaling.tell()
        await house.remove("a", "b", "c")
        await house.scaling.tell()
        assert house.said == [("risk", 2, 3), ("risk", 3, 0)]
        await house.add("a")
        await house.scaling.tell()
        assert len(house.told) == 2


async def test_what_changes_and_changes_back_meanwhile_is_not_told() -> None:
    async with opened() as house:
        await house.add("a")
        await house.scaling.tell()
        await house.add("b")
        await house.remove("b")
        await house.scaling.tell()
        assert house.said == []


async def test_an_event_names_the_record_that_led_to_it_and_rebuilds_no_view() -> None:
    async with opened() as house:
        await house.add("a")
        await house.scaling.tell()
        await house.add("b")
        await house.add("c")
        await house.scaling.tell()
        told = house.log.records[-1]
        assert (told.type, told.category) == ("ServiceScaled", Category.EVENT)
        assert house.told[0].caused_by == house.log.records[-2].id


async def test_after_a_start_what_there_is_counts_as_told() -> None:
    async with opened() as house:
        await house.add("a", "b")
        fresh = Scaling(house.view, house.sequencer, Alone())
        fresh.prime()
        house.runner.listen(fresh.applied)
        await house.remove("b")
        await fresh.tell()
        assert house.said == [("risk", 2, 1)]
        await house.scaling.tell()
        assert len(house.told) == 1, "who hears that it was told does not tell it again"


async def test_of_several_hubs_one_tells() -> None:
    async with opened(Elsewhere()) as house:
        await house.add("a")
        await house.scaling.tell()
        await house.add("b")
        await house.scaling.tell()
        assert house.said == []


async def test_what_the_store_does_not_take_is_told_later() -> None:
    async with opened() as house:
        await house.add("a")
        await house.scaling.tell()
        await house.add("b")
        house.log.fail_with = HubError("store_unavailable", Kind.UNAVAILABLE, "Away.")
        await house.scaling.tell()
        house.log.fail_with = None
        await house.scaling.tell()
        assert house.said == [("risk", 1, 2)]


async def test_many_services_are_told_in_steps() -> None:
    async with opened() as house:
        names = [f"s{number}" for number in range(TOLD_AT_ONCE + 3)]
        for kind in ("a", "b"):
            for name in names:
                await house.add(kind, service=name)
            await house.scaling.tell()
        assert sorted(house.said) == sorted((name, 1, 2) for name in names)
