"""Budgets: use that is counted over a period, or limited as a rate, and slices of it for services to spend.

What is counted is spent from blocks. A block is durable before anything of it is spent, so nothing that is granted can
be granted again, whatever dies; what dies with a block in hand loses the rest of it until the period ends. A slice is
a part of a block that a service spends without asking: it is carved out here, so that all slices together stay below
the limit.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec

from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Category
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.quotas.gcra import Gcra
from central_hub.quotas.model import (
    BLOCKS_PER_PERIOD,
    BUDGETS_KEPT_MAX,
    HOLDER_SEEN_MS,
    HOLDERS_MAX,
    SLICES_KEPT_MAX,
    TenantBudgetReserved,
    TenantQuotaLevelReached,
    budget_stream,
)
from central_hub.quotas.periods import RATES_MS, bounds_ms
from central_hub.quotas.ports import Access, Allowance, Limits
from central_hub.quotas.rules import budget_exceeded, budget_of, fair_slice, levels_between
from central_hub.quotas.view import QuotasView
from central_hub.tenants.model import TENANT_STREAM

RATE = "rate"


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a budget that its holder may spend without asking, until `expires_in_ms` from when it asked."""

    id: str
    name: str
    granted: int
    used: int
    limit: int | None
    remaining: int | None
    window_s: int
    expires_in_ms: int
    resets_at: str


class _Ledger:
    """What is in hand of one limit: the rest of the blocks, and slices that can come back."""

    __slots__ = ("available", "block", "holders", "keys", "lock", "number", "slices", "start_ms")

    def __init__(self) -> None:
        self.start_ms = -1
        self.available = 0
        self.block = 0
        self.number = 0
        self.slices: OrderedDict[str, int] = OrderedDict()
        self.keys: OrderedDict[tuple[str, str], tuple[str, int]] = OrderedDict()
        self.holders: dict[str, float] = {}
        self.lock = asyncio.Lock()

    def begin(self, start_ms: int) -> None:
        """Forget the period before."""
        if self.start_ms != start_ms:
            self.start_ms, self.available = start_ms, 0
            self.slices.clear()
            self.keys.clear()

    def share(self, holder: str, at_ms: float) -> int:
        """Count who asks; returns among how many the rest is shared out."""
        if len(self.holders) >= HOLDERS_MAX:
            self.holders.clear()
        self.holders[holder] = at_ms
        for name in [name for name, seen_ms in self.holders.items() if seen_ms + HOLDER_SEEN_MS < at_ms]:
            del self.holders[name]
        return len(self.holders)

    def carve(self, granted: int) -> str:
        """Take a slice out of what is in hand; returns its id, which no other slice ever has."""
        self.available -= granted
        self.number += 1
        name = f"{self.block}-{self.number}"
        self.slices[name] = granted
        if len(self.slices) > SLICES_KEPT_MAX:
            self.slices.popitem(last=False)
        return name

    def remember(self, key: tuple[str, str], name: str, granted: int) -> None:
        """Keep which slice a request was given, for its retry."""
        self.keys[key] = (name, granted)
        if len(self.keys) > SLICES_KEPT_MAX:
            self.keys.popitem(last=False)


class Budgets:
    """Spends limits that are counted over a period, and slices of them.

    Args:
        view: what was set aside.
        sequencer: makes blocks durable.
        limits: what applies to whom.
        access: whether a caller still is who it was.
        clock: wall time for periods, monotonic time for rates.
    """

    def __init__(self, view: QuotasView, sequencer: Sequencer, limits: Limits, access: Access, clock: Clock) -> None:
        self._view = view
        self._sequencer = sequencer
        self._limits = limits
        self._access = access
        self._clock = clock
        self._ledgers: dict[tuple[DomainId, str], _Ledger] = {}
        self._rates: dict[tuple[DomainId, str], Gcra] = {}
        self.slices = 0
        self.refused = 0
        self.granted = 0

    async def take(
        self, ctx: TenantContext, name: str, *, wanted: int, at_least: int, holder: str, key: str | None
    ) -> Slice:
        """Take a slice of a budget.

        Args:
            ctx: whose.
            name: of the limit.
            wanted: how much would be welcome; a fair share of the rest is given at most.
            at_least: with less than that nothing is taken.
            holder: who spends it; the rest is shared out among those who have asked lately.
            key: a repeated one gets the same slice again.

        Raises:
            HubError: `quota_exceeded` (429), `unknown_limit` (422).
        """
        allowance = budget_of(self._limits, ctx.domain, self._access.current(ctx).tier, name)
        if allowance.period in RATES_MS:
            return self._take_rate(ctx, allowance, wanted, at_least)
        ledger = self._ledger(ctx.domain, name)
        async with ledger.lock:
            return await self._take_counted(ctx, allowance, ledger, wanted, at_least, holder or ctx.principal.id, key)

    async def give_back(self, ctx: TenantContext, name: str, slice_id: str, unused: int) -> int:
        """Take back what is left of a slice, once; returns how much that was. Of another period it is nothing.

        Raises:
            HubError: `unknown_limit` (422).
        """
        allowance = budget_of(self._limits, ctx.domain, ctx.tier, name)
        if allowance.period in RATES_MS:
            return 0
        ledger = self._ledger(ctx.domain, name)
        async with ledger.lock:
            ledger.begin(self._period(ctx.domain, name, allowance.period)[0])
            back = min(unused, ledger.slices.pop(slice_id, 0))
            ledger.available += back
            return back

    def used(self, domain: DomainId, name: str, period: str) -> tuple[int, int]:
        """Return how much of a counted limit is used in this period, and when that ends (epoch milliseconds).

        What is handed out as a slice is used, until it is given back.
        """
        start_ms, end_ms = self._period(domain, name, period)
        ledger = self._ledgers.get((domain, name))
        in_hand = ledger.available if ledger is not None and ledger.start_ms == start_ms else 0
        return self._reserved(domain, name, start_ms) - in_hand, end_ms

    def rate_available(self, domain: DomainId, allowance: Allowance) -> int | None:
        """Return how much of a rate could be taken now; None for no limit."""
        rate = self._rates.get((domain, allowance.name))
        return allowance.limit if rate is None else rate.available(self._clock.monotonic_ms())

    async def _take_counted(
        self,
        ctx: TenantContext,
        allowance: Allowance,
        ledger: _Ledger,
        wanted: int,
        at_least: int,
        holder: str,
        key: str | None,
    ) -> Slice:
        domain, name = ctx.domain, allowance.name
        start_ms, _ = self._period(domain, name, allowance.period)
        ledger.begin(start_ms)
        known = ledger.keys.get((ctx.principal.id, key)) if key else None
        if known is not None and known[0] in ledger.slices:  # what came back is not handed out again by a retry
            return self._slice(ctx, allowance, ledger.start_ms, *known)
        share = ledger.share(holder, self._clock.monotonic_ms())
        hard = allowance.limit is not None and not allowance.soft
        if hard:
            assert allowance.limit is not None
            rest = max(0, allowance.limit - self._reserved(domain, name, start_ms)) + ledger.available
            wanted = max(at_least, min(wanted, fair_slice(allowance.limit, rest, share)))
        if ledger.available < wanted:
            await self._reserve(ctx, allowance, ledger, wanted - ledger.available)
        granted = min(wanted, ledger.available)
        if granted < max(1, at_least):
            self.refused += 1
            used, end_ms = self.used(domain, name, allowance.period)
            raise budget_exceeded(
                allowance,
                wanted=at_least,
                used=used,
                window_s=_length_s(allowance.period, start_ms),
                wait_ms=end_ms - self._clock.now_ms(),
                now_ms=self._clock.now_ms(),
            )
        slice_id = ledger.carve(granted)
        if key:
            ledger.remember((ctx.principal.id, key), slice_id, granted)
        self.slices += 1
        self.granted += granted
        return self._slice(ctx, allowance, ledger.start_ms, slice_id, granted)

    async def _reserve(self, ctx: TenantContext, allowance: Allowance, ledger: _Ledger, needed: int) -> None:
        """Set aside one more block, durably, as far as the limit goes."""
        domain, name = ctx.domain, allowance.name

        def decide(tx: Tx) -> tuple[int, int]:
            tx.touch(domain, TENANT_STREAM)
            tx.touch(domain, budget_stream(name))
            now = budget_of(self._limits, domain, self._access.current(ctx).tier, name)
            start_ms, _ = self._period(domain, name, now.period)
            before = self._reserved(domain, name, start_ms)
            block = needed if now.limit is None else max(needed, now.limit // BLOCKS_PER_PERIOD)
            if now.limit is not None and not now.soft:
                block = min(block, now.limit - before)
            if block <= 0:
                return start_ms, 0
            fact = TenantBudgetReserved(name=name, period_start_ms=start_ms, amount=block, reserved=before + block)
            tx.append(domain, fact, streams=(budget_stream(name),))
            for level in levels_between(before, before + block, now.limit):
                assert now.limit is not None
                reached = TenantQuotaLevelReached(
                    name=name, period_start_ms=start_ms, level=level, reserved=before + block, limit=now.limit
                )
                tx.append(domain, reached, streams=(budget_stream(name),), category=Category.EVENT)
            return start_ms, block

        committed = await self._sequencer.submit(ctx.actor, (domain,), decide)
        start_ms, block = committed.answer
        ledger.begin(start_ms)
        if block:
            ledger.available += block
            ledger.block = committed.seq[domain]

    def _take_rate(self, ctx: TenantContext, allowance: Allowance, wanted: int, at_least: int) -> Slice:
        now_ms = self._clock.monotonic_ms()
        period_ms = RATES_MS[allowance.period]
        granted, wait_ms, remaining = wanted, 0.0, None
        if allowance.limit is not None and not allowance.soft:
            rate = self._rate(ctx.domain, allowance.name, allowance.limit, period_ms)
            if rate.available(now_ms) < at_least:
                granted, wait_ms = 0, max(rate.wait_ms(now_ms), period_ms / max(1, rate.limit) * (at_least - 1))
            else:
                granted = rate.take(now_ms, wanted)
            remaining = rate.available(now_ms)
        if not granted:
            self.refused += 1
            assert allowance.limit is not None
            raise budget_exceeded(
                allowance,
                wanted=at_least,
                used=allowance.limit - (remaining or 0),
                window_s=period_ms // 1_000,
                wait_ms=wait_ms,
                now_ms=self._clock.now_ms(),
            )
        self.slices += 1
        self.granted += granted
        return Slice(
            id=RATE,
            name=allowance.name,
            granted=granted,
            used=0 if remaining is None or allowance.limit is None else allowance.limit - remaining,
            limit=allowance.limit,
            remaining=remaining,
            window_s=period_ms // 1_000,
            expires_in_ms=period_ms,
            resets_at=rfc3339(self._clock.now_ms() + period_ms),
        )

    def _slice(self, ctx: TenantContext, allowance: Allowance, start_ms: int, slice_id: str, granted: int) -> Slice:
        # A slice ends with the period it was carved out of, even when that has just gone by.
        _, end_ms = bounds_ms(allowance.period, start_ms)
        used, _ = self.used(ctx.domain, allowance.name, allowance.period)
        return Slice(
            id=slice_id,
            name=allowance.name,
            granted=granted,
            used=used,
            limit=allowance.limit,
            remaining=None if allowance.limit is None else max(0, allowance.limit - used),
            window_s=_length_s(allowance.period, start_ms),
            expires_in_ms=max(0, end_ms - self._clock.now_ms()),
            resets_at=rfc3339(end_ms),
        )

    def _period(self, domain: DomainId, name: str, period: str) -> tuple[int, int]:
        """Return the bounds of the present period; a wall clock that is set back does not bring an old one back."""
        start_ms, end_ms = bounds_ms(period, self._clock.now_ms())
        known = self._view.reserved(domain, name)
        if known is not None and known.period_start_ms > start_ms:
            return bounds_ms(period, known.period_start_ms)
        return start_ms, end_ms

    def _reserved(self, domain: DomainId, name: str, start_ms: int) -> int:
        known = self._view.reserved(domain, name)
        return 0 if known is None or known.period_start_ms != start_ms else known.amount

    def _ledger(self, domain: DomainId, name: str) -> _Ledger:
        ledger = self._ledgers.get((domain, name))
        if ledger is None:
            if len(self._ledgers) >= BUDGETS_KEPT_MAX:  # what is in hand of those is lost until their period ends
                self._ledgers = {at: one for at, one in self._ledgers.items() if one.lock.locked()}
            ledger = self._ledgers[domain, name] = _Ledger()
        return ledger

    def _rate(self, domain: DomainId, name: str, limit: int, period_ms: int) -> Gcra:
        rate = self._rates.get((domain, name))
        if rate is None or rate.limit != limit:
            if len(self._rates) >= BUDGETS_KEPT_MAX:
                self._rates.clear()  # soft limits may forget: at worst everyone gets one burst more
            rate = self._rates[domain, name] = Gcra(limit, period_ms)
        return rate


def _length_s(period: str, start_ms: int) -> int:
    begin_ms, end_ms = bounds_ms(period, start_ms)
    return (end_ms - begin_ms) // 1_000
