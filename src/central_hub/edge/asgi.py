"""The ASGI side: hot operations straight from the table, everything else through FastAPI.

Both end in the same pipeline, so both answer the same bytes. The framework is loaded by a thread
while the hub already serves what is hot; whoever needs it earlier waits for it.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from central_hub.edge import sockets, streams
from central_hub.edge.carrying import raw_request, send_body, tell_connection
from central_hub.edge.operations import Found
from central_hub.edge.pipeline import ClientGone, Pipeline

HOSTING: Final = "central_hub.edge.hosting"


class Edge:
    """The hub's ASGI application.

    Args:
        pipeline: what answers.
        hot: serve hot operations here; otherwise the framework serves all of them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        hot: bool = True,
    ) -> None:
        self._pipeline = pipeline
        self._serves_hot = hot
        self._framework: ASGIApp | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await _lifespan(receive, send)
            elif scope["type"] == "websocket":
                await sockets.serve(self._pipeline, scope, receive, send)
            return
        if self._serves_hot:
            found = self._pipeline.table.find(scope["method"], scope["path"])
            if found is not None and found[0].hot:
                await serve(self._pipeline, scope, receive, send, found)
                return
        framework = self._framework or await self.load()
        await framework(scope, receive, send)

    async def load(self) -> ASGIApp:
        """Load the framework if it is not there yet; called when the hub is up, and by who cannot wait for that."""
        async with self._loading:
            framework = self._framework
            if framework is None:
                hosting = await asyncio.to_thread(import_module, HOSTING)
                framework = hosting.framework(self._pipeline, everything=not self._serves_hot)
                self._framework = framework
            return framework


async def serve(pipeline: Pipeline, scope: Scope, receive: Receive, send: Send, found: Found | None = None) -> None:
    """Run the pipeline for one ASGI request and send what it answers."""
    try:
        answer = await pipeline.answer(raw_request(scope, receive, found))
    except ClientGone:
        return
    tell_connection(scope, answer)
    if answer.stream is not None:
        await streams.serve(answer, scope, receive, send)
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send_body(() if scope["method"] == "HEAD" else answer.pieces, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
