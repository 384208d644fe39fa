"""Letting go of what is old: events and history by the days and bytes of a tenant's plan, and what was purged.

Only what is behind a snapshot leaves, so that a start never misses it, and every domain by itself: its chain stays
whole over the gap. While the store is away nothing leaves; the next look goes on where this one ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from central_hub.events.model import (
    PURGE_STREAM,
    RETENTION_EVERY_MS,
    RETENTION_LOOK_S,
    WEIGHED_AT_ONCE,
    EventsPurged,
    Kept,
)
from central_hub.events.ports import Access, ExpiringLog, Snapshotted
from central_hub.events.view import EventsView
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.expiring import Terms
from central_hub.kernel.ids import DomainId
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.tenants.model import TENANT_STREAM

WHENEVER_MS: Final = 2**62
"""A time that everything was written before."""

_log = structlog.get_logger("central_hub.events")


class Purging:
    """Takes a tenant's events away at its own word.

    Args:
        view: up to where they are gone already.
        sequencer: makes facts durable.
        access: whether a caller still may.
    """

    def __init__(self, view: EventsView, sequencer: Sequencer, access: Access) -> None:
        self._view = view
        self._sequencer = sequencer
        self._access = access

    async def purge(self, ctx: TenantContext, domain: DomainId, upto_seq: int) -> int:
        """Take events up to a position away; returns up to where they are gone now."""

        def decide(tx: Tx) -> int:
            tx.touch(domain, TENANT_STREAM)
            tx.touch(domain, PURGE_STREAM)
            self._access.current(ctx)
            if upto_seq > self._view.purged(domain):
                tx.append(domain, EventsPurged(upto_seq=upto_seq), streams=(PURGE_STREAM,))
            return max(upto_seq, self._view.purged(domain))

        committed = await self._sequencer.submit(ctx.actor, (domain,), decide)
        return committed.answer


class Retention:
    """Has what is old leave the log.

    Args:
        log: where records are.
        applied: which domains there are, and behind which position records may leave.
        view: what was purged.
        kept: how long and how much of a domain is kept.
        is_mine: whether this hub is the one that does it.
        clock: wall time, which records carry.
    """

    def __init__(
        self,
        log: ExpiringLog,
        applied: Snapshotted,
        view: EventsView,
        kept: Callable[[DomainId], Kept],
        is_mine: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._log = log
        self._applied = applied
        self._view = view
        self._kept = kept
        self._is_mine = is_mine
        self._clock = clock
        self._swept: dict[DomainId, int] = {}
        self._gone: dict[DomainId, int] = {}
        self._event_bytes: dict[DomainId, int] = {}
        self._weighed_pos = 0
        self._passed: tuple[int, float] = (0, 0.0)
        self.records = 0
        self.bytes = 0

    def kept(self, domain: DomainId) -> Kept:
        """Return how long and how much of a domain is kept."""
        return self._kept(domain)

    def event_bytes(self, domain: DomainId) -> int:
        """Return what a domain's events take, as far as they were weighed since the start."""
        return self._event_bytes.get(domain, 0)

    async def run(self) -> None:
        """Let go of what is due, until cancelled."""
        while True:
            await asyncio.sleep(RETENTION_LOOK_S)
            pos, at_ms = self._passed
            now_ms = self._clock.monotonic_ms()
            if self._is_mine() and (self._applied.droppable_pos > pos or now_ms - at_ms >= RETENTION_EVERY_MS):
                await self.keep()

    async def keep(self) -> None:
        """Go over all domains once."""
        behind = self._applied.droppable_pos
        self._passed = (behind, self._clock.monotonic_ms())
        try:
            await self._weigh()
            for domain in self._applied.positions() if behind else ():
                await self._keep(domain, behind)
        except HubError as error:
            _log.warning("events.retention_failed", code=error.code)

    async def _weigh(self) -> None:
        while True:
            more = await self._log.weigh(self._weighed_pos, WEIGHED_AT_ONCE)
            if not more.upto_pos:
                return
            self._weighed_pos = more.upto_pos
            for name, size in more.event_bytes.items():
                domain = DomainId(name)
                self._event_bytes[domain] = self._event_bytes.get(domain, 0) + size

    async def _keep(self, domain: DomainId, behind: int) -> None:
        kept, now_ms = self._kept(domain), self._clock.now_ms()
        if kept.history_ms and kept.events_ms:
            longest_ms = max(kept.history_ms, kept.events_ms)
            await self._leave(domain, 0, behind, Terms(before_ms=now_ms - longest_ms))
        if kept.events_ms:
            terms = Terms(before_ms=now_ms - kept.events_ms, events_only=True)
            self._swept[domain] = await self._leave(domain, self._swept.get(domain, 0), behind, terms)
        purged, gone = self._view.purged(domain), self._gone.get(domain, 0)
        if purged > gone:
            terms = Terms(before_ms=WHENEVER_MS, upto_seq=purged, events_only=True)
            self._gone[domain] = await self._leave(domain, gone, behind, terms)
        excess = self.event_bytes(domain) - kept.events_bytes
        if kept.events_bytes and excess > 0:
            await self._leave(domain, 0, behind, Terms(before_ms=WHENEVER_MS, events_only=True, bytes_wanted=excess))

    async def _leave(self, domain: DomainId, after_seq: int, behind: int, terms: Terms) -> int:
        """Have records leave until there are no more; returns how far was looked."""
        at = after_seq
        while True:
            done = await self._log.expire(domain, after_seq=at, behind_pos=behind, terms=terms)
            if not done.upto_seq:
                return at
            at = done.upto_seq
            self.records += done.records
            self.bytes += done.bytes
            self._event_bytes[domain] = max(0, self.event_bytes(domain) - done.event_bytes)
            if terms.bytes_wanted:
                if done.bytes >= terms.bytes_wanted:
                    return at
                terms = msgspec.structs.replace(terms, bytes_wanted=terms.bytes_wanted - done.bytes)
            await asyncio.sleep(0)
