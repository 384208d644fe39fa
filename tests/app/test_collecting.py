"""Garbage is found while it is young; what has lived is set aside, and looked at again when that is due."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from central_hub.adapters.stores import in_memory
from central_hub.app.collecting import FULL_APART_S, FULL_EVERY_S, Collecting
from central_hub.app.wiring import build
from central_hub.edge.server import HubServer, LaneMode, bind, configure, loop_factory
from central_hub.settings import Settings

CONNECTIONS = 100


class _Ring:
    """Keeps itself alive."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collecting() -> Iterator[Collecting]:
    before = gc.get_threshold()
    yield Collecting()
    gc.unfreeze()
    gc.set_threshold(*before)


def test_a_young_cycle_is_found_and_an_old_one_when_a_full_collection_is_due(collecting: Collecting) -> None:
    collecting.begin()
    young = weakref.ref(_Ring())
    kept = _Ring()
    old = weakref.ref(kept)
    collecting.set_aside(1.0)
    assert young() is None
    del kept
    collecting.set_aside(FULL_APART_S)
    assert old() is not None, "nothing grew, so nobody looked"
    collecting.set_aside(FULL_EVERY_S)
    assert old() is None


def test_growth_brings_a_full_collection_forward(collecting: Collecting, monkeypatch: pytest.MonkeyPatch) -> None:
    collecting.begin()
    collecting.set_aside(FULL_EVERY_S)
    grown = [_Ring() for _ in range(1_000)]
    collecting.set_aside(FULL_EVERY_S + 1.0)
    one = weakref.ref(grown[0])
    grown.clear()
    monkeypatch.setattr("central_hub.app.collecting.GROWN_OBJECTS", -gc.get_freeze_count())
    collecting.set_aside(FULL_EVERY_S + 2.0)
    assert one() is not None, "too soon after the last one"
    collecting.set_aside(FULL_EVERY_S + 1.0 + FULL_APART_S)
    assert one() is None


def test_the_collector_is_as_it_was_when_the_hub_has_ended(collecting: Collecting) -> None:
    async def begin_and_end() -> None:
        collecting.begin()
        task = asyncio.create_task(collecting.run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))

    before = gc.get_threshold()
    asyncio.run(begin_and_end())
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@pytest.mark.skipif(loop_factory() is None, reason="asyncio's own transports are cycles")
def test_connections_that_were_set_aside_leave_nothing_behind() -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        left = runner.run(_left_by_connections())
    assert left < CONNECTIONS / 2, f"{left} objects are left of {CONNECTIONS} connections"


async def _left_by_connections() -> int:
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    hub = build(Settings(open=True), in_memory(), listeners=[("127.0.0.1", port)])
    await hub.start()
    await hub.edge.load()  # it is loaded beside what is served, and stays
    config = configure(hub.edge, mode=LaneMode.PROTOCOL, lane=hub.lane)
    server = HubServer(config, on_stopping=hub.stopping, handle_signals=False)
    serving = asyncio.create_task(server.serve(sockets))
    try:
        counts: list[int] = []
        for _ in range(3):
            await _open_and_close(port)
            gc.collect(1)
            gc.freeze()
            counts.append(gc.get_freeze_count())
        return counts[-1] - counts[0]
    finally:
        server.stop()
        await serving
        await hub.stop()


async def _open_and_close(port: int) -> None:
    opened: list[asyncio.StreamWriter] = []
    for target in ("/services/discover/nothing", "/health", "/watch?services=nothing"):
        for _ in range(CONNECTIONS // 3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.append(writer)
            writer.write(f"GET {target} HTTP/1.1\r\nhost: localhost\r\nx-tenant-id: acme\r\n\r\n".encode())
            assert await reader.readuntil(b"\r\n\r\n")
    gc.collect(1)
    gc.freeze()
    for writer in opened:
        writer.close()
    await asyncio.sleep(0.3)
