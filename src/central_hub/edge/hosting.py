"""The framework's side of the edge: FastAPI hosts what is not hot, from the same table.

Loaded on first use, in a thread: it takes half of a hub's start, and hot operations do not need it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from fastapi import Request as FrameworkRequest
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from central_hub.edge import streams
from central_hub.edge.carrying import raw_request, send_body, tell_connection
from central_hub.edge.pipeline import Answer, ClientGone, Pipeline


def framework(pipeline: Pipeline, *, everything: bool = False) -> FastAPI:
    """Build the FastAPI application that hosts what is not hot, or everything.

    Its routes come from the operations table; models are msgspec structs, so its own validation
    and response models stay out of the way.
    """
    app = FastAPI(title="Central Hub", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
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
        super().__init__(status_code=answer.status)
        self.raw_headers = list(answer.headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, or its stream."""
        if self._answer.stream is not None:
            await streams.serve(self._answer, scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send_body(self._answer.pieces, send)


class _Unsent(Response):
    """What a client gets that went away in the middle of its request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


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
    try:
        answer = await pipeline.answer(raw_request(scope, request.receive))
    except ClientGone:
        return _Unsent()
    tell_connection(scope, answer)
    if scope["method"] == "HEAD":
        answer.pieces = ()
    return _Wire(answer)
