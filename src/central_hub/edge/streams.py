"""Streams: server-sent events to many clients, each payload framed once and shared by all.

A route answers `Reply(stream=on_open)`. After the head is sent, `on_open(sink)` is called once
and returns what to call when the stream has ended. What a sink is given goes out in order or
not at all: a client that does not keep up is cut off, and resumes by its last event id.

Where the connection is carried by our own protocol, bytes go straight to its transport; with
any other ASGI server they go through `send`.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, Protocol

MEDIA_TYPE: Final = "text/event-stream"
KEEP_ALIVE_S: Final = 15.0
"""Seconds between comments that keep proxies from closing a quiet stream."""
BUFFERED_BYTES_MAX: Final = 262_144
"""Unsent bytes, beyond what opening the stream wrote, at which a client is cut off."""
SLICE: Final = 100
"""Sinks that are told before the event loop gets its turn."""
CARRIER: Final = "central_hub.carrier"
"""Key in the scope's extensions under which our protocol offers the connection itself."""

HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))
"""Lines every stream answers with; the second asks nginx not to buffer."""

Message = MutableMapping[str, Any]  # Any: ASGI's own message type
Receive = Callable[[], Awaitable[Any]]  # Any: Message
Send = Callable[[Any], Awaitable[None]]  # Any: Message
OnOpen = Callable[["Sink"], Callable[[], None]]


class Frame:
    """One payload, framed once: `data` as it is, `chunk` as an HTTP/1.1 chunk."""

    __slots__ = ("chunk", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.chunk = b"%x\r\n%b\r\n" % (len(data), data)


def event_frame(event: str, data: bytes, *, position: str = "") -> Frame:
    """Frame a server-sent event.

    Args:
        event: its name.
        data: one line of JSON.
        position: the id a client resumes from; left out when empty.
    """
    assert b"\n" not in data, "an event's data is one line"
    head = f"event: {event}\nid: {position}\n" if position else f"event: {event}\n"
    return Frame(b"%bdata: %b\n\n" % (head.encode("ascii"), data))


_KEEP_ALIVE: Final = Frame(b": keep-alive\n\n")


class Sink(ABC):
    """Where a stream's bytes go; safe to use after it has closed, when it does nothing."""

    __slots__ = ("_beat", "_limit", "closed")

    def __init__(self) -> None:
        self.closed = False
        self._limit = math.inf  # until it is open
        self._beat: asyncio.TimerHandle | None = None

    @property
    @abstractmethod
    def buffered(self) -> int:
        """Bytes given but not yet sent."""

    @abstractmethod
    def write(self, frame: Frame | bytes) -> bool:
        """Send a frame after those before it; False when the stream is closed or was cut off for it.

        Give many sinks the same `Frame`: it is framed once and its memory is shared.
        """

    @abstractmethod
    def close(self) -> None:
        """End the stream in good order, after what was written."""

    @abstractmethod
    def cut(self) -> None:
        """End the stream at once: no byte is sent after this, not even what is buffered."""

    def _opened(self, loop: asyncio.AbstractEventLoop) -> None:
        # What opening wrote (a snapshot of any size) is not held against the client.
        self._limit = BUFFERED_BYTES_MAX + self.buffered
        # Streams that opened together do not all beat together.
        spread = (id(self) >> 4) * 0.618_033_988_749_895 % 1.0
        self._beat = loop.call_later(KEEP_ALIVE_S * (0.5 + 0.5 * spread), self._keep_alive, loop)

    def _keep_alive(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.write(_KEEP_ALIVE):
            self._beat = loop.call_later(KEEP_ALIVE_S, self._keep_alive, loop)

    def _ended(self) -> None:
        self.closed = True
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None


async def tell(sinks: Iterable[Sink], frame: Frame) -> int:
    """Write one frame to many sinks, yielding to the event loop between slices.

    Returns:
        How many took it.
    """
    told = 0
    for at, sink in enumerate(sinks, 1):
        told += sink.write(frame)
        if not at % SLICE:
            await asyncio.sleep(0)
    return told


class Flow(Protocol):
    """What a sink asks about its connection's write buffer."""

    write_paused: bool


class Carrier(Protocol):
    """A connection that lets a stream write to its transport (edge.lane.protocol)."""

    transport: asyncio.Transport
    flow: Flow
    stream: DirectSink | None


class DirectSink(Sink):
    """A sink that writes chunks to the transport of an HTTP/1.1 answer in progress."""

    __slots__ = ("_done", "_flow", "_transport")

    def __init__(self, carrier: Carrier, done: asyncio.Future[bool]) -> None:
        super().__init__()
        self._transport = carrier.transport
        self._flow = carrier.flow
        self._done = done

    @property
    def buffered(self) -> int:
        """Bytes given but not yet sent."""
        return self._transport.get_write_buffer_size()

    def write(self, frame: Frame | bytes) -> bool:
        """Send a frame; see `Sink.write`."""
        if self.closed:
            return False
        if self._flow.write_paused and self._transport.get_write_buffer_size() > self._limit:
            self.cut()
            return False
        if isinstance(frame, bytes):
            frame = Frame(frame)
        self._transport.write(frame.chunk)
        return True

    def close(self) -> None:
        """End the stream in good order; see `Sink.close`."""
        if not self.closed:
            self._ended()
            self._resolve(orderly=True)

    def cut(self) -> None:
        """End the stream at once; see `Sink.cut`."""
        if not self.closed:
            self._ended()
            self._transport.abort()

    def lost(self) -> None:
        """Take note that the connection is gone."""
        self._ended()
        self._resolve(orderly=False)

    def _resolve(self, *, orderly: bool) -> None:
        if not self._done.done():
            self._done.set_result(orderly)


class QueuedSink(Sink):
    """A sink whose frames wait for ASGI's `send`."""

    __slots__ = ("_buffered", "_cut", "_frames", "pump", "ready")

    def __init__(self) -> None:
        super().__init__()
        self.pump: asyncio.Task[None] | None = None
        self._frames: deque[bytes] = deque()
        self._buffered = 0
        self._cut = False
        self.ready = asyncio.Event()

    @property
    def buffered(self) -> int:
        """Bytes given but not yet sent."""
        return self._buffered

    @property
    def was_cut(self) -> bool:
        """Whether the stream ended without order."""
        return self._cut

    def write(self, frame: Frame | bytes) -> bool:
        """Send a frame; see `Sink.write`."""
        if self.closed:
            return False
        if self._buffered > self._limit:
            self.cut()
            return False
        data = frame if isinstance(frame, bytes) else frame.data
        self._frames.append(data)
        self._buffered += len(data)
        self.ready.set()
        return True

    def close(self) -> None:
        """End the stream in good order; see `Sink.close`."""
        self._ended()
        self.ready.set()

    def cut(self) -> None:
        """End the stream at once; see `Sink.cut`."""
        self._cut = True
        self._frames.clear()
        self._buffered = 0
        self.close()
        if self.pump is not None:  # it may be stuck in a `send` that waits for the client
            self.pump.cancel()

    def next_frame(self) -> bytes | None:
        """Return the next frame in line, or None when there is none now."""
        if not self._frames:
            self.ready.clear()
            return None
        return self._frames[0]

    def sent(self, frame: bytes) -> None:
        """Take note that the first frame in line has left."""
        if self._frames:
            self._frames.popleft()
            self._buffered -= len(frame)


class StreamAnswer(Protocol):
    """The part of an answer a stream needs (edge.pipeline.Answer)."""

    status: int
    headers: list[tuple[bytes, bytes]]
    stream: Callable[[Any], Callable[[], None]] | None  # Any: a Sink


async def serve(answer: StreamAnswer, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:  # Any: ASGI
    """Send a stream's head, open it, and stay until it has ended.

    Args:
        answer: status, header lines and what to call with the open sink.
        scope, receive, send: ASGI's.
    """
    assert answer.stream is not None
    given = {name for name, _ in answer.headers}
    headers = [*answer.headers, *(line for line in HEADERS if line[0] not in given)]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return
    carrier: Carrier | None = scope.get("extensions", {}).get(CARRIER)
    if carrier is not None:
        await _serve_direct(answer.stream, carrier, send)
    else:
        await _serve_queued(answer.stream, receive, send)


async def _serve_direct(on_open: OnOpen, carrier: Carrier, send: Send) -> None:
    if carrier.transport.is_closing():
        return
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()
    sink = carrier.stream = DirectSink(carrier, done)
    on_close = on_open(sink)
    try:
        if not sink.closed:
            sink._opened(loop)  # pyright: ignore[reportPrivateUsage]  # one module, two halves
        orderly = await done
    finally:
        carrier.stream = None
        sink._ended()  # pyright: ignore[reportPrivateUsage]  # same module
        on_close()
    if orderly:
        await send({"type": "http.response.body", "body": b""})


async def _serve_queued(on_open: OnOpen, receive: Receive, send: Send) -> None:
    loop = asyncio.get_running_loop()
    sink = QueuedSink()
    on_close = on_open(sink)
    try:
        if not sink.closed:
            sink._opened(loop)  # pyright: ignore[reportPrivateUsage]  # one module, two halves
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(_until_gone(sink, receive))
            sink.pump = group.create_task(_pump(sink, send))
            await asyncio.wait((sink.pump,))
            gone.cancel()
    finally:
        sink._ended()  # pyright: ignore[reportPrivateUsage]  # same module
        on_close()
    if not sink.was_cut:
        await send({"type": "http.response.body", "body": b""})


async def _pump(sink: QueuedSink, send: Send) -> None:
    while True:
        frame = sink.next_frame()
        if frame is None:
            if sink.closed:
                return
            await sink.ready.wait()
            continue
        try:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        except OSError:
            sink.pump = None
            sink.cut()
            return
        sink.sent(frame)


async def _until_gone(sink: QueuedSink, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    sink.cut()
