"""Fixtures of the SDK's tests: a hub over real sockets, clients of it, and small services to call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from central_hub import HubClient, SyncHubClient
from tests.sdk.fake_hub import FakeHub, free_port


class Worker:
    """A service instance made of a bare socket server, so that a test can kill it at once."""

    def __init__(self, name: str, instance_id: str) -> None:
        self.name, self.instance_id = name, instance_id
        self.port = free_port()
        self.seen: list[dict[str, str]] = []
        self.status = 200
        self.statuses: dict[str, int] = {}
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0
        self.hang = False
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def kill(self) -> None:
        if self._runner is not None:
            for connection in list(self._runner.server.connections if self._runner.server else ()):
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.Response:
        self.seen.append({name.lower(): value for name, value in request.headers.items()})
        if self.hang:
            await asyncio.sleep(30)
        await asyncio.sleep(self.delay_s)
        status = self.statuses.get(request.headers.get("x-tenant-id", ""), self.status)
        body = {"by": self.instance_id, "method": request.method, "body": (await request.read()).decode()}
        return web.json_response(body, status=status, headers=self.headers)


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    hub = FakeHub()
    await hub.start()
    yield hub
    await hub.stop()


@pytest.fixture
async def worker(hub: FakeHub) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def make(name: str, instance_id: str, **members: Any) -> Worker:
            worker = Worker(name, instance_id)
            await worker.start()
            stack.push_async_callback(worker.kill)
            hub.put(name, instance_id, port=worker.port, endpoint=f"http://127.0.0.1:{worker.port}", **members)
            return worker

        yield make


@pytest.fixture
async def connect(hub: FakeHub, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> HubClient:
            options = {"cache_dir": tmp_path / "cache", "service_name": "tester", **options}
            client = HubClient(options.pop("base_url", hub.url), **options)
            await stack.enter_async_context(client)
            return client

        yield make


IN_MEMORY = ("resolve", "get_load_balanced_endpoint", "get_circuit_state", "circuit_states", "acting_for", "view")


class AsyncFace:
    """The blocking face behind the async one's names, so that one suite tests both."""

    def __init__(self, sync: SyncHubClient) -> None:
        self._sync = sync

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._sync, name)
        if name in IN_MEMORY or not callable(value):
            return value

        async def in_a_thread(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(value, *args, **kwargs)

        return in_a_thread


@pytest.fixture(params=["async", "sync"])
async def face(request: pytest.FixtureRequest, hub: FakeHub, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> Any:
            options = {"cache_dir": tmp_path / "cache", "service_name": "tester", **options}
            if request.param == "async":
                return await stack.enter_async_context(HubClient(hub.url, **options))
            sync = SyncHubClient(hub.url, **options)
            await asyncio.to_thread(sync.open)
            stack.push_async_callback(asyncio.to_thread, sync.close)
            return AsyncFace(sync)

        yield make


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for a condition that other tasks bring about."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
