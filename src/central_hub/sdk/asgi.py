"""A BaseService around any ASGI application: context, health, in-flight counting, and SIGTERM taken first.

The server (uvicorn, say) closes its socket at once on SIGTERM. This catches the signal before it,
drains at the hub, and only then hands the signal on.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any, Final

import msgspec

from central_hub.sdk.context import context_of, request_context
from central_hub.sdk.meter import SERVER_ERROR_FROM
from central_hub.sdk.serving import Served
from central_hub.sdk.webhooks import BODY_BYTES_MAX as WEBHOOK_BYTES_MAX

Message = MutableMapping[str, Any]  # Any: ASGI's own message type
Receive = Callable[[], Awaitable[Any]]  # Any: Message
Send = Callable[[Any], Awaitable[None]]  # Any: Message
Application = Callable[[Any, Receive, Send], Awaitable[None]]  # Any: the scope

_JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", b"application/problem+json")


class ServiceApplication:
    """The wrapped application; give it to an ASGI server.

    Args:
        service: registered for as long as the server runs.
        application: called for everything but the health endpoint.
    """

    def __init__(self, service: Served, application: Application) -> None:
        self.service = service
        self._application = application
        self._previous: Any = None  # Any: whatever signal.getsignal returns
        self._leaving: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == self.service.config.health_endpoint:
            status, body = await self.service.health()
            await _answer(send, status, _JSON, body)
        elif self._is_webhook(scope):
            await self._take_webhook(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            await self._serve(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    def _is_webhook(self, scope: Any) -> bool:
        service = self.service
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        return service.webhooks is not None and is_post and scope["path"] == service.config.webhook_path

    async def _take_webhook(self, scope: Any, receive: Receive, send: Send) -> None:
        assert self.service.webhooks is not None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body, more, status = b"", True, 0
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > WEBHOOK_BYTES_MAX:
                status, more = 413, False
        status = status or await self.service.webhooks.take(headers, body)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        began_s = time.monotonic()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        context = context_of(headers, now_s=began_s, new_correlation=f"{random.getrandbits(64):016x}")
        if context is None or (context.deadline_s is not None and context.deadline_s <= began_s):
            await self._refuse(scope, send, is_late=context is not None)
            return
        correlation = (b"x-correlation-id", context.correlation_id.encode("ascii"))
        service = self.service

        failed = True

        async def sending(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start":
                failed = message["status"] >= SERVER_ERROR_FROM
                further = [correlation, (b"connection", b"close")] if service.draining else [correlation]
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != correlation[0]]
                message = {**message, "headers": [*kept, *further]}
            await send(message)

        service.meter.began()
        try:
            with request_context(context):
                await self._application(scope, receive, sending)
        finally:
            now_s = time.monotonic()
            is_socket = scope["type"] == "websocket"
            service.meter.ended(now_s, (now_s - began_s) * 1000, failed=failed and not is_socket)

    async def _refuse(self, scope: Any, send: Send, *, is_late: bool) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        code = "deadline_exceeded" if is_late else "invalid_context"
        detail = (
            "The caller no longer waits for this request."
            if is_late
            else "A tenant, user, tier, correlation or deadline header is malformed."
        )
        status = 504 if is_late else 400
        body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
        await _answer(send, status, _PROBLEM, body)

    async def _lifespan(self, scope: Any, receive: Receive, send: Send) -> None:
        """Start after the application started, and leave before it stops; works where it knows no lifespan."""
        answered = False

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._stop()
            return message

        async def sending(message: Message) -> None:
            nonlocal answered
            if message["type"] == "lifespan.startup.complete":
                await self._start()
            answered = True
            await send(message)

        try:
            await self._application(scope, receiving, sending)
        except Exception:
            if answered:
                raise
            # An application that knows no lifespan refuses the scope: answer in its place.
            await self._start()
            await send({"type": "lifespan.startup.complete"})
            while (await receive())["type"] != "lifespan.shutdown":
                pass
            await self._stop()
            await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        await self.service.start()
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()

            def caught(number: int, frame: FrameType | None) -> None:
                del number, frame
                loop.call_soon_threadsafe(self._leave_then_hand_on)

            self._previous = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, caught)

    async def _stop(self) -> None:
        if self._leaving is not None:
            await self._leaving
        await self.service.stop_asgi()
        self._hand_back()

    def _leave_then_hand_on(self) -> None:
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(), name="central_hub.leave")
        else:
            self._hand_back()
            os.kill(os.getpid(), signal.SIGTERM)

    async def _leave(self) -> None:
        try:
            await self.service.leave()
        finally:
            self._hand_back()
            os.kill(os.getpid(), signal.SIGTERM)

    def _hand_back(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None


async def _answer(send: Send, status: int, content_type: tuple[bytes, bytes], body: object) -> None:
    data = msgspec.json.encode(body)
    headers = [content_type, (b"content-length", str(len(data)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
