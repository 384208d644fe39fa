"""The ASGI side: hot operations straight from the table, everything else through FastAPI.

Both end in the same pipeline, so both answer the same bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi import Request as FrameworkRequest
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from central_hub.edge import streams
from central_hub.edge.operations import Headers
from central_hub.edge.pipeline import Answer, BodyTooLarge, ClientGone, Pipeline, Request


class Edge:
    """The hub's ASGI application.

    Args:
        pipeline: what answers.
        document: the OpenAPI document, served by the framework at `/openapi.json`.
        hot: serve hot operations here; otherwise the framework serves all of them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        document: Callable[[], dict[str, Any]],  # Any: JSON
        *,
        hot: bool = True,
    ) -> None:
        self._pipeline = pipeline
        self._serves_hot = hot
        self._framework = framework(pipeline, document, everything=not hot)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await _lifespan(receive, send)
            return
        if self._serves_hot:
            found = self._pipeline.table.find(scope["method"], scope["path"])
            if found is not None and found[0].hot:
                await serve(self._pipeline, scope, receive, send)
                return
        await self._framework(scope, receive, send)


async def serve(pipeline: Pipeline, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the pipeline for one ASGI request and send what it answers."""
    try:
        answer = await pipeline.answer(_request(scope, receive))
    except ClientGone:
        return
    if answer.stream is not None:
        await streams.serve(answer, scope, receive, send)
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


def framework(
    pipeline: Pipeline,
    document: Callable[[], dict[str, Any]],  # Any: JSON
    *,
    everything: bool = False,
) -> FastAPI:
    """Build the FastAPI application that hosts what is not hot, or everything.

    Its routes come from the operations table; models are msgspec structs, so its own validation
    and response models stay out of the way.
    """
    app = FastAPI(title="Central Hub", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.openapi = document  # pyright: ignore[reportAttributeAccessIssue]  # FastAPI documents this override
    for operation in pipeline.table.operations:
        if everything or not operation.hot:
            methods = ["GET", "HEAD"] if operation.method == "GET" else [operation.method]
            app.add_api_route(
                operation.path, _endpoint(pipeline), methods=methods, response_class=Response, response_model=None,
                name=operation.id, include_in_schema=False,
            )  # fmt: skip
    app.add_exception_handler(HTTPException, _unrouted(pipeline))
    return app


class _Wire(Response):
    """A framework response that sends the pipeline's header lines as they are."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(content=answer.body, status_code=answer.status)
        self.raw_headers = list(answer.headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, or its stream."""
        if self._answer.stream is not None:
            await streams.serve(self._answer, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _endpoint(pipeline: Pipeline) -> Callable[[FrameworkRequest], Awaitable[Response]]:
    async def endpoint(request: FrameworkRequest) -> Response:
        return await _through(pipeline, request)

    return endpoint


def _unrouted(pipeline: Pipeline) -> Callable[[FrameworkRequest, Exception], Awaitable[Response]]:
    async def unrouted(request: FrameworkRequest, _: Exception) -> Response:
        return await _through(pipeline, request)

    return unrouted


async def _through(pipeline: Pipeline, request: FrameworkRequest) -> Response:
    scope = request.scope
    answer = await pipeline.answer(_request(scope, request.receive))
    if scope["method"] == "HEAD":
        answer.body = b""
    return _Wire(answer)


def _request(scope: Scope, receive: Receive) -> Request:
    query: bytes = scope["query_string"]
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode("latin-1", "replace")
    return Request(
        method=scope["method"],
        path=scope["path"],
        target=raw_path + b"?" + query if query else raw_path,
        query=query,
        headers=Headers(scope["headers"]),
        origin=scope["client"][0] if scope.get("client") else "",
        read_body=_reader(receive),
    )


def _reader(receive: Receive) -> Callable[[int], Awaitable[bytes]]:
    async def read(limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks) if len(chunks) > 1 else chunk

    return read


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
