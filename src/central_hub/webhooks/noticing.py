"""Notices that a tenant's configuration or flags are something else, where an endpoint wants to know, and records it.

What a tenant gets hangs on more than its own facts: on plans, on the platform's layers, on time. A record in the
tenant's own log makes of a change of any of them an event with a place and an id, which every endpoint is told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Final

import structlog

from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.records import HUB_ACTOR, Applied
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.webhooks.model import VALUES_SWEEP_S, ValueKey
from central_hub.webhooks.ports import Values
from central_hub.webhooks.usecases import Webhooks
from central_hub.webhooks.view import WebhooksView

AT_ONCE: Final = 32
"""Changes recorded together: they share a commit."""
WORK: Final = "noticing"
"""Looking at a tenant's values, as work of one of several hubs."""

_log = structlog.get_logger("central_hub.webhooks")


class Noticing:
    """Looks at the values that endpoints are told of.

    Args:
        view: which those are, and what was told of them.
        webhooks: proposes what is to be recorded.
        values: what they are now.
        sequencer: makes it durable.
        clock: wall time, by which grants end.
        concerning: names of facts after which a tenant's values may be others; told by the platform, everybody's.
        ownership: which hub looks at a tenant's values.
    """

    def __init__(
        self,
        view: WebhooksView,
        webhooks: Webhooks,
        values: Values,
        sequencer: Sequencer,
        clock: Clock,
        concerning: frozenset[str],
        ownership: Ownership | None = None,
    ) -> None:
        self._view = view
        self._webhooks = webhooks
        self._values = values
        self._sequencer = sequencer
        self._clock = clock
        self._concerning = concerning
        self._ending: dict[DomainId, float] = {}
        self._again: dict[DomainId, None] = {}
        self._dirty: dict[DomainId, None] = {}
        self._wake = asyncio.Event()
        self._ownership = ownership or Alone()
        self._ownership.on_change(self.mark_all)
        self.noticed = 0

    def applied(self, batch: Sequence[Applied]) -> None:
        """Take note of what may have changed values; a listener of the runner."""
        for one in batch:
            if one.type in self._concerning:
                self._mark(one.domain)

    async def run(self) -> None:
        """Look until cancelled: after facts at once, and when something of a tenant's ends by the clock.

        What could not be recorded because the store was away is tried again after `VALUES_SWEEP_S`.
        """
        self.mark_all()  # what changed while no hub ran
        while True:
            try:
                async with asyncio.timeout(VALUES_SWEEP_S):
                    await self._wake.wait()
            except TimeoutError:
                self.sweep()
            self._wake.clear()
            await self.look()

    def mark_all(self) -> None:
        """Have every value looked at again."""
        self._mark(PLATFORM)

    def sweep(self) -> None:
        """Have those looked at again for whom something has ended, or could not be recorded."""
        now_ms = self._clock.now_ms()
        ended = [domain for domain, until_ms in self._ending.items() if until_ms <= now_ms]
        again, self._again = self._again, {}
        for domain in (*ended, *again):
            self._ending.pop(domain, None)
            self._mark(domain)

    async def look(self) -> None:
        """Record what is something else in the tenants that are marked."""
        while self._dirty:
            changed: list[tuple[DomainId, ValueKey]] = []
            while self._dirty and len(changed) < AT_ONCE:
                domain = next(iter(self._dirty))
                del self._dirty[domain]
                for key in self._view.wanted_values(domain):
                    if self._differs(domain, key):
                        changed.append((domain, key))
                    await asyncio.sleep(0)  # a look may cost a millisecond, where there are many flags
                self._ending[domain] = self._values.fresh_until_ms(domain)
                if self._ending[domain] == inf:
                    del self._ending[domain]
            await asyncio.gather(*(self._record(domain, key) for domain, key in changed))

    def _mark(self, domain: DomainId) -> None:
        domains = self._view.domains() if domain == PLATFORM else (domain,)
        self._dirty.update(
            (each, None) for each in domains if self._view.wanted_values(each) and self._ownership.owns(WORK, each)
        )
        if self._dirty:
            self._wake.set()

    def _differs(self, domain: DomainId, key: ValueKey) -> bool:
        now = self._values.fingerprint(domain, key)
        return now is not None and now != self._view.value(domain, key)

    async def _record(self, domain: DomainId, key: ValueKey) -> None:
        def decide(tx: Tx) -> bool:
            return self._webhooks.note(tx, domain, key)

        try:
            self.noticed += (await self._sequencer.submit(HUB_ACTOR, (domain,), decide)).answer
        except HubError as error:
            self._again[domain] = None
            _log.warning("webhooks.change_not_recorded", code=error.code, tenant=domain)
