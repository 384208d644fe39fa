"""The hub's own limits on callers: a generic cell rate per tenant, in memory, soft.

Separate from what a tenant bought: these keep one tenant from starving the others of the hub
itself. Heartbeats are never counted here.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind

READS_PER_S: Final = 50_000.0
WRITES_PER_S: Final = 20_000.0
BURST_S: Final = 2.0
KEYS_MAX: Final = 100_000


class Bucket:
    """A generic cell rate limiter: one number of state.

    Args:
        rate_per_s: sustained rate.
        burst_s: how many seconds' worth may come at once.

    Source: GCRA as virtual scheduling, ITU-T I.371.
    """

    __slots__ = ("_burst_ms", "_step_ms", "_theoretical_ms")

    def __init__(self, rate_per_s: float, burst_s: float = BURST_S) -> None:
        self._step_ms = 1_000.0 / rate_per_s
        self._burst_ms = burst_s * 1_000.0
        self._theoretical_ms = 0.0

    def take(self, now_ms: float) -> float:
        """Take one; returns 0.0, or milliseconds until one will be there."""
        theoretical = self._theoretical_ms
        if theoretical < now_ms:
            self._theoretical_ms = now_ms + self._step_ms
            return 0.0
        wait_ms = theoretical - now_ms - self._burst_ms
        if wait_ms > 0:
            return wait_ms
        self._theoretical_ms = theoretical + self._step_ms
        return 0.0


class RateProtection:
    """One bucket for reads and one for writes per tenant (callers without one share by origin).

    Args:
        clock: monotonic time.
        reads_per_s, writes_per_s: sustained rate of each tenant.
    """

    def __init__(self, clock: Clock, *, reads_per_s: float = READS_PER_S, writes_per_s: float = WRITES_PER_S) -> None:
        self._clock = clock
        self._reads_per_s = reads_per_s
        self._writes_per_s = writes_per_s
        self._buckets: dict[tuple[str, bool], Bucket] = {}

    def bucket(self, key: str, *, writes: bool) -> Bucket:
        """Return the bucket of a tenant (or `@origin`)."""
        bucket = self._buckets.get((key, writes))
        if bucket is None:
            if len(self._buckets) >= KEYS_MAX:
                self._buckets.clear()  # soft limits may forget: at worst everyone gets one burst more
            bucket = self._buckets[(key, writes)] = Bucket(self._writes_per_s if writes else self._reads_per_s)
        return bucket

    def share(self, ctx: TenantContext, *, writes: bool) -> Bucket:
        """Return the bucket a caller takes from: its tenant's, or its network address's."""
        return self.bucket(_key_of(ctx), writes=writes)

    def admit(self, ctx: TenantContext, *, writes: bool) -> None:
        """Let a request through or refuse it with `too_many_requests` (429)."""
        wait_ms = self.bucket(_key_of(ctx), writes=writes).take(self._clock.monotonic_ms())
        if wait_ms > 0:
            raise HubError(
                "too_many_requests",
                Kind.LIMIT,
                "This caller asks more of the hub than it grants one tenant.",
                next_step="Wait as Retry-After says; heartbeats are not counted.",
                retry_after_s=max(1, ceil(wait_ms / 1_000)),
            )


def _key_of(ctx: TenantContext) -> str:
    return ctx.tenant_id or f"@{ctx.origin}"
