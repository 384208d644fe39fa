"""Journals that a service was seen looking up another one for the first time: an event, off the request's path."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import structlog

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import HUB_ACTOR, Category
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.registry.model import ServiceDependencyResolved

WAITING_MAX: Final = 1_000
"""Pairs that wait to be journaled; more are counted and not journaled."""

RETRY_S: Final = 5.0

_log = structlog.get_logger("central_hub.registry")


class FirstLookups:
    """Takes pairs as they are first seen and appends an event for each.

    Args:
        sequencer: makes events durable. While it cannot, pairs wait here.
    """

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._waiting: deque[tuple[DomainId, str, str]] = deque()
        self._wake = asyncio.Event()
        self.dropped = 0

    def seen(self, domain: DomainId, caller: str, service: str) -> None:
        """Take a pair; never blocks."""
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.append((domain, caller, service))
        self._wake.set()

    async def run(self) -> None:
        """Journal pairs until cancelled."""
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            domain, caller, service = self._waiting[0]
            try:
                await self._journal(domain, caller, service)
            except HubError as error:
                _log.warning("registry.dependency_unjournaled", tenant=domain, code=error.code)
                await asyncio.sleep(RETRY_S)
                continue
            self._waiting.popleft()

    async def _journal(self, domain: DomainId, caller: str, service: str) -> None:
        fact = ServiceDependencyResolved(caller=caller, service=service)

        def decide(tx: Tx) -> None:
            tx.append(domain, fact, streams=(f"dependency/{caller}/{service}",), category=Category.EVENT)

        await self._sequencer.submit(HUB_ACTOR, (domain,), decide)
