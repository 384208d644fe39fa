"""Events over the SDK and a real hub that is killed: nothing is missed, nothing comes twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from central_hub import HubClient, HubError, HubEvent
from tests.sdk.test_real_hub import Cutter, HubProcess

TIMEOUT_S = 60


def client(url: str) -> HubClient:
    return HubClient(url, tenant_id="acme", service_name="orders", cache_dir="")


async def take(hub: HubClient, count: int, *types: str, after: str = "start") -> list[HubEvent]:
    """Return the first so many events of a stream."""
    found: list[HubEvent] = []
    async for event in hub.events(*types, after=after):
        found.append(event)
        if len(found) == count:
            break
    return found


@pytest.mark.timeout(TIMEOUT_S)
async def test_events_are_published_and_followed_over_kills_and_cuts(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    got: list[HubEvent] = []
    published: list[str] = []
    try:
        async with Cutter(process.port) as wire, client(process.url) as writer, client(wire.url) as reader:
            following = asyncio.create_task(take(reader, 300, "com.*"))
            for number in range(300):
                name = f"e-{number}"
                await _until_durable(writer, name)
                published.append(name)
                if number == 100:
                    await process.kill()
                    await process.start()
                if number % 70 == 69:
                    wire.cut()
            got = await asyncio.wait_for(following, TIMEOUT_S / 2)
    finally:
        await process.kill()
    assert [event.id for event in got] == published
    assert {event.source for event in got} == {"/services/orders"}
    assert {event.tenant_id for event in got} == {"acme"}


async def _until_durable(hub: HubClient, name: str) -> None:
    while True:
        try:
            await hub.publish("com.acme.placed", {"n": name}, id=name, subject=f"order/{name}")
            return
        except HubError:
            await asyncio.sleep(0.05)


@pytest.mark.timeout(TIMEOUT_S)
async def test_a_publisher_may_send_again_and_a_reader_may_go_on(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    try:
        async with client(process.url) as hub:
            batch = [{"type": "com.acme.placed", "id": f"e-{at}", "data": at, "myext": "x"} for at in range(5)]
            first, again = await hub.publish_events(batch), await hub.publish_events(batch)
            assert (first["accepted"], again["accepted"], again["duplicates"]) == (5, 0, 5)
            two = await take(hub, 2, "com.*")
            rest = await take(hub, 3, "com.*", after=two[-1].position)
            assert [event.data for event in (*two, *rest)] == [0, 1, 2, 3, 4]
            assert rest[0].attributes["myext"] == "x"
            assert (await hub.publish("com.acme.bare"))["accepted"] == 1
            with pytest.raises(HubError, match="position_gone"):
                await take(hub, 1, after="another.7")
            with pytest.raises(HubError, match="invalid_event"):
                await hub.publish("not a type")
    finally:
        await process.kill()


@pytest.mark.timeout(TIMEOUT_S)
async def test_a_type_is_described_and_what_is_published_is_held_against_it(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    try:
        async with client(process.url) as hub:
            said = await hub.describe_event_type("com.acme.placed", schema, description="An order.", dry_run=True)
            assert (said["version"], said["dry_run"]) == (1, True)
            assert (await hub.describe_event_type("com.acme.placed", schema))["is_new"]
            assert not (await hub.describe_event_type("com.acme.placed", schema))["is_new"]
            await hub.publish("com.acme.placed", {"n": 1})
            with pytest.raises(HubError, match="invalid_event_data"):
                await hub.publish("com.acme.placed", {"n": "one"})
            with pytest.raises(HubError, match="incompatible_schema"):
                await hub.describe_event_type("com.acme.placed", {**schema, "required": ["n", "m"]})
    finally:
        await process.kill()
