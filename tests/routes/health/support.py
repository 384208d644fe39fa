"""The edge around a table of operations: real pipeline, one caller that a test chooses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import uvicorn

from central_hub.edge.asgi import Edge
from central_hub.edge.guard import Claims
from central_hub.edge.operations import Headers, Operation, Table
from central_hub.edge.pipeline import Answer, Pipeline, Request
from central_hub.edge.protection import RateProtection
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.seq import HubSeq


class OneCaller:
    """Authentication that takes everyone for the caller a test set."""

    def __init__(self, ctx: TenantContext) -> None:
        self.ctx = ctx

    def authenticate(self, headers: Headers, claims: Claims, *, origin: str, method: str) -> TenantContext:
        return self.ctx

    def assume(self, ctx: TenantContext, tenant_id: str) -> TenantContext:
        return ctx

    def may_assert(self, ctx: TenantContext, tenant_id: str) -> bool:
        return False

    def denied(self, ctx: TenantContext | None, error: HubError, *, operation: str, origin: str) -> str:
        return "decision"

    def position_of(self, ctx: TenantContext) -> HubSeq:
        return HubSeq("inc", 0, 0)

    @property
    def may_be_behind(self) -> bool:
        return False

    async def reached(self, ctx: TenantContext, position: str) -> bool | None:
        return True


@dataclass
class Answered:
    status: int
    body: Any
    headers: dict[str, str]


class Client:
    """Asks the pipeline without sockets."""

    def __init__(self, operations: Sequence[Operation], ctx: TenantContext) -> None:
        self.caller = OneCaller(ctx)
        self.protection = RateProtection(ManualClock(), reads_per_s=10.0, writes_per_s=10.0)
        self.pipeline = Pipeline(Table(operations), self.caller, self.caller, self.caller, self.protection)

    def exhaust(self) -> None:
        """Use up what the hub grants the caller."""
        for writes in (False, True):
            with suppress(HubError):
                while True:
                    self.protection.admit(self.caller.ctx, writes=writes)

    async def ask(self, method: str, path: str, body: object = None, *, query: str = "") -> Answered:
        async def read(limit: int) -> bytes:
            return b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)

        request = Request(
            method=method,
            path=path,
            query=query.encode(),
            target=path.encode(),
            headers=Headers([(b"content-type", b"application/json")]),
            origin="127.0.0.1",
            read_body=read,
        )
        answer: Answer = await self.pipeline.answer(request)
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        media = headers.get("content-type", "")
        shown = msgspec.json.decode(answer.body) if "json" in media and answer.body else answer.body
        return Answered(answer.status, shown, headers)


@asynccontextmanager
async def served(client: Client) -> AsyncIterator[int]:
    """Serve the pipeline on a free port of loopback."""
    listening = socket.create_server(("127.0.0.1", 0))
    edge = Edge(client.pipeline)
    server = uvicorn.Server(uvicorn.Config(edge, lifespan="off", log_level="error", http="httptools"))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)
