"""The framework comes when it is needed and not before."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, sys
from central_hub.adapters.stores import in_memory
from central_hub.app import build
from central_hub.settings import Settings

async def ask(edge, path):
    sent = []
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)}
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    await edge(scope, receive, send)
    return sent[0]["status"]

async def main():
    edge = build(Settings(open=True), in_memory()).edge
    for path in ("/livez", "/services/discover/nothing", "/tenants"):
        print(path, await ask(edge, path), "fastapi" in sys.modules)

asyncio.run(main())
"""


def test_hot_operations_are_answered_before_the_framework_is_loaded_and_the_others_load_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        "/livez 200 False",
        "/services/discover/nothing 404 False",
        "/tenants 200 True",
    ], done.stderr
