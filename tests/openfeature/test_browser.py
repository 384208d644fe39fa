"""OpenFeature's web provider, unmodified, in Chromium: a page of another origin than the hub's.

The browser enforces what the hub says of other origins, so these hold the hub's cross-origin answers too.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.openfeature.browser import Page, chromium, opened, served_page
from tests.openfeature.flag_cases import Case, cases
from tests.openfeature.place import INSTALLED, Place, asked_of, check, running_place

CASES = cases()
STREAM_S = 10.0
MISSING = [
    *(() if chromium() else ("Chromium (apt-get install chromium-headless-shell)",)),
    *(() if INSTALLED.is_dir() else ("the JavaScript providers (install nodejs and npm, then make .venv/.clients)",)),
]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason="not here: " + " and ".join(MISSING)),
    pytest.mark.timeout(150),
]


@asynccontextmanager
async def meeting(directory: Path, *, let_in: bool = True) -> AsyncGenerator[tuple[Page, Place]]:
    """Serve a page, and a hub that lets it in or not."""
    async with served_page() as page:
        origin = page.origin if let_in else "https://app.example.com"
        running = running_place(directory, "--cross-origins", origin)
        place = await asyncio.to_thread(running.__enter__)
        try:
            yield page, place
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


def told(place: Place, asked: list[Case], **more: Any) -> dict[str, Any]:
    return {"url": place.hub.url, "key": place.staging, "cases": [asked_of(one) for one in asked], **more}


async def test_the_web_provider_in_a_browser_gets_what_is_meant(tmp_path: Path) -> None:
    assert len(CASES) >= 100
    async with meeting(tmp_path) as (page, place):
        page.asked = told(place, CASES)
        async with opened(page, tmp_path / "profile"):
            answers = await page.heard("answers")
    assert len(answers) == len(CASES)
    for case, answer in zip(CASES, answers, strict=True):
        check(case, answer)


async def test_a_page_hears_of_a_change_over_its_stream_and_asks_again(tmp_path: Path) -> None:
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
    asked = [Case("live", "boolean", False, "STATIC"), Case("number.plain", "number", 1.0, "STATIC")]
    async with meeting(tmp_path) as (page, place):
        hub = place.hub
        await asyncio.to_thread(hub.must, "PUT", "/flags/live", flag)
        page.asked = told(place, asked, watch=True)
        async with opened(page, tmp_path / "profile"):
            await page.heard("ready")
            async with asyncio.timeout(STREAM_S):
                while "central_hub_flag_streams 1" not in await asyncio.to_thread(hub.metrics):
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(hub.must, "PUT", "/flags/live", {**flag, "default": "on"}, if_match="*")
            answers = await page.heard("answers")
    assert [one["value"] for one in answers[:2]] == [False, 1]
    assert answers[2] == {"flagsChanged": ["live"]}
    assert [one["value"] for one in answers[3:]] == [True, 1]


async def test_a_page_reads_configuration_and_asks_again_by_its_entity_tag(tmp_path: Path) -> None:
    async with meeting(tmp_path) as (page, place):
        page.asked = {"url": place.hub.url, "key": place.staging, "tenant": "acme"}
        async with opened(page, tmp_path / "profile"):
            answer = await page.heard("answers")
    assert (answer["status"], answer["again"], answer["tier"]) == (200, 304, "pro")
    assert answer["etag"].startswith('"')


async def test_a_page_of_an_origin_that_was_not_named_reads_nothing(tmp_path: Path) -> None:
    async with meeting(tmp_path, let_in=False) as (page, place):
        page.asked = {"url": place.hub.url, "key": place.staging, "tenant": "acme"}
        async with opened(page, tmp_path / "profile"):
            assert "Failed to fetch" in await page.heard("failure")
        page.asked = told(place, CASES[:1])
        shutil.rmtree(tmp_path / "profile", ignore_errors=True)
        async with opened(page, tmp_path / "profile"):
            assert "OFREP request failed" in await page.heard("failure")
