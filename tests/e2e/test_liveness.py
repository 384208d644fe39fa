"""A real hub, real processes, real signals: how soon a death is seen."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import msgspec
import pytest

from central_hub.adapters.stores import in_memory
from central_hub.app import Hub, build
from central_hub.edge.operations import Headers
from central_hub.edge.pipeline import Request
from central_hub.kernel.ids import SHARED
from central_hub.registry.model import Instance, Status
from central_hub.settings import Settings

pytestmark = pytest.mark.timing

SERVER = textwrap.dedent("""
    import asyncio, sys
    async def talk(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
        await writer.drain()
        writer.close()
    async def main():
        server = await asyncio.start_server(talk, "127.0.0.1", int(sys.argv[1]))
        print("up", flush=True)
        await server.serve_forever()
    asyncio.run(main())
""")


@asynccontextmanager
async def hub() -> AsyncIterator[Hub]:
    running = build(Settings(open=True), in_memory())
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


async def ask(running: Hub, method: str, path: str, body: object) -> int:
    async def read(limit: int) -> bytes:
        return msgspec.json.encode(body)

    headers = Headers([(b"host", b"127.0.0.1:7000"), (b"content-type", b"application/json")])
    request = Request(
        method=method, path=path, target=path.encode(), query=b"", headers=headers, origin="127.0.0.1", read_body=read
    )
    return (await running.pipeline.answer(request)).status


def seen(running: Hub, instance_id: str) -> Instance | None:
    return running.core.registry.instance(SHARED, "risk", instance_id)


async def until(holds: Callable[[], bool], within_s: float) -> float:
    begun = monotonic()
    while not holds():
        if monotonic() - begun > within_s:
            raise AssertionError(f"not within {within_s} s")
        await asyncio.sleep(0.005)
    return monotonic() - begun


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


async def test_a_killed_instance_that_is_probed_is_unhealthy_within_a_second() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 10)
        async with hub() as running:
            wanted = {"name": "risk", "host": "127.0.0.1", "port": port, "instance_id": "i-1"}
            assert await ask(running, "POST", "/services/register", wanted) == 201
            await until(lambda: (one := seen(running, "i-1")) is not None and one.status is Status.HEALTHY, 5)
            os.kill(process.pid, signal.SIGKILL)
            await until(lambda: (one := seen(running, "i-1")) is not None and one.status is Status.UNHEALTHY, 1.0)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_an_instance_with_a_three_second_lease_that_stops_beating_is_gone_within_three_and_a_half() -> None:
    async with hub() as running:
        wanted = {"name": "risk", "host": "127.0.0.1", "port": 9, "instance_id": "i-1", "lease_ttl_s": 3}
        assert await ask(running, "POST", "/services/register", wanted) == 201
        for _ in range(2):
            await asyncio.sleep(0.5)
            assert await ask(running, "PUT", "/services/risk/instances/i-1/heartbeat", {"in_flight": 1}) == 200
        took = await until(lambda: seen(running, "i-1") is None, 3.5)
        assert took >= 2.9
        assert await ask(running, "PUT", "/services/risk/instances/i-1/heartbeat", {}) == 404
