"""Ends trials: a tenant whose trial has an end is moved when it comes, once, whether or not the hub ran then.

Ends are wall-clock times and wait on the monotonic wheel, at most `LOOK_AGAIN_MS` at a stretch, so that a clock that
was set otherwise is noticed. When the store is down nothing is moved: what is due is tried again every `RETRY_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.records import HUB_ACTOR, Applied
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.kernel.wheel import ADVANCE_SLICE, Timer, TimingWheel
from central_hub.tenants.model import (
    TENANT_STREAM,
    State,
    Tenant,
    TenantCreated,
    TenantResumed,
    TenantShredded,
    TenantStateChanged,
    TenantSuspended,
    TenantTrialExtended,
)
from central_hub.tenants.states import TRIAL_ENDED, moved
from central_hub.tenants.view import TenantsView

REASON: Final = "trial ended"
LOOK_AGAIN_MS: Final = 600_000.0
"""Longest wait of a timer, and so the latest that a clock set forward is noticed."""
LOOK_EVERY_S: Final = 0.25
"""Seconds between two looks: bounds how late a trial ends."""
RETRY_S: Final = 0.5
PRIME_PAGE: Final = 256
WORK: Final = "trial"
"""Ending a tenant's trial, as work of one of several hubs."""

_CONCERNING: Final = frozenset(
    fact.__name__
    for fact in (TenantCreated, TenantStateChanged, TenantSuspended, TenantResumed, TenantTrialExtended)
)  # fmt: skip
_log = structlog.get_logger("central_hub.tenants")


class Trials:
    """Knows when trials end, and ends them.

    Args:
        view: the tenants.
        sequencer: makes ends durable.
        clock: wall time for ends, monotonic for waits.
        ownership: which hub ends a tenant's trial.
    """

    def __init__(
        self, view: TenantsView, sequencer: Sequencer, clock: Clock, ownership: Ownership | None = None
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._clock = clock
        self._ownership = ownership or Alone()
        self._wheel: TimingWheel[DomainId] = TimingWheel(clock.monotonic_ms())
        self._timers: dict[DomainId, Timer[DomainId]] = {}
        self._due: dict[DomainId, None] = {}
        self.ended = 0

    async def prime(self) -> None:
        """Take in every trial there is; call it when the views are rebuilt, before serving."""
        cursor = ""
        while page := self._view.tenants_after(cursor, PRIME_PAGE):
            for tenant in page:
                self._follow(DomainId(tenant.id), tenant)
            cursor = page[-1].id
            await asyncio.sleep(0)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Follow what became true; a listener of the runner."""
        for one in batch:
            if one.type in _CONCERNING:
                self._follow(one.domain, self._view.tenant(one.domain))
            elif isinstance(one.fact, TenantShredded):
                self._follow(DomainId(one.fact.tenant_id), None)

    async def run(self) -> None:
        """Look and end until cancelled."""
        while True:
            more = self.look(ADVANCE_SLICE)
            done = await self.write()
            await asyncio.sleep(0 if more else LOOK_EVERY_S if done else RETRY_S)

    @property
    def followed(self) -> int:
        """How many trials with an end there are."""
        return len(self._timers.keys() | self._due.keys())

    def look(self, limit: int) -> bool:
        """Note which trials have come to their end; say whether there is more to do now."""
        timers, more = self._wheel.advance(self._clock.monotonic_ms(), limit)
        for timer in timers:
            self._follow(timer.key, self._view.tenant(timer.key))
        return more

    async def write(self) -> bool:
        """Record what has come to its end; say whether all of it became durable."""
        due = [domain for domain in self._due if self._ownership.owns(WORK, domain)]
        return all(await asyncio.gather(*(self._end(domain) for domain in due))) if due else True

    def _follow(self, domain: DomainId, tenant: Tenant | None) -> None:
        if tenant is None or tenant.state is not State.TRIAL or not tenant.trial_until_ms:
            timer = self._timers.pop(domain, None)
            if timer is not None:
                self._wheel.cancel(timer)
            self._due.pop(domain, None)
            return
        left_ms = tenant.trial_until_ms - self._clock.now_ms()
        if left_ms <= 0:
            self._due[domain] = None
            return
        self._due.pop(domain, None)
        timer = self._timers.setdefault(domain, Timer(domain))
        self._wheel.cancel(timer)
        self._wheel.set(timer, self._clock.monotonic_ms() + min(left_ms, LOOK_AGAIN_MS))

    async def _end(self, domain: DomainId) -> bool:
        def decide(tx: Tx) -> bool:
            tx.touch(domain, TENANT_STREAM)
            tenant = self._view.tenant(domain)
            if tenant is None or tenant.state is not State.TRIAL or not 0 < tenant.trial_until_ms <= tx.now_ms:
                return False  # moved or extended in the meantime
            after = moved(tenant.state, TRIAL_ENDED)
            assert after is not None, "a trial that ends is no end of everything"
            fact = TenantStateChanged(state=after, previous_state=tenant.state, reason=REASON)
            tx.append(domain, fact, streams=(TENANT_STREAM,))
            return True

        try:
            self.ended += (await self._sequencer.submit(HUB_ACTOR, (domain,), decide)).answer
        except HubError as error:
            _log.warning("tenants.trial_not_ended", code=error.code, tenant=domain)
            return False
        self._follow(domain, self._view.tenant(domain))
        return True
