"""WebSockets: the same operations, steps and refusals as over HTTP, with a client that may answer.

A request to become a WebSocket goes through the pipeline like any other; what refuses it answers a problem document.
Where an operation's answer is a stream, that is opened on the socket: frames go out as text, in order, in a queue that
is bounded as every stream's is, and messages come in one at a time: the next is read when the one before was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from central_hub.edge.carrying import raw_request
from central_hub.edge.pipeline import Answer, ClientGone, Pipeline
from central_hub.edge.streams import BUFFERED_BYTES_MAX, QueuedSink, Receive, Send

MESSAGE_BYTES_MAX: Final = 65_536
"""Largest message that a client may send."""
PING_S: Final = 20.0
PATH_END: Final = b"/socket"
"""Only paths that end so become WebSockets; any other request that asks for it is answered as if it had not."""
GOING_AWAY: Final = 1_001
REFUSED: Final = 1_008
UNREADABLE: Final = 1_003

OnMessage = Callable[[bytes], Awaitable[None]]


class SocketSink(QueuedSink):
    """An open WebSocket. Set `on_message` while it is being opened; it is awaited with each message, one at a time."""

    __slots__ = ("code", "on_message")

    def __init__(self) -> None:
        super().__init__()
        self.on_message: OnMessage | None = None
        self.code = GOING_AWAY

    def refuse(self) -> None:
        """End in good order, after what was written, and say that the caller may not go on."""
        self.code = REFUSED
        self.close()

    def begin(self) -> None:
        """Hold the client to its limit from now on; what opening wrote is not held against it."""
        self._limit = BUFFERED_BYTES_MAX + self.buffered


def is_socket(sink: object) -> bool:
    """Say whether a stream was opened on a WebSocket."""
    return isinstance(sink, SocketSink)


async def serve(pipeline: Pipeline, scope: Any, receive: Receive, send: Send) -> None:  # Any: ASGI's
    """Answer one request to become a WebSocket, and stay until it has ended."""
    await receive()  # websocket.connect
    try:
        answer = await pipeline.answer(raw_request({**scope, "method": "GET"}, _no_body))
    except ClientGone:
        return
    if answer.stream is None:
        await _refuse(answer, send)
        return
    headers = [line for line in answer.headers if line[0] not in (b"content-type", b"content-length")]
    await send({"type": "websocket.accept", "headers": headers})
    sink = SocketSink()
    on_close = answer.stream(sink)
    sink.begin()
    try:
        async with asyncio.TaskGroup() as group:
            heard = group.create_task(_hear(sink, receive))
            sink.pump = group.create_task(_pump(sink, send))
            await asyncio.wait((sink.pump,))
            heard.cancel()
    finally:
        sink.closed = True
        on_close()
    if not sink.was_cut:
        await send({"type": "websocket.close", "code": sink.code})


async def _refuse(answer: Answer, send: Send) -> None:
    """Answer the request itself, as HTTP would."""
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})


async def _pump(sink: SocketSink, send: Send) -> None:
    while True:
        frame = sink.next_frame()
        if frame is None:
            if sink.closed:
                return
            await sink.ready.wait()
            continue
        try:
            await send({"type": "websocket.send", "text": frame.decode()})
        except (OSError, RuntimeError):  # it has gone
            sink.pump = None
            sink.cut()
            return
        sink.sent(frame)


async def _hear(sink: SocketSink, receive: Receive) -> None:
    while True:
        message: Mapping[str, Any] = await receive()
        if message["type"] == "websocket.disconnect":
            sink.cut()
            return
        if message["type"] != "websocket.receive" or sink.on_message is None:
            continue
        text, data = message.get("text"), message.get("bytes")
        await sink.on_message(text.encode() if text is not None else data or b"")


async def _no_body() -> Any:  # Any: ASGI's message
    return {"type": "http.request", "body": b"", "more_body": False}
