"""Metering: take usage events once each, and read what they add up to, for the tenant and for billing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.quotas.metered import MeteredView, Sum
from central_hub.quotas.model import (
    AHEAD_MS,
    EVENT_IDS_PER_TENANT_MAX,
    LATE_MS,
    METERS_PER_TENANT_MAX,
    USAGE_STREAM,
    UsageEvent,
    UsageRecorded,
)
from central_hub.quotas.periods import bounds_ms
from central_hub.quotas.ports import Access
from central_hub.tenants.model import TENANT_STREAM

TOO_LATE: Final = "too_late"
TOO_EARLY: Final = "too_early"
TOO_MANY_METERS: Final = "too_many_meters"


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A usage event as it comes in; without a time it is of now."""

    id: str
    meter: str
    quantity: int
    at_ms: int | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was not taken, and why."""

    id: str
    meter: str
    code: str


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch."""

    accepted: int
    duplicates: int
    refused: tuple[Refused, ...] = ()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Use of one meter over one period at one tier; it is final when no event of it can come any more."""

    meter: str
    period_start: str
    period_end: str
    tier: str
    quantity: int
    events: int
    final: bool


class Metering:
    """Records and reads usage.

    Args:
        view: what was used.
        sequencer: makes events durable.
        access: whether a caller still is who it was.
        clock: wall time.
    """

    def __init__(self, view: MeteredView, sequencer: Sequencer, access: Access, clock: Clock) -> None:
        self._view = view
        self._sequencer = sequencer
        self._access = access
        self._clock = clock
        self.recorded = 0
        self.duplicates = 0

    async def record(self, ctx: TenantContext, events: Sequence[NewEvent]) -> Recorded:
        """Take usage events; one that was taken before changes nothing.

        Raises:
            HubError: `limit_reached` (429) when the tenant sends more events than ids are remembered.
        """
        domain = ctx.domain

        def decide(tx: Tx) -> Recorded:
            tx.touch(domain, TENANT_STREAM)
            tx.touch(domain, USAGE_STREAM)
            tier = self._access.current(ctx).tier
            taken, duplicates, refused = self._sort(domain, events, tx.now_ms)
            if self._view.count_seen(domain, tx.now_ms) + len(taken) > EVENT_IDS_PER_TENANT_MAX:
                raise _too_many_events()
            if taken:
                tx.append(domain, UsageRecorded(tier=tier, events=tuple(taken)), streams=(USAGE_STREAM,))
            return Recorded(accepted=len(taken), duplicates=duplicates, refused=tuple(refused))

        answer = (await self._sequencer.submit(ctx.actor, (domain,), decide)).answer
        self.recorded += answer.accepted
        self.duplicates += answer.duplicates
        return answer

    def rows(
        self, domain: DomainId, period: str, *, from_ms: int, to_ms: int, meter: str | None = None, after: str = ""
    ) -> Iterator[Row]:
        """Yield use by meter and time, of meters after `after`."""
        now_ms = self._clock.now_ms()
        meters = self._view.meters(domain) if meter is None else (meter,)
        for name in meters:
            if name > after:
                for one in self._view.sums(domain, period, name, from_ms, to_ms):
                    yield _row(one, period, now_ms)

    def _sort(
        self, domain: DomainId, events: Sequence[NewEvent], now_ms: int
    ) -> tuple[list[UsageEvent], int, list[Refused]]:
        """Tell what is new from what is not and from what cannot be taken."""
        taken: dict[tuple[str, str], UsageEvent] = {}
        refused: list[Refused] = []
        duplicates = 0
        meters = set(self._view.meters(domain))
        for event in events:
            at_ms = now_ms if event.at_ms is None else event.at_ms
            if (event.meter, event.id) in taken or self._view.seen(domain, event.meter, event.id):
                duplicates += 1
            elif code := _unfit(at_ms, now_ms, event.meter, meters):
                refused.append(Refused(id=event.id, meter=event.meter, code=code))
            else:
                meters.add(event.meter)
                taken[event.meter, event.id] = UsageEvent(
                    id=event.id, meter=event.meter, quantity=event.quantity, at_ms=at_ms
                )
        return list(taken.values()), duplicates, refused


def _unfit(at_ms: int, now_ms: int, meter: str, meters: set[str]) -> str:
    if at_ms < now_ms - LATE_MS:
        return TOO_LATE
    if at_ms > now_ms + AHEAD_MS:
        return TOO_EARLY
    if meter not in meters and len(meters) >= METERS_PER_TENANT_MAX:
        return TOO_MANY_METERS
    return ""


def _row(one: Sum, period: str, now_ms: int) -> Row:
    start_ms, end_ms = bounds_ms(period, one.start_ms)
    return Row(
        meter=one.meter,
        period_start=rfc3339(start_ms),
        period_end=rfc3339(end_ms),
        tier=one.tier,
        quantity=one.quantity,
        events=one.events,
        final=end_ms + LATE_MS < now_ms,
    )


def _too_many_events() -> HubError:
    return HubError(
        "limit_reached",
        Kind.LIMIT,
        f"A tenant may record {EVENT_IDS_PER_TENANT_MAX} usage events a day.",
        next_step="Add use up at the source, and record a sum each minute or hour.",
        retry_after_s=3_600,
        fields={"limit": EVENT_IDS_PER_TENANT_MAX},
    )
