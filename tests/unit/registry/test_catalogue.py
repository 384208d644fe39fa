"""A service of many instances is encoded in slices, and nobody sees half of it."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from central_hub.kernel.errors import HubError
from central_hub.registry import catalogue
from central_hub.registry.model import Status
from central_hub.registry.ports import Verdict
from central_hub.registry.schemas import DiscoverQuery, Filters
from tests.unit.registry.house import House, opened
from tests.unit.registry.support import ACME, ctx_of

AT_ONCE = 4


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "ENCODED_AT_ONCE_MAX", AT_ONCE)


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of instances in the order in which they were encoded."""
    seen: list[str] = []
    shown_as = catalogue.shown_as

    def counted(instance: Any, verdict: Any) -> catalogue.Shown:
        seen.append(instance.instance_id)
        return shown_as(instance, verdict)

    monkeypatch.setattr(catalogue, "shown_as", counted)
    return seen


async def registered(house: House, count: int) -> None:
    for number in range(count):
        await house.register(instance_id=f"i-{number}", port=8000 + number)


def ids(body: bytes | tuple[bytes, ...]) -> list[str]:
    whole = body if isinstance(body, bytes) else b"".join(body)
    return [one["instance_id"] for one in json.loads(whole)["instances"]]


async def test_no_step_encodes_more_than_a_slice(encodings: list[str]) -> None:
    async with opened() as house:
        await registered(house, 11)
        reading = asyncio.ensure_future(house.reading.discover(ctx_of(), "risk", DiscoverQuery()))
        steps = [0]
        while not reading.done():
            await asyncio.sleep(0)
            steps.append(len(encodings))
        assert ids(reading.result().body) == [f"i-{number}" for number in range(11)]
        assert max(after - before for before, after in itertools.pairwise(steps)) <= AT_ONCE
        assert sorted(encodings) == sorted(f"i-{number}" for number in range(11)), "each was encoded once"


async def test_a_change_encodes_what_changed_alone(encodings: list[str]) -> None:
    async with opened() as house:
        await registered(house, 9)
        await house.discover()
        encodings.clear()
        await house.register(instance_id="i-3", port=9999)
        shown = await house.discover()
        assert [one["port"] for one in shown["instances"] if one["instance_id"] == "i-3"] == [9999]
        assert encodings == ["i-3"]


async def test_the_lane_leaves_a_large_service_to_the_framework_once() -> None:
    async with opened() as house:
        await registered(house, AT_ONCE + 1)
        assert house.lane.entry("risk", ctx_of()) is None
        body = (await house.reading.discover(ctx_of(), "risk", DiscoverQuery())).body
        entry = house.lane.entry("risk", ctx_of())
        assert entry is not None
        assert entry.body(house.slot) == body


async def test_the_lane_answers_for_a_small_service_by_itself() -> None:
    async with opened() as house:
        await registered(house, AT_ONCE)
        assert house.lane.entry("risk", ctx_of()) is not None


async def test_what_changes_while_it_is_encoded_is_in_the_answer() -> None:
    async with opened() as house:
        await registered(house, 12)
        reading = asyncio.ensure_future(house.reading.discover(ctx_of(), "risk", DiscoverQuery()))
        await asyncio.sleep(0)
        house.verdicts.by_instance[ACME, "risk", "i-0"] = Verdict(status=Status.UNHEALTHY, since_ms=0, reason="silent")
        house.catalogue.signal(ACME, "risk")
        shown = json.loads((await reading).body)  # type: ignore[arg-type]
        assert shown["instances"][0]["status"] == "unhealthy"


async def test_a_service_that_goes_while_it_is_encoded_is_gone() -> None:
    async with opened() as house:
        await registered(house, 100)
        reading = asyncio.ensure_future(house.reading.service(ctx_of(), "risk", Filters()))
        await asyncio.sleep(0)
        await asyncio.gather(*(house.registry.deregister(ctx_of(), "risk", f"i-{number}") for number in range(100)))
        assert not reading.done(), "the removal came too late to be in the middle"
        with pytest.raises(HubError, match="service_not_found"):
            await reading


async def test_many_readers_of_a_large_service_share_the_work(encodings: list[str]) -> None:
    async with opened() as house:
        await registered(house, 20)
        answers = await asyncio.gather(*(house.reading.service(ctx_of(), "risk", Filters()) for _ in range(5)))
        assert len({answer.body for answer in answers}) == 1
        assert len(encodings) == 20
