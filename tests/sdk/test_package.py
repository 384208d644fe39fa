"""The package as users meet it: names, import, and the examples as printed."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import central_hub
from tests.sdk.conftest import until
from tests.sdk.fake_hub import FakeHub, free_port

ROOT = Path(__file__).parents[2]


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert list(central_hub.__all__) == sorted(central_hub.__all__)
    for name in central_hub.__all__:
        assert getattr(central_hub, name).__doc__
    assert set(central_hub.__all__) <= set(dir(central_hub))
    with pytest.raises(AttributeError):
        _ = central_hub.ErrorDNA  # type: ignore[attr-defined]


def test_importing_loads_neither_server_nor_aiohttp() -> None:
    code = (
        "import sys, central_hub\n"
        "light = set(sys.modules)\n"
        "from central_hub import *\n"
        "HubClient(cache_dir=''), BaseService(ServiceConfig('a', '1', 2))\n"
        "heavy = {'aiohttp', 'fastapi', 'pydantic', 'apsw', 'uvicorn', 'structlog', 'typer', 'rich', 'cryptography'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert 'asyncio' not in light and 'msgspec' not in light\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


async def run_example(name: str, *arguments: str, hub: FakeHub, cache: Path) -> asyncio.subprocess.Process:
    environment = {**os.environ, "HUB_URL": hub.url, "HUB_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    return await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / name), *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )


@pytest.mark.parametrize("caller", ["call_risk.py", "call_risk_blocking.py"])
async def test_the_examples_work_together(hub: FakeHub, tmp_path: Path, caller: str) -> None:
    service = await run_example("risk_service.py", hub=hub, cache=tmp_path / "service")
    try:
        await until(lambda: "risk-management" in hub.services, 20)
        calling = await run_example(caller, hub=hub, cache=tmp_path / "caller")
        output = (await asyncio.wait_for(calling.communicate(), 30))[0].decode()
        assert calling.returncode == 0
        assert "'approved': True" in output
        assert "company_abc" in output
    finally:
        service.terminate()
        assert await asyncio.wait_for(service.wait(), 20) == 0
    assert not hub.services["risk-management"].instances


async def test_the_asgi_example_serves_its_tenant(hub: FakeHub, tmp_path: Path) -> None:
    port = free_port()
    service = await run_example("wrap_asgi.py", str(port), hub=hub, cache=tmp_path)
    try:
        await until(lambda: "user-management" in hub.services, 20)
        async with central_hub.HubClient(hub.url, cache_dir="", tenant_id="acme", user_id="ann") as client:
            answer = await client.request("user-management", "GET", "/users/me")
        assert answer.json() == {"tenant": "acme", "user": "ann"}
    finally:
        service.terminate()
        await asyncio.wait_for(service.wait(), 20)
    assert not hub.services["user-management"].instances


def test_the_how_to_names_what_exists() -> None:
    text = (ROOT / "docs" / "howto" / "use-the-sdk.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "use-the-sdk.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for names in re.findall(r"from central_hub import (.+)", block):
            assert {name.strip() for name in names.split(",")} <= set(central_hub.__all__)
    missing = text.partition("## Not there yet")[2].partition("come with")[0]
    for name in re.findall(r"`(\w+)`", missing):
        assert name not in central_hub.__all__
        assert not hasattr(central_hub.HubClient, name)
