"""BaseService: registered, renewed, serving with a context, and gone without losing a call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from central_hub import BaseService, HubClient, HubError, ServiceConfig, current_context
from central_hub.sdk.idempotency import Once
from tests.sdk.conftest import until
from tests.sdk.fake_hub import FakeHub, free_port

Make = Callable[..., Any]


class Risk(BaseService):
    """A service that says who it worked for, and slowly where asked."""

    def __init__(self, config: ServiceConfig, hub: HubClient | None = None) -> None:
        super().__init__(config, hub)
        self.executed = 0
        self.handle("POST", "/validate", idempotent=True)(self.validate)
        self.handle("GET", "/slow/{ms}")(self.slow)

    async def validate(self, request: web.Request) -> dict[str, Any]:
        self.executed += 1
        context = current_context()
        assert context is not None
        await asyncio.sleep(0.02)
        return {"tenant": context.tenant_id, "body": (await request.json())["size"], "n": self.executed}

    async def slow(self, request: web.Request) -> dict[str, Any]:
        await asyncio.sleep(int(request.match_info["ms"]) / 1000)
        return {"done": True}


@pytest.fixture
async def serve(connect: Make) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> tuple[Risk, asyncio.Task[None]]:
            hub = options.pop("hub", None) or await connect()
            config = ServiceConfig("risk", "1.0", options.pop("port", 0), **{"lease_ttl_s": 0.6, **options})
            service = Risk(config, hub)
            open_ = asyncio.Event()

            async def ready() -> None:
                open_.set()

            task = asyncio.create_task(service.serve(on_ready=ready))

            async def end() -> None:
                service.stop()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

            stack.push_async_callback(end)
            await open_.wait()
            return service, task

        yield make


async def test_it_registers_renews_and_serves_its_tenant(hub: FakeHub, serve: Make, connect: Make) -> None:
    service, _ = await serve(max_in_flight=10)
    await until(lambda: len(hub.heartbeats) >= 2)
    assert hub.services["risk"].instances[service.instance_id]["version"] == "1.0"
    client: HubClient = await connect(tenant_id="acme")
    response = await client.request("risk", "POST", "/validate", json={"size": 7})
    assert response.json() == {"tenant": "acme", "body": 7, "n": 1}
    assert response.headers["x-correlation-id"]
    await until(lambda: "latency_ms_p95" in hub.heartbeats[-1])
    assert hub.heartbeats[-1]["in_flight"] == 0
    assert hub.heartbeats[-1]["load"] == 0.0


async def test_it_registers_again_when_the_hub_forgot_it(hub: FakeHub, serve: Make) -> None:
    service, _ = await serve()
    await until(lambda: service.registered)
    hub.remove("risk", service.instance_id)
    await until(lambda: service.instance_id in hub.services["risk"].instances)
    registrar = service.registrar
    assert registrar is not None
    await until(lambda: registrar.registrations == 2)


async def test_it_serves_while_the_hub_is_away_and_registers_when_it_is_back(
    hub: FakeHub, serve: Make, connect: Make
) -> None:
    await hub.stop()
    service, _ = await serve()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{service.port}/slow/1") as response,
    ):
        assert response.status == 200
    assert not service.registered
    await hub.start()
    await until(lambda: service.registered, 10)


async def test_its_health_says_what_it_is(serve: Make) -> None:
    service, _ = await serve()
    await until(lambda: service.registered)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{service.port}/health") as response:
            body = await response.json()
            assert (response.status, body["status"], body["registered"]) == (200, "healthy", True)
        service.draining = True
        async with session.get(f"http://127.0.0.1:{service.port}/health") as response:
            assert (response.status, (await response.json())["status"]) == (503, "draining")
    service.draining = False


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x-tenant-id": "a,b"}, 400, "invalid_context"),
        ({"x-tenant-id": "a", "x-company-id": "b"}, 400, "invalid_context"),
        ({"x-request-deadline-ms": "0"}, 504, "deadline_exceeded"),
    ],
)
async def test_a_request_it_cannot_serve_is_refused(
    serve: Make, headers: dict[str, str], status: int, code: str
) -> None:
    service, _ = await serve()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{service.port}/slow/1", headers=headers) as response,
    ):
        assert (response.status, (await response.json(content_type=None))["code"]) == (status, code)


async def test_the_same_key_is_executed_once_for_each_tenant(serve: Make, connect: Make) -> None:
    service, _ = await serve()
    client: HubClient = await connect()
    await client.ready("risk")

    async def send(tenant_id: str, size: int) -> tuple[int, Any]:
        with client.acting_for(tenant_id):
            answer = await client.request("risk", "POST", "/validate", json={"size": size}, idempotency_key="k")
        return answer.status, answer.json()

    answers = await asyncio.gather(*(send("acme", 1) for _ in range(5)))
    assert service.executed == 1
    assert all(answer == answers[0] for answer in answers)
    assert (await send("bank", 1))[1]["tenant"] == "bank"
    assert service.executed == 2
    assert (await send("acme", 2))[0] == 422


async def test_a_context_is_handed_on_to_what_the_service_calls(worker: Make, connect: Make, serve: Make) -> None:
    bridge = await worker("bridge", "b-1")
    service, _ = await serve(hub=await connect(service_name="risk"))

    async def forward(request: web.Request) -> dict[str, Any]:
        answer = await service.hub.request("bridge", "GET", "/data")
        return {"status": answer.status}

    other = Risk(ServiceConfig("relay", "1", 0, lease_ttl_s=1.0), await connect(service_name="relay"))
    other.handle("GET", "/relay")(forward)
    opened = asyncio.Event()

    async def ready() -> None:
        opened.set()

    task = asyncio.create_task(other.serve(on_ready=ready))
    await opened.wait()
    client: HubClient = await connect(tenant_id="acme", user_id="ann")
    await client.ready("relay")
    await client.request("relay", "GET", "/relay", timeout=2)
    assert bridge.seen[0]["x-tenant-id"] == "acme"
    assert bridge.seen[0]["x-user-id"] == "ann"
    assert int(bridge.seen[0]["x-request-deadline-ms"]) <= 2_000
    other.stop()
    await task


async def test_leaving_drains_waits_for_requests_and_deregisters(hub: FakeHub, serve: Make, connect: Make) -> None:
    service, task = await serve()
    client: HubClient = await connect()
    assert await client.ready("risk")
    await until(lambda: service.registered)
    slow = asyncio.create_task(client.request("risk", "GET", "/slow/400"))
    await until(lambda: service.meter.in_flight == 1)
    service.stop()
    await until(lambda: hub.services["risk"].instances[service.instance_id]["draining"])
    assert not slow.done()
    await task
    assert (await slow).status == 200
    assert service.unfinished == 0
    assert service.instance_id not in hub.services["risk"].instances


async def test_leaving_ends_at_the_deadline_and_says_what_was_cut(serve: Make, connect: Make) -> None:
    service, task = await serve(drain_s=0.1)
    client: HubClient = await connect()
    await client.ready("risk")
    slow = asyncio.create_task(client.request("risk", "POST", "/slow/1", timeout=20))
    stuck = asyncio.create_task(client.request("risk", "GET", "/slow/20000", timeout=3))
    await until(lambda: service.meter.in_flight >= 1)
    service.stop()
    await asyncio.wait_for(task, 10)
    assert service.unfinished == 1
    for call in (slow, stuck):
        with contextlib.suppress(HubError):
            await call


async def test_rolling_a_service_loses_no_call(hub: FakeHub, serve: Make, connect: Make) -> None:
    first, first_task = await serve()
    second, _ = await serve()
    client: HubClient = await connect()
    assert await client.ready("risk")
    await until(lambda: first.registered and second.registered and len(client.view()["risk"].instances) == 2)
    going = True

    async def load() -> list[int]:
        statuses: list[int] = []
        while going:
            statuses.append((await client.request("risk", "GET", "/slow/2")).status)
        return statuses

    loads = [asyncio.create_task(load()) for _ in range(8)]
    await asyncio.sleep(0.2)
    first.stop()
    await first_task
    third, _ = await serve()
    await until(lambda: third.registered)
    await asyncio.sleep(0.2)
    going = False
    statuses = [status for done in await asyncio.gather(*loads) for status in done]
    assert set(statuses) == {200}
    assert len(statuses) > 50
    assert client.stats["failures"] == 0


async def test_the_instance_id_is_kept_for_the_next_run_at_this_port(serve: Make, connect: Make) -> None:
    port = free_port()
    first, task = await serve(port=port)
    first.stop()
    await task
    second, _ = await serve(port=port)
    assert first.instance_id == second.instance_id


async def test_once_forgets_failures_and_the_oldest() -> None:
    once: Once[int] = Once(keys_max=3)
    runs: list[str] = []

    async def run(key: str, result: int | None = 1) -> int:
        async def execute() -> int:
            runs.append(key)
            if result is None:
                raise ValueError(key)
            return result

        return await once.run("t", "POST /", key, b"", execute, keep=lambda value: value < 500)

    with pytest.raises(ValueError):
        await run("a", None)
    assert await run("a", 500) == 500
    assert await run("a") == 1
    assert await run("a") == 1
    assert runs == ["a", "a", "a"]
    for key in "bcd":
        await run(key)
    await run("a")
    assert runs[-1] == "a"
    with pytest.raises(HubError, match="invalid_idempotency_key"):
        await run("k" * 129)


async def test_an_application_that_fails_to_start_is_not_registered(hub: FakeHub, connect: Make) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        del scope
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    service = BaseService(ServiceConfig("broken", "1", 1), await connect())
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    with pytest.raises(RuntimeError):
        await service.asgi(broken)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.failed"]
    assert "broken" not in hub.services


ASGI_PROGRAM = """
import asyncio, sys
from central_hub import BaseService, ServiceConfig, current_context

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    await asyncio.sleep(0.3)
    context = current_context()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": (context.tenant_id or "-").encode()})

if __name__ == "__main__":
    import uvicorn
    service = BaseService(ServiceConfig("wrapped", "1", int(sys.argv[1]), lease_ttl_s=1.0))
    uvicorn.run(service.asgi(app), port=int(sys.argv[1]), log_level="warning")
"""

STANDALONE_PROGRAM = """
import asyncio, sys
from central_hub import BaseService, ServiceConfig, current_context
from aiohttp import web

service = BaseService(ServiceConfig("wrapped", "1", int(sys.argv[1]), lease_ttl_s=1.0))

@service.handle("GET", "/")
async def answer(request):
    await asyncio.sleep(0.3)
    return web.Response(text=current_context().tenant_id or "-")

service.run()
"""


@pytest.mark.parametrize("program", [ASGI_PROGRAM, STANDALONE_PROGRAM], ids=["asgi", "standalone"])
async def test_sigterm_drains_a_process_before_its_socket_closes(
    hub: FakeHub, connect: Make, tmp_path: Path, program: str
) -> None:
    script = tmp_path / "service.py"
    script.write_text(program)
    port = free_port()
    environment = {**os.environ, "HUB_URL": hub.url, "HUB_CACHE_DIR": str(tmp_path / "c")}
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), str(port), env=environment)
    try:
        client: HubClient = await connect(tenant_id="acme")
        assert await client.ready("wrapped", timeout=20)
        call = asyncio.create_task(client.request("wrapped", "GET", "/"))
        await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        (instance_id,) = hub.services["wrapped"].instances
        await until(lambda: instance_id in hub.drains)
        assert (await call).text() == "acme"
        assert await asyncio.wait_for(process.wait(), 10) in (0, -signal.SIGTERM)
        assert not hub.services["wrapped"].instances
        assert client.stats["failures"] == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        service = BaseService(ServiceConfig("risk", port=port))
        with pytest.raises(HubError) as refused:
            await service.serve()
    assert refused.value.code == "address_unavailable"
    assert refused.value.message == f"'risk' cannot listen on 127.0.0.1:{port}: another program listens there."
    assert f"sport = :{port}" in refused.value.next_step
    assert not service.registered


async def test_an_address_that_the_machine_has_not_is_said_with_what_to_do() -> None:
    with pytest.raises(HubError, match="this machine has no such address") as refused:
        await BaseService(ServiceConfig("risk", host="192.0.2.1")).serve()
    assert "`listen`" in refused.value.next_step
