"""The SDK against the real hub as a process: killed, cut and restarted under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from central_hub import BaseService, HubClient, HubError, Kind, ServiceConfig
from tests.sdk.conftest import until
from tests.sdk.fake_hub import free_port

READY_S = 20.0


class HubProcess:
    """`central-hub serve` as a child process that can be killed and started again on the same data."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = directory / "hub.out"
        self._arguments = ["serve", "--port", str(self.port), "--data", str(directory / "data"), *options]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "central_hub", *self._arguments, stdout=output, stderr=output
            )
        async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/livez"):
                        return
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()


class Cutter:
    """A TCP relay to a hub whose connections a test can cut at any byte."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> Cutter:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.sleep(0.05)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(64):
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    hub = HubProcess(tmp_path, "--open")
    await hub.start()
    yield hub
    await hub.kill()


@pytest.fixture
async def connect(hub: HubProcess, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> HubClient:
            options = {"cache_dir": tmp_path / "cache", "service_name": "tester", **options}
            client = HubClient(options.pop("base_url", hub.url), **options)
            return await stack.enter_async_context(client)

        yield make


@contextlib.asynccontextmanager
async def serving(hub: HubProcess, name: str, **options: Any) -> AsyncIterator[BaseService]:
    async with HubClient(hub.url, cache_dir="", service_name=name) as client:
        service = BaseService(
            ServiceConfig(name, "1.0", lease_ttl_s=options.pop("lease_ttl_s", 2.0), **options), client
        )

        @service.handle("POST", "/work", idempotent=True)
        async def work(_: Any) -> dict[str, str]:
            await asyncio.sleep(0.002)
            return {"by": service.instance_id}

        opened = asyncio.Event()

        async def ready() -> None:
            opened.set()

        task = asyncio.create_task(service.serve(on_ready=ready))
        await opened.wait()
        try:
            yield service
        finally:
            service.stop()
            await task


async def test_a_service_comes_is_called_and_goes(hub: HubProcess, connect: Callable[..., Any]) -> None:
    client: HubClient = await connect(tenant_id="acme", tier="free")
    async with serving(hub, "risk", depends_on=("bridge",), tags=("a",)) as service:
        assert await client.ready("risk")
        answer = await client.request("risk", "POST", "/work", json={}, idempotency_key="k")
        assert answer.json() == {"by": service.instance_id}
        listed = await client.get_service("risk")
        assert listed["instances"][0]["depends_on"] == ["bridge"]
        assert (await client.list_services())["services"].keys() == {"risk"}
    await until(lambda: not client.view()["risk"].known)
    with pytest.raises(HubError) as gone:
        await client.get_service("risk")
    assert gone.value.kind is Kind.NOT_FOUND


async def test_load_reported_by_an_instance_reaches_the_caller(hub: HubProcess, connect: Callable[..., Any]) -> None:
    client: HubClient = await connect()
    async with serving(hub, "risk", lease_ttl_s=1.0, max_in_flight=4):
        assert await client.ready("risk")

        def reported() -> bool:
            return client.get_load_balanced_endpoint("risk")["load"] is not None

        await until(reported, 10)


async def test_kill_9_of_the_hub_fails_no_call_and_loses_no_service(
    hub: HubProcess, connect: Callable[..., Any]
) -> None:
    client: HubClient = await connect()
    async with serving(hub, "risk") as first, serving(hub, "risk") as second:
        await until(lambda: first.registered and second.registered)
        assert await client.ready("risk")
        going, statuses = True, list[int]()

        async def load(caller: int) -> None:
            number = 0
            while going:
                number += 1
                answer = await client.request("risk", "POST", "/work", json={}, idempotency_key=f"{caller}-{number}")
                statuses.append(answer.status)

        loads = [asyncio.create_task(load(caller)) for caller in range(4)]
        await asyncio.sleep(0.3)
        await hub.kill()
        await until(lambda: not client.connected)
        await asyncio.sleep(3.0)
        assert client.view_age_s is not None
        assert client.view_age_s > 2
        await hub.start()
        await until(lambda: client.connected, 15)
        await asyncio.sleep(2.5)
        assert len(client.view()["risk"].instances) == 2
        going = False
        await asyncio.gather(*loads)
        assert set(statuses) == {200}
        assert len(statuses) > 500
        assert client.stats["failures"] == 0


async def test_rolling_every_instance_fails_no_call(hub: HubProcess, connect: Callable[..., Any]) -> None:
    client: HubClient = await connect()
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(serving(hub, "risk")) for _ in range(2)]
        assert await client.ready("risk")
        going, statuses = True, list[int]()

        async def load() -> None:
            while going:
                statuses.append((await client.request("risk", "POST", "/work", json={})).status)

        loads = [asyncio.create_task(load()) for _ in range(4)]
        for old in running:
            new = await stack.enter_async_context(serving(hub, "risk"))
            await until(lambda new=new: new.registered)
            old.stop()
            await until(lambda old=old: not old.registered, 10)
        going = False
        await asyncio.gather(*loads)
        assert set(statuses) == {200}
        assert client.stats["failures"] == 0


async def test_after_random_cuts_the_map_equals_the_hubs(hub: HubProcess, connect: Callable[..., Any]) -> None:
    rng = random.Random(7)
    names = ("a", "b", "c")
    writer: HubClient = await connect(cache_dir="")
    async with Cutter(hub.port) as cutter:
        reader: HubClient = await connect(base_url=cutter.url, cache_dir="", watch=names)
        highest: dict[str, int] = {}

        def never_back() -> None:
            for name, state in reader.view().items():
                assert state.revision >= highest.get(name, 0)
                highest[name] = state.revision

        for step in range(400):
            name, instance_id = rng.choice(names), f"i-{rng.randrange(6)}"
            if rng.random() < 0.6:
                await writer.register_service(
                    name=name, host="127.0.0.1", port=rng.randrange(1, 65_000), instance_id=instance_id, lease_ttl_s=60
                )
            else:
                await writer.deregister(name, instance_id)
            if step % 7 == 0:
                cutter.cut()
                await asyncio.sleep(0.03)  # time to come back: a quick hub takes all the steps before a reconnect
            never_back()
        await asyncio.sleep(0.1)

        async def truth() -> dict[str, dict[str, int]]:
            listed = (await writer.list_services())["services"]
            return {
                name: {each["instance_id"]: each["port"] for each in service["instances"]}
                for name, service in listed.items()
            }

        wanted = await truth()

        def shown() -> dict[str, dict[str, int]]:
            return {
                name: {key: each.port for key, each in state.instances.items()}
                for name, state in reader.view().items()
                if state.instances
            }

        await until(lambda: reader.connected and shown() == wanted, 15)
        never_back()
        assert reader.stats["streams"] > 5


async def test_a_tenants_private_service_is_seen_by_that_tenant_only(
    hub: HubProcess, connect: Callable[..., Any]
) -> None:
    del hub
    owner: HubClient = await connect(tenant_id="acme", tier="free", watch=["*"])
    other: HubClient = await connect(tenant_id="bank", tier="free", watch=["*"])
    await owner.register_service(
        name="secret", host="127.0.0.1", port=1, instance_id="s", tenant_id="acme", lease_ttl_s=60
    )
    await until(lambda: "secret" in owner.view())
    await asyncio.sleep(0.2)
    assert "secret" not in other.view()
    with pytest.raises(HubError) as missing:
        await other.discover("secret")
    assert missing.value.code == "service_not_found"


async def test_without_a_key_a_closed_hub_says_why(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path)
    await hub.start()
    try:
        async with HubClient(hub.url, cache_dir="", watch=["risk"]) as client:
            await until(lambda: client.last_refusal is not None)
            assert client.last_refusal is not None
            assert client.last_refusal.kind is Kind.UNAUTHENTICATED
    finally:
        await hub.kill()


async def test_sigterm_of_uvicorn_around_an_asgi_app_leaves_the_real_hub(
    hub: HubProcess, connect: Callable[..., Any], tmp_path: Path
) -> None:
    script, port = tmp_path / "app.py", free_port()
    script.write_text(
        "import sys, uvicorn\n"
        "from fastapi import FastAPI\n"
        "from central_hub import BaseService, ServiceConfig, current_context\n"
        "api = FastAPI()\n"
        "@api.get('/who')\n"
        "async def who():\n"
        "    return {'tenant': current_context().tenant_id}\n"
        "port = int(sys.argv[1])\n"
        "service = BaseService(ServiceConfig('wrapped', '1', port, lease_ttl_s=2))\n"
        "uvicorn.run(service.asgi(api), port=port, log_level='warning')\n"
    )
    environment = {**os.environ, "HUB_URL": hub.url, "HUB_CACHE_DIR": str(tmp_path / "c")}
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), str(port), env=environment)
    try:
        client: HubClient = await connect(tenant_id="acme", tier="free")
        assert await client.ready("wrapped", timeout=20)
        assert (await client.request("wrapped", "GET", "/who")).json() == {"tenant": "acme"}
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 15)
        await until(lambda: not client.view()["wrapped"].known)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
