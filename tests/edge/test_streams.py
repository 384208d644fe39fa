"""Streams over real sockets: order, sharing, slow and vanished clients, keep-alive, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from central_hub.edge import streams
from central_hub.edge.server import HubServer, LaneMode, bind, configure
from tests.lane.world import World


@contextlib.asynccontextmanager
async def serving(world: World, mode: LaneMode) -> AsyncIterator[int]:
    [socket] = bind("127.0.0.1", 0)

    def stop_streams() -> None:
        for sink in list(world.sinks):
            sink.close()

    server = HubServer(
        configure(world.edge, mode=mode, lane=world.lane), on_stopping=stop_streams, handle_signals=False
    )
    task = asyncio.create_task(server.serve(sockets=[socket]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield socket.getsockname()[1]
    finally:
        server.stop()
        await asyncio.wait_for(task, 15)


async def until(condition: object, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def watch(port: int, method: str = "GET") -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"%b /watch HTTP/1.1\r\nHost: x\r\n\r\n" % method.encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return reader, writer, head


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await asyncio.wait_for(reader.readline(), 5), 16)
    data = await reader.readexactly(size)
    assert await reader.readexactly(2) == b"\r\n"
    return data


BOTH = pytest.mark.parametrize("mode", [LaneMode.PROTOCOL, LaneMode.ASGI])


@BOTH
async def test_frames_arrive_whole_and_in_order(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as port:
        reader, writer, head = await watch(port)
        await until(lambda: world.sinks)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-type: text/event-stream\r\n" in head
        assert b"cache-control: no-store\r\n" in head
        assert b"transfer-encoding: chunked\r\n" in head
        frames = [streams.event_frame("delta", b'{"n":%d}' % at, position=f"i.{at}.0.0") for at in range(200)]
        for frame in frames:
            assert world.sinks[0].write(frame)
        assert [await read_chunk(reader) for _ in frames] == [frame.data for frame in frames]
        assert frames[3].data == b'event: delta\nid: i.3.0.0\ndata: {"n":3}\n\n'
        writer.close()
        await until(lambda: world.closed_streams == 1)


@BOTH
async def test_plain_bytes_are_taken_too(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as port:
        reader, writer, _ = await watch(port)
        await until(lambda: world.sinks)
        assert world.sinks[0].write(b": hello\n\n")
        assert await read_chunk(reader) == b": hello\n\n"
        writer.close()


@BOTH
async def test_closing_ends_the_stream_after_what_was_written_and_keeps_the_connection(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as port:
        reader, writer, _ = await watch(port)
        await until(lambda: world.sinks)
        sink = world.sinks[0]
        sink.write(b": last\n\n")
        sink.close()
        assert not sink.write(b": never\n\n")
        assert await read_chunk(reader) == b": last\n\n"
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.write(b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 OK")
        assert world.closed_streams == 1
        writer.close()


@BOTH
async def test_cutting_sends_nothing_more(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as port:
        reader, writer, _ = await watch(port)
        await until(lambda: world.sinks)
        world.sinks[0].write(b": before\n\n")
        assert await read_chunk(reader) == b": before\n\n"
        sink = world.sinks[0]
        sink.cut()
        assert not sink.write(b": after the key was revoked\n\n")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        await until(lambda: world.closed_streams == 1)
        writer.close()


@BOTH
async def test_a_client_that_does_not_read_is_cut_off_and_memory_stays_bounded(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as port:
        _, writer, _ = await watch(port)
        await until(lambda: world.sinks)
        sink = world.sinks[0]
        frame = streams.Frame(b"data: " + b"x" * 10_000 + b"\n\n")
        given = 0
        while sink.write(frame):
            given += 1
            assert sink.buffered < streams.BUFFERED_BYTES_MAX + 100_000
            assert given < 5_000, "never cut"
            await asyncio.sleep(0)
        assert sink.closed
        await until(lambda: world.closed_streams == 1)
        writer.close()


@BOTH
async def test_what_opening_writes_may_be_larger_than_the_bound(mode: LaneMode) -> None:
    world = World()
    snapshot = b"data: " + b"s" * (streams.BUFFERED_BYTES_MAX * 4) + b"\n\n"
    world.opening = [snapshot, b": more\n\n"]
    async with serving(world, mode) as port:
        reader, writer, _ = await watch(port)
        await until(lambda: world.sinks)
        assert world.sinks[0].write(b": live\n\n")
        assert [await read_chunk(reader) for _ in range(3)] == [snapshot, b": more\n\n", b": live\n\n"]
        writer.close()


@BOTH
async def test_a_quiet_stream_gets_comments(mode: LaneMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.1)
    world = World()
    async with serving(world, mode) as port:
        reader, writer, _ = await watch(port)
        assert [await read_chunk(reader) for _ in range(3)] == [b": keep-alive\n\n"] * 3
        writer.close()


@BOTH
async def test_a_head_request_opens_no_stream(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as port:
        _, writer, head = await watch(port, "HEAD")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert not world.sinks
        writer.close()


@BOTH
async def test_stopping_the_server_ends_streams_in_order(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as port:
        reader, writer, _ = await watch(port)
        await until(lambda: world.sinks)
        world.sinks[0].write(b": bye\n\n")
    assert await asyncio.wait_for(reader.read(), 5) == b"7\r\n: bye\n\n\r\n0\r\n\r\n"
    writer.close()


async def test_telling_many_yields_between_slices() -> None:
    world = World()
    async with serving(world, LaneMode.PROTOCOL) as port:
        clients = [await watch(port) for _ in range(streams.SLICE * 2 + 5)]
        await until(lambda: len(world.sinks) == len(clients))
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count_turns())
        world.sinks[7].close()
        told = await streams.tell(list(world.sinks), streams.Frame(b": all\n\n"))
        counting.cancel()
        assert told == len(clients) - 1
        assert turns >= 2
        assert await read_chunk(clients[0][0]) == b": all\n\n"
        for _, writer, _ in clients:
            writer.close()
