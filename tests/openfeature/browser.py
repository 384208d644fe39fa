"""Chromium without a window, and the server of the page that it opens: the page asks, and says what it was told."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from tests.openfeature.place import CLIENTS, INSTALLED
from tools.system_programs import find

PROGRAMS: Final = ("chromium-headless-shell", "chromium")
"""Debian's packages: the shell alone, or the whole browser."""
MODULE_TYPES: Final = {".js": "text/javascript", ".mjs": "text/javascript"}
SAID_S: Final = 60.0
STOP_S: Final = 10.0
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--no-first-run", "--no-default-browser-check",
)  # fmt: skip


def chromium() -> Path | None:
    """Return where Chromium is, None when it is not here."""
    return next((found for program in PROGRAMS if (found := find(program)) is not None), None)


class Page:
    """One page of its own origin: what it is to ask, and what it said."""

    def __init__(self) -> None:
        self.origin = ""
        self.asked: dict[str, Any] = {}
        self.said: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def heard(self, what: str) -> Any:
        """Return what the page says next, which has to be this."""
        async with asyncio.timeout(SAID_S):
            kind, body = await self.said.get()
        assert kind == what, body
        return body

    async def question(self, _: web.Request) -> web.Response:
        """Tell the page what to ask."""
        return web.json_response(self.asked)

    async def answer(self, request: web.Request) -> web.Response:
        """Hear what the page was told."""
        self.said.put_nowait((request.match_info["what"], json.loads(await request.read())))
        return web.Response(status=204)


@asynccontextmanager
async def served_page() -> AsyncGenerator[Page]:
    """Serve the page, and the published modules as they are, on a free port."""
    page, app = Page(), web.Application()
    app.router.add_get("/asked", page.question)
    app.router.add_post("/said/{what}", page.answer)
    app.router.add_get("/{folder:modules|clients}/{path:.+}", _file)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        page.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield page
    finally:
        await runner.cleanup()


async def _file(request: web.Request) -> web.StreamResponse:
    root = (INSTALLED if request.match_info["folder"] == "modules" else CLIENTS).resolve()
    path = (root / request.match_info["path"]).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise web.HTTPNotFound
    headers = {"content-type": MODULE_TYPES[path.suffix]} if path.suffix in MODULE_TYPES else {}
    return web.FileResponse(path, headers=headers)


@asynccontextmanager
async def opened(page: Page, profile: Path) -> AsyncGenerator[None]:
    """Open the page in a browser with a profile of its own, until the block ends."""
    program = chromium()
    assert program is not None
    command = [str(program), *FLAGS, f"--user-data-dir={profile}", f"{page.origin}/clients/page.html"]
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
