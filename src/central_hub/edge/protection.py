"""The hub's own limits on callers: who has which share of it, and what happens to who asks for more.

One share per tenant; callers without a tenant have one per network address. What cannot even be
proven is counted per address as well, apart from those who can: so nobody uses up another's share
by calling from the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from central_hub.edge.holding import Ledger
from central_hub.edge.shares import (
    LIMITS,
    READS_PER_S,
    WRITES_PER_S,
    Bucket,
    HubLimits,
    Share,
    limits_of,
    too_fast,
)
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import PrincipalKind, TenantContext
from central_hub.kernel.fairness import QUEUED
from central_hub.kernel.ids import DomainId

KEYS_MAX: Final = 100_000
"""Shares that are remembered; with one more the oldest that nobody uses is forgotten."""
LOOKED_AT_MAX: Final = 64
"""Shares in use that are passed over in search of one that can be forgotten."""
UNPROVEN: Final = "unproven_per_second"
UNPROVEN_PER_S: Final = 500.0
"""Requests without a valid credential from one address that are answered as what they are; more are 429."""

_WITHOUT_PROOF: Final = frozenset({PrincipalKind.ANONYMOUS, PrincipalKind.LEGACY})

Granted = Callable[[DomainId, str], Mapping[str, float]]
"""What a tenant's plan says, by name of the limit (`shares.LIMITS`); what it does not limit is left out."""

T = TypeVar("T")


class RateProtection:
    """Every share of the hub, and the counters of what was refused.

    Args:
        clock: monotonic time.
        reads_per_s, writes_per_s: what no tenant passes, whatever its plan.
        granted: what a tenant's plan says; nothing by default.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        reads_per_s: float = READS_PER_S,
        writes_per_s: float = WRITES_PER_S,
        granted: Granted | None = None,
    ) -> None:
        self._clock = clock
        self._granted = granted
        self._ceiling = HubLimits(reads_per_s=reads_per_s, writes_per_s=writes_per_s)
        self._shares: dict[str, Share] = {}
        self._unproven: dict[str, Bucket] = {}
        self.refusals: dict[str, int] = dict.fromkeys((*LIMITS[:5], UNPROVEN), 0)
        self.ledger = Ledger()

    def share(self, ctx: TenantContext) -> Share:
        """Return the share a caller takes from: its tenant's, or its network address's."""
        tenant = ctx.tenant_id
        share = self._shares.get(tenant or f"@{ctx.origin}")
        if share is None:
            share = self._begin(tenant or f"@{ctx.origin}", ctx)
        elif share.tier != ctx.tier and ctx.tier:
            share.tier = ctx.tier
            share.stale()
        return share

    def admit(self, ctx: TenantContext, *, writes: bool) -> Share:
        """Begin a request or refuse it; whoever was let in calls `leave` when the answer is there.

        Raises:
            HubBusy: `too_many_requests`, `too_many_in_flight` (429).
        """
        share = self.share(ctx)
        share.admit(self._clock.monotonic_ms(), writes=writes)
        return share

    def charge(self, ctx: TenantContext | None, origin: str) -> None:
        """Count a request that is about to be refused, so that refusals are not for free.

        Args:
            ctx: who asks, if that was proven.
            origin: its network address.

        Raises:
            HubBusy: `too_many_requests` (429), which is said instead.
        """
        now_ms = self._clock.monotonic_ms()
        if ctx is not None and ctx.principal.kind not in _WITHOUT_PROOF:
            self.share(ctx).charge(now_ms)
            return
        bucket = self._unproven.get(origin)
        if bucket is None:
            _make_room(self._unproven, lambda _: True)
            bucket = self._unproven[origin] = Bucket(UNPROVEN_PER_S)
        wait_ms = bucket.take(now_ms)
        if wait_ms:
            self.refusals[UNPROVEN] += 1
            raise too_fast(UNPROVEN, UNPROVEN_PER_S, wait_ms)

    def changed(self, domain: DomainId | None) -> None:
        """Look at a tenant's limits again; None for everyone's, which happens within a second by itself."""
        share = None if domain is None else self._shares.get(domain)
        if share is not None:
            share.stale()

    def weight_of(self, domain: DomainId) -> int:
        """Return a domain's part of each round of the queue of writes (`kernel.fairness.Shares`)."""
        share = self._shares.get(domain)
        return self._ceiling.weight if share is None else share.limits.weight

    def queued_max(self, domain: DomainId) -> int:
        """Return how many writes of a domain may wait (`kernel.fairness.Shares`)."""
        share = self._shares.get(domain)
        return self._ceiling.queued_writes if share is None else share.limits.queued_writes

    def refused(self, domain: DomainId) -> None:
        """Count a write that found its domain's part of the queue full (`kernel.fairness.Shares`)."""
        self.refusals[QUEUED] += 1
        share = self._shares.get(domain)
        if share is not None:
            share.refusals[QUEUED] = share.refusals.get(QUEUED, 0) + 1

    def monotonic_ms(self) -> float:
        """Return the time that the shares go by."""
        return self._clock.monotonic_ms()

    def _begin(self, key: str, ctx: TenantContext) -> Share:
        _make_room(self._shares, lambda share: share.is_idle)
        share = self._shares[key] = Share(
            partial(self._resolve, ctx.tenant_id), tier=ctx.tier, refused=self._count_refusal
        )
        return share

    def _resolve(self, tenant: str | None, tier: str) -> HubLimits:
        if tenant is None or self._granted is None:
            return self._ceiling
        return limits_of(self._granted(DomainId(tenant), tier), self._ceiling)

    def _count_refusal(self, limit: str) -> None:
        self.refusals[limit] += 1


def _make_room(known: dict[str, T], can_go: Callable[[T], bool]) -> None:
    """Forget the oldest that can go when there are too many; those in use go to the back."""
    for _ in range(LOOKED_AT_MAX if len(known) >= KEYS_MAX else 0):
        key = next(iter(known))
        value = known.pop(key)
        if can_go(value):
            return
        known[key] = value
