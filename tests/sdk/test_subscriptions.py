"""Durable subscriptions over the SDK and a real hub that is killed: nothing is missed, nothing settled comes again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from central_hub import Delivery, HubClient, HubError, SyncHubClient
from tests.sdk.test_real_hub import Cutter, HubProcess

TIMEOUT_S = 60
TYPE = "com.acme.placed"


def client(url: str) -> HubClient:
    return HubClient(url, tenant_id="acme", service_name="orders", cache_dir="")


async def until_durable(hub: HubClient, name: str) -> None:
    while True:
        try:
            await hub.publish(TYPE, {"n": name}, id=name)
            return
        except HubError:
            await asyncio.sleep(0.05)


@pytest.mark.timeout(TIMEOUT_S)
async def test_events_are_handled_over_kills_and_cuts_and_none_that_was_acknowledged_comes_again(
    tmp_path: Path,
) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    handled: list[str] = []
    acked: set[str] = set()
    doubtful: set[str] = set()
    again: list[str] = []
    terms = {"ack_wait_s": 2, "backoff_s": [0.1], "max_deliveries": 50}

    async def handle(hub: HubClient) -> None:
        async with hub.subscribe("orders", types=["com.*"], deliver="all", terms=terms, max_held=8) as deliveries:
            async for one in deliveries:
                if one.event.id in acked:
                    again.append(one.event.id)
                handled.append(one.event.id)
                try:
                    if await one.ack():
                        acked.add(one.event.id)
                except HubError:
                    doubtful.add(one.event.id)  # it comes again, or was taken and the answer lost
                if len(acked | doubtful) == 200:
                    return

    try:
        async with Cutter(process.port) as wire, client(process.url) as writer, client(wire.url) as reader:
            handling = asyncio.create_task(handle(reader))
            for number in range(200):
                await until_durable(writer, f"e-{number}")
                if number in (60, 120):
                    await process.kill()
                    await process.start()
                if number % 50 == 49:
                    wire.cut()
            await asyncio.wait_for(handling, TIMEOUT_S / 2)
    finally:
        await process.kill()
    assert acked | doubtful == {f"e-{number}" for number in range(200)}
    assert len(acked) > 150
    assert again == []


@pytest.mark.timeout(TIMEOUT_S)
async def test_what_is_given_back_comes_again_and_what_is_not_handled_goes_to_others(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    try:
        async with client(process.url) as hub:
            await hub.publish_events([{"type": TYPE, "id": f"e-{at}"} for at in range(4)])
            got: list[Delivery] = []
            async with hub.subscribe("tasks", types=["com.*"], deliver="all") as deliveries:
                async for one in deliveries:
                    got.append(one)
                    if len(got) == 1:
                        assert await one.nack(delay_s=0, reason="not now")
                    elif len(got) == 2:
                        assert await one.reject("never")
                    elif len(got) == 4:
                        break
            assert sorted(one.event.id for one in got[:3]) == ["e-0", "e-1", "e-2"]
            rest: list[Delivery] = []
            async with hub.subscribe("tasks", create=False) as deliveries:
                async for one in deliveries:
                    assert await one.ack()
                    rest.append(one)
                    if len(rest) == 3:
                        break
            assert sorted(one.event.id for one in rest) == ["e-0", "e-2", "e-3"]
            assert {one.event.id: one.attempt for one in rest}["e-2"] == 1, "it was given back, not failed"
            async with asyncio.timeout(10):  # a dead letter is a record of the log, and the disk may be busy
                while not (letters := (await hub.ask("/subscriptions/tasks/letters"))["letters"]):
                    await asyncio.sleep(0.05)
            assert [(one["cause"], one["detail"]) for one in letters] == [("rejected", "never")]
            async with hub.subscribe("nothing", create=False) as deliveries:
                with pytest.raises(HubError, match="subscription_not_found"):
                    await anext(aiter(deliveries))
    finally:
        await process.kill()


@pytest.mark.timeout(TIMEOUT_S)
async def test_what_is_being_handled_is_asked_longer_for(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    try:
        async with client(process.url) as hub:
            await hub.publish(TYPE, id="slow")
            terms = {"ack_wait_s": 0.6, "backoff_s": [0], "max_deliveries": 3}
            async with hub.subscribe("slow", types=["com.*"], deliver="all", terms=terms) as deliveries:
                async for one in deliveries:
                    await asyncio.sleep(1.5)
                    assert one.attempt == 1
                    assert await one.ack()
                    break
            shown = await hub.ask("/subscriptions/slow")
            assert (shown["in_flight"], shown["dead_letters"]) == (0, 0)
    finally:
        await process.kill()


def in_blocks(url: str) -> list[str]:
    """Publish and handle three events without an event loop; the first is given back once."""
    seen: list[str] = []
    with SyncHubClient(url, tenant_id="acme", service_name="orders", cache_dir="") as hub:
        for name in ("a", "b", "c"):
            body = {"specversion": "1.0", "type": TYPE, "source": "/services/orders", "id": name}
            hub.command("POST", "/events", body)
        with hub.subscribe("sync", types=["com.*"], deliver="all") as deliveries:
            for one in deliveries:
                seen.append(one.event.id)
                assert one.nack(delay_s=0) if len(seen) == 1 else one.ack()
                if len(seen) == 4:
                    break
    return seen


@pytest.mark.timeout(TIMEOUT_S)
async def test_code_without_an_event_loop_does_the_same(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    try:
        assert sorted(await asyncio.to_thread(in_blocks, process.url)) == ["a", "a", "b", "c"]
    finally:
        await process.kill()
