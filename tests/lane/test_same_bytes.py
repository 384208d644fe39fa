"""The lane and the framework answer the same bytes, whatever arrives and however it is cut."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from tests.lane.requests import request, script
from tests.lane.world import Server, World

REQUESTS = int(os.environ.get("HUB_TEST_LANE_REQUESTS", "6000"))
"""The full form is 60000."""


def _happen(rng: random.Random, worlds: list[World]) -> None:
    """Let the same thing happen to all worlds, now and then."""
    dice = rng.random()
    for world in worlds:
        if dice < 0.05:
            world.commit()
        elif dice < 0.08:
            world.change_services()
        elif dice < 0.11:
            world.signal()
        elif dice < 0.12:
            world.revoke("chk_acme_1")
        elif dice < 0.18:
            world.restore()
        elif dice < 0.2:
            world.clock.advance(1_500)
        elif dice < 0.21:
            world.epochs.is_open = False
        elif dice < 0.3:
            world.epochs.is_open = True


async def _run(server: Server, chunks: list[tuple[bytes, bool]], *, half_close: bool) -> bytes:
    protocol, transport = server.connect()
    for chunk, wait in chunks:
        transport.feed(chunk)
        if wait:
            await server.settle()
    if not half_close:
        await server.settle()
    protocol.eof_received()
    transport.close()
    await server.settle()
    return bytes(transport.out)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(600)
async def test_lane_and_framework_answer_the_same_bytes(seed: int) -> None:
    rng = random.Random(seed)
    fast, plain = World(seed=seed), World(seed=seed)
    await asyncio.gather(fast.edge.load(), plain.edge.load())
    with_lane, without = Server(fast, lane=True), Server(plain, lane=False)
    sent = answered = 0
    while sent < REQUESTS // 4:
        chunks = script(rng)
        half_close = rng.random() < 0.1
        sent += max(1, b"".join(chunk for chunk, _ in chunks).count(b"HTTP/1"))
        _happen(rng, [fast, plain])
        one = await _run(with_lane, chunks, half_close=half_close)
        other = await _run(without, chunks, half_close=half_close)
        if half_close:  # a client that left may be told less by the framework, never something else
            assert one.startswith(other), (chunks, one, other)
            for world in (fast, plain):
                world.random.seed(sent)
                world.shares.clear()
                world.restore()
        else:
            assert one == other, chunks
            answered += one.count(b"HTTP/1.1 200 OK")
    print(f"{sent} requests, {answered} answered 200, {fast.lane.hits} of them by the lane")
    assert fast.lane.hits > sent // 20
    assert answered > fast.lane.hits
    assert with_lane.state.total_requests >= without.state.total_requests


async def test_counters_and_limits_are_the_same_on_both_sides() -> None:
    rng = random.Random(99)
    fast, plain = World(), World()
    await asyncio.gather(fast.edge.load(), plain.edge.load())
    with_lane, without = Server(fast, lane=True), Server(plain, lane=False)
    for _ in range(1500):
        chunks = [(request(rng), True)]
        _happen(rng, [fast, plain])
        assert await _run(with_lane, chunks, half_close=False) == await _run(without, chunks, half_close=False), chunks
    assert fast.looked_up() == plain.looked_up()
    assert with_lane.state.total_requests == without.state.total_requests
    assert fast.lane.hits > 100
