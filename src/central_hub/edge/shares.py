"""What one tenant may have of the hub itself, and what it has: rates, requests in flight, watches.

Apart from what a tenant bought for its own use: these keep one tenant from starving the others of
the hub. How much each gets is the plan's to say (features that begin with `hub_`), below a ceiling
that holds for everyone. All of it is in memory and soft: a restart forgets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.fairness import QUEUED, WEIGHT, WEIGHT_MAX

READS: Final = "hub_reads_per_second"
WRITES: Final = "hub_writes_per_second"
IN_FLIGHT: Final = "hub_requests_in_flight"
WATCHES: Final = "hub_watches"
ALLOCATIONS: Final = "hub_allocations"
WRITE_WEIGHT: Final = "hub_write_weight"
LIMITS: Final = (READS, WRITES, IN_FLIGHT, WATCHES, QUEUED, ALLOCATIONS, WRITE_WEIGHT)
"""What a plan may say about the use of the hub itself."""

READS_PER_S: Final = 50_000.0
WRITES_PER_S: Final = 20_000.0
IN_FLIGHT_MAX: Final = 5_000
WATCHES_MAX: Final = 10_000
QUEUED_WRITES_MAX: Final = 4_096
ALLOCATIONS_MAX: Final = 10_000
RATE_MIN: Final = 0.001
"""Slowest rate that is kept; a plan's 0 is as good as never."""
BURST_S: Final = 2.0
FRESH_MS: Final = 1_000.0
"""How long limits are taken to be what they were: a grant that ends by the clock ends for the hub that much later."""
RETRY_S: Final = 1
"""When to try again where requests are in flight, which end soon."""
RETRY_S_MAX: Final = 3_600
RETRY_WATCH_S: Final = 5
"""When to try again where watches are open, which stay open for long."""


class HubLimits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one tenant may have of the hub; the defaults are the ceilings.

    Rates are per second; the rest is held at one time. `weight` is the tenant's part of each round
    of the queue of writes.
    """

    reads_per_s: float = READS_PER_S
    writes_per_s: float = WRITES_PER_S
    in_flight: int = IN_FLIGHT_MAX
    watches: int = WATCHES_MAX
    queued_writes: int = QUEUED_WRITES_MAX
    allocations: int = ALLOCATIONS_MAX
    weight: int = WEIGHT


def limits_of(granted: Mapping[str, float], ceiling: HubLimits) -> HubLimits:
    """Return what a plan grants, nowhere above the ceiling; what it does not limit is the ceiling's.

    Args:
        granted: limits by feature name; what has none is left out.
        ceiling: what nobody passes.
    """

    def at_most(name: str, most: int) -> int:
        return int(min(most, max(0, granted.get(name, most))))

    return HubLimits(
        reads_per_s=max(RATE_MIN, min(ceiling.reads_per_s, granted.get(READS, math.inf))),
        writes_per_s=max(RATE_MIN, min(ceiling.writes_per_s, granted.get(WRITES, math.inf))),
        in_flight=at_most(IN_FLIGHT, ceiling.in_flight),
        watches=at_most(WATCHES, ceiling.watches),
        queued_writes=at_most(QUEUED, ceiling.queued_writes),
        allocations=at_most(ALLOCATIONS, ceiling.allocations),
        weight=int(min(WEIGHT_MAX, max(WEIGHT, granted.get(WRITE_WEIGHT, ceiling.weight)))),
    )


class HubBusy(HubError):
    """A refusal by the hub's own limits (429); who keeps asking before `retry_after_s` is over is not read.

    `share` is whose limit it was, where the caller was proven.
    """

    share: Share | None = None


class Bucket:
    """A generic cell rate limiter: one number of state.

    Args:
        rate_per_s: sustained rate.
        burst_s: how many seconds' worth may come at once.
        revise: asked for the rate again once `fresh_until_ms` has come.

    Source: GCRA as virtual scheduling, ITU-T I.371.
    """

    __slots__ = ("_burst_ms", "_revise", "_step_ms", "_theoretical_ms", "fresh_until_ms")

    def __init__(
        self, rate_per_s: float, burst_s: float = BURST_S, *, revise: Callable[[float], None] | None = None
    ) -> None:
        self._step_ms = 1_000.0 / rate_per_s
        self._burst_ms = burst_s * 1_000.0
        self._theoretical_ms = 0.0
        self._revise = revise
        self.fresh_until_ms = math.inf if revise is None else 0.0

    def take(self, now_ms: float) -> float:
        """Take one; returns 0.0, or milliseconds until one will be there."""
        if now_ms >= self.fresh_until_ms and self._revise is not None:
            self._revise(now_ms)
        theoretical = self._theoretical_ms
        if theoretical < now_ms:
            self._theoretical_ms = now_ms + self._step_ms
            return 0.0
        wait_ms = theoretical - now_ms - self._burst_ms
        if wait_ms > 0:
            return wait_ms
        self._theoretical_ms = theoretical + self._step_ms
        return 0.0

    def change(self, rate_per_s: float, fresh_until_ms: float) -> None:
        """Go on at another rate; what was taken stays taken."""
        self._step_ms = 1_000.0 / rate_per_s
        self.fresh_until_ms = fresh_until_ms

    def taken(self, now_ms: float) -> int:
        """Return how many have been taken that are not yet made up for."""
        return max(0, round((self._theoretical_ms - now_ms) / self._step_ms))


class Share:
    """One tenant's part of the hub, or that of everyone without a tenant at one address.

    Args:
        resolve: returns the limits as they are.
        refused: told the name of a limit that refused.
    """

    __slots__ = (
        "_refused", "_resolve", "held", "in_flight", "limits", "reads", "refusals", "tier", "watches", "writes",
    )  # fmt: skip

    def __init__(
        self, resolve: Callable[[str], HubLimits], *, tier: str = "", refused: Callable[[str], None] | None = None
    ) -> None:
        self._resolve = resolve
        self._refused = refused
        self.tier = tier
        self.limits = resolve(tier)
        self.reads = Bucket(self.limits.reads_per_s, revise=self.revise)
        self.writes = Bucket(self.limits.writes_per_s, revise=self.revise)
        self.in_flight = 0
        self.watches = 0
        self.held = 0
        self.refusals: dict[str, int] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it at this moment."""
        return not (self.in_flight or self.watches or self.held)

    def stale(self) -> None:
        """Have the limits looked at again before the next request."""
        self.reads.fresh_until_ms = self.writes.fresh_until_ms = 0.0

    def revise(self, now_ms: float) -> None:
        """Look at the limits again."""
        self.limits = self._resolve(self.tier)
        self.reads.change(self.limits.reads_per_s, now_ms + FRESH_MS)
        self.writes.change(self.limits.writes_per_s, now_ms + FRESH_MS)

    def enter(self, now_ms: float, *, writes: bool) -> bool:
        """Begin a request if there is room for it; False, and nothing taken, when there is not."""
        if self.in_flight >= self.limits.in_flight or (self.writes if writes else self.reads).take(now_ms):
            return False
        self.in_flight += 1
        return True

    def admit(self, now_ms: float, *, writes: bool) -> None:
        """Begin a request.

        Raises:
            HubBusy: `too_many_requests`, `too_many_in_flight` (429).
        """
        if self.in_flight >= self.limits.in_flight:
            raise self.refuse(_in_flight(self.limits.in_flight), IN_FLIGHT)
        wait_ms = (self.writes if writes else self.reads).take(now_ms)
        if wait_ms:
            raise self.refuse(self._too_fast(wait_ms, writes=writes), WRITES if writes else READS)
        self.in_flight += 1

    def leave(self) -> None:
        """End a request."""
        self.in_flight -= 1

    def charge(self, now_ms: float) -> None:
        """Count a request that is about to be refused for another reason.

        Raises:
            HubBusy: `too_many_requests` (429).
        """
        wait_ms = self.reads.take(now_ms)
        if wait_ms:
            raise self.refuse(self._too_fast(wait_ms, writes=False), READS)

    def check_watch(self) -> None:
        """Refuse one watch too many.

        Raises:
            HubBusy: `too_many_watchers` (429).
        """
        if self.watches >= self.limits.watches:
            raise self.refuse(_watches("too_many_watchers", self.limits.watches), WATCHES)

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Count a request that waits for a change as a watch, and not as in flight, until the block ends.

        Raises:
            HubBusy: `too_many_waiters` (429).
        """
        if self.watches >= self.limits.watches:
            raise self.refuse(_watches("too_many_waiters", self.limits.watches), WATCHES)
        self.watches += 1
        self.in_flight -= 1
        try:
            yield
        finally:
            self.watches -= 1
            self.in_flight += 1

    def refuse(self, error: HubBusy, limit: str) -> HubBusy:
        """Count a refusal; returns it."""
        error.share = self
        self.refusals[limit] = self.refusals.get(limit, 0) + 1
        if self._refused is not None:
            self._refused(limit)
        return error

    def _too_fast(self, wait_ms: float, *, writes: bool) -> HubBusy:
        rate = self.limits.writes_per_s if writes else self.limits.reads_per_s
        # Those who are held already will ask again before long: there is no sense in coming back before their turn.
        return too_fast(WRITES if writes else READS, rate, wait_ms + self.held / rate * 1_000)


def too_fast(limit: str, rate_per_s: float, wait_ms: float) -> HubBusy:
    """Return the refusal of a request that came too soon after others."""
    return HubBusy(
        "too_many_requests",
        Kind.LIMIT,
        "This caller asks more of the hub than it grants one tenant.",
        next_step="Wait as Retry-After says; heartbeats are not counted.",
        retry_after_s=min(RETRY_S_MAX, max(RETRY_S, math.ceil(wait_ms / 1_000))),
        fields={
            "limit": max(1, int(rate_per_s)),
            "remaining": 0,
            "window_s": max(1, round(1 / rate_per_s)),
            "violated-policies": [limit],
        },
    )


def _in_flight(limit: int) -> HubBusy:
    return HubBusy(
        "too_many_in_flight",
        Kind.LIMIT,
        f"{limit} requests of this tenant are being answered, which is the limit.",
        next_step="Wait for answers before sending more.",
        retry_after_s=RETRY_S,
        fields={"limit": limit, "remaining": 0, "violated-policies": [IN_FLIGHT]},
    )


def _watches(code: str, limit: int) -> HubBusy:
    return HubBusy(
        code,
        Kind.LIMIT,
        f"{limit} streams and blocking reads of this tenant are open, which is the limit.",
        next_step="Close one; a single watch carries many services.",
        retry_after_s=RETRY_WATCH_S,
        fields={"limit": limit, "remaining": 0, "violated-policies": [WATCHES]},
    )
