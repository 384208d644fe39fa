"""What a service says of its configuration to a hub that does not take it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from central_hub import HubClient
from central_hub.sdk.meter import Meter
from central_hub.sdk.reporting import Reporter
from tests.sdk.fake_hub import FakeHub


async def test_a_hub_of_before_reports_is_not_asked_again(
    hub: FakeHub, connect: Callable[..., Awaitable[HubClient]]
) -> None:
    client = await connect()
    reporter = Reporter(client._link, "risk", "i-1", "", Meter())  # pyright: ignore[reportPrivateUsage]
    hub.refuse = (404, "no_such_path")
    reporter.say("etag", "")
    await asyncio.wait_for(reporter.run(), 5)
    assert reporter.reports == 0
