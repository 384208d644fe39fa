"""What a hub refuses in the background is said in the log, once, with the way out; and so is that it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from central_hub import BaseService, HubClient, ServiceConfig
from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk import registration
from tests.sdk.fake_hub import FakeHub

WITHIN_S = 10.0


async def said(log: pytest.LogCaptureFixture, words: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while words not in log.text:
            await asyncio.sleep(0.01)


def test_an_error_ends_with_the_next_step() -> None:
    error = HubError("scope_missing", Kind.DENIED, "It needs a scope.", next_step="Use another key.")
    assert str(error) == "scope_missing: It needs a scope. Use another key."
    assert str(HubError("contended", Kind.CONFLICT, "Too many.")) == "contended: Too many."


async def test_a_registration_that_is_refused_is_told_once_and_so_is_its_end(
    hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "REFUSED_WAIT_S", 0.02)
    monkeypatch.setattr(registration, "RETRY_CAP_S", 0.02)
    caplog.set_level(logging.WARNING, "central_hub.sdk")
    hub.refuse = (422, "invalid_name")
    client = HubClient(hub.url, cache_dir=tmp_path)
    service = BaseService(ServiceConfig("Bad", "1.0", port=0, instance_id="b-1"), hub=client)
    running = asyncio.create_task(service.serve())
    try:
        await said(caplog, "Bad (b-1) cannot be kept registered, trying again: invalid_name")
        asked = len(hub.requests)
        async with asyncio.timeout(WITHIN_S):
            while len(hub.requests) < asked + 3:
                await asyncio.sleep(0.01)
        assert caplog.text.count("cannot be kept registered") == 1
        hub.refuse = None
        await said(caplog, "Bad (b-1) is registered")
    finally:
        service.stop()
        await asyncio.wait_for(running, WITHIN_S)
        await client.close()


async def test_a_stream_that_is_refused_is_told_once_and_so_is_its_end(
    hub: FakeHub, connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "central_hub.sdk")
    await hub.stop()
    await connect(watch=["risk"])
    await said(caplog, "the hub cannot be followed, trying again: hub_unreachable")
    await hub.start()
    await said(caplog, "the hub is followed again")
    assert caplog.text.count("cannot be followed") == 1
