"""Publishes what is counted of calls: batch by batch, each event once, nothing where the hub does not take it."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.call_windows import CallWindows, Report
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import read

LOOK_S: Final = 1.0
BATCH_MAX: Final = 200
OUTCOMES_AT_ONCE: Final = 1_000
RETRY_CAP_S: Final = 30.0
LAST_WORD_S: Final = 1.0
"""Seconds that the last reports of a client that closes may take."""

REFUSED: Final = (Kind.DENIED, Kind.NOT_FOUND, Kind.METHOD, Kind.MALFORMED, Kind.UNAUTHENTICATED)
TENANTS_REFUSED_MAX: Final = 10_000


class CallReporter:
    """Sends a process's reports over one link.

    Args:
        link: how the hub is reached.
        windows: what there is to report.
        source: what the events come from.
    """

    def __init__(self, link: HubLink, windows: CallWindows, source: str) -> None:
        self._link = link
        self._windows = windows
        self._source = source
        self._refused: set[str] = set()
        self.reported = 0

    async def run(self) -> None:
        """Report once a second what is due, until cancelled; where the hub does not take it, nothing more for whom."""
        backoff = Backoff(cap_s=RETRY_CAP_S)
        wait_s = LOOK_S
        while True:
            await asyncio.sleep(wait_s)
            if await self.send(self._windows.due()):
                backoff.reset()
                wait_s = LOOK_S
            else:
                wait_s = backoff.next_s(random.random(), at_least_s=LOOK_S)  # noqa: S311  # jitter

    async def last_word(self) -> None:
        """Report what is left, the open window too; once, and not for long."""
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await self.send(self._windows.due(all_of_it=True))
        except TimeoutError:
            return

    async def send(self, reports: list[Report]) -> bool:
        """Publish reports; says whether the hub was there. What it did not answer is kept and sent again."""
        by_tenant: dict[str, list[Report]] = {}
        for report in reports:
            if report.tenant_id not in self._refused:
                by_tenant.setdefault(report.tenant_id, []).append(report)
        unsent: list[Report] = []
        for tenant_id, some in by_tenant.items():
            for start in range(0, len(some), BATCH_MAX):
                if not await self._publish(tenant_id, some[start : start + BATCH_MAX]):
                    unsent += some[start : start + BATCH_MAX]
        if unsent:
            self._windows.again(unsent)
        return not unsent

    async def _publish(self, tenant_id: str, reports: list[Report]) -> bool:
        events = [
            {
                "specversion": "1.0",
                "id": one.id,
                "source": self._source,
                "type": one.type,
                "data": msgspec.to_builtins(one.data),
            }
            for one in reports
        ]
        request = self._link.protocol.publish(events)
        if tenant_id:
            request.headers["x-tenant-id"] = tenant_id
        try:
            read(await self._link.send(request))
        except HubError as error:
            if error.kind not in REFUSED:
                return False
            if len(self._refused) < TENANTS_REFUSED_MAX:
                self._refused.add(tenant_id)
            return True
        self.reported += len(reports)
        return True


async def report_outcomes(link: HubLink, outcomes: deque[msgspec.Struct], connected: Callable[[], bool]) -> None:
    """Report how calls went, once a second, until the hub says that it does not take that."""
    while True:
        await asyncio.sleep(LOOK_S)
        while outcomes and connected():
            batch = [outcomes.popleft() for _ in range(min(len(outcomes), OUTCOMES_AT_ONCE))]
            try:
                read(await link.send(link.protocol.outcomes(msgspec.to_builtins(batch))))
            except HubError as error:
                if error.kind in (Kind.NOT_FOUND, Kind.METHOD, Kind.DENIED):
                    return
                break
