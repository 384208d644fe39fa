"""When quota leases end: soft state on the monotonic clock. Synchronous and without I/O.

A renewal promises nothing durable; that a lease has ended is only true once it is recorded. After a start every
lease has its whole time again, so a restart frees nothing early; so it has when another of several hubs is to end it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.kernel.wheel import Timer, TimingWheel
from central_hub.quotas.model import (
    PAUSE_MIN_MS,
    PAUSES_KEPT_MAX,
    SOONEST_KEPT_MS,
    TenantResourcesAllocated,
    TenantResourcesFreed,
)

Renewed = Callable[[DomainId, str, str], None]


class Kept:
    """One lease's time."""

    __slots__ = ("domain", "lease_id", "renewed_ms", "resource", "timer", "ttl_ms")

    def __init__(self, domain: DomainId, lease_id: str, resource: str, ttl_ms: int, renewed_ms: float) -> None:
        self.domain = domain
        self.lease_id = lease_id
        self.resource = resource
        self.ttl_ms = ttl_ms
        self.renewed_ms = renewed_ms
        self.timer: Timer[Kept] = Timer(self)


class LeaseKeeper:
    """Knows when each lease ends unless it is renewed, and which have.

    Args:
        clock: monotonic time.
        slack_ms: how late renewals that other hubs heard may come.
    """

    def __init__(self, clock: Clock, *, slack_ms: float = 0.0) -> None:
        self._clock = clock
        self._slack_ms = slack_ms
        self._whole_from_ms = 0.0
        self._renewed: list[Renewed] = []
        now_ms = clock.monotonic_ms()
        self._wheel: TimingWheel[Kept] = TimingWheel(now_ms)
        self._kept: dict[DomainId, dict[str, dict[str, Kept]]] = {}
        self._looked_ms = now_ms
        self._pauses: deque[tuple[float, float]] = deque(maxlen=PAUSES_KEPT_MAX)
        self._soonest: dict[tuple[DomainId, str], tuple[float, float]] = {}
        self.due: dict[Kept, None] = {}
        self.renewals = 0
        self.leases = 0

    def applied(self, batch: Sequence[Applied]) -> None:
        """Follow what became true; a listener of the runner."""
        for applied in batch:
            match applied.fact:
                case TenantResourcesAllocated(lease_id=lease_id, resource=resource, ttl_ms=ttl_ms):
                    self.adopt(applied.domain, lease_id, resource, ttl_ms)
                case TenantResourcesFreed(lease_ids=lease_ids):
                    for lease_id in lease_ids:
                        self._forget(applied.domain, lease_id)
                case _:
                    pass

    def adopt(self, domain: DomainId, lease_id: str, resource: str, ttl_ms: int) -> None:
        """Keep a lease from now on, with its whole time before it; one that is kept already starts again."""
        at_ms = self._clock.monotonic_ms()
        leases = self._kept.setdefault(domain, {}).setdefault(resource, {})
        kept = leases.get(lease_id)
        if kept is None:
            kept = leases[lease_id] = Kept(domain, lease_id, resource, ttl_ms, at_ms)
            self.leases += 1
        kept.renewed_ms = at_ms
        self._wheel.set(kept.timer, at_ms + ttl_ms)

    def on_renewal(self, renewed: Renewed) -> None:
        """Call `renewed` with (domain, resource, lease id) of every renewal that this hub is asked for."""
        self._renewed.append(renewed)

    def whole_again(self) -> None:
        """Give every lease its whole time again: other hubs may have heard renewals that this one did not."""
        self._whole_from_ms = self._clock.monotonic_ms()
        for kept in self.due:
            self._wheel.set(kept.timer, self._whole_from_ms + kept.ttl_ms)
        self.due.clear()

    def heard(self, domain: DomainId, resource: str, lease_id: str) -> None:
        """Take a renewal that another hub was asked for; a lease that is not here has ended."""
        kept = self._kept.get(domain, {}).get(resource, {}).get(lease_id)
        if kept is not None:
            kept.renewed_ms = self._clock.monotonic_ms()
            self._wheel.set(kept.timer, kept.renewed_ms + kept.ttl_ms)
            self.due.pop(kept, None)

    def renew(self, domain: DomainId, resource: str, lease_id: str) -> None:
        """Give a lease its whole time again."""
        kept = self._kept[domain][resource][lease_id]
        kept.renewed_ms = self._clock.monotonic_ms()
        self._wheel.set(kept.timer, kept.renewed_ms + kept.ttl_ms)
        self.due.pop(kept, None)
        self.renewals += 1
        for renewed in self._renewed:
            renewed(domain, resource, lease_id)

    def left_ms(self, domain: DomainId, resource: str, lease_id: str) -> float:
        """Return the milliseconds until a lease ends unless it is renewed; 0 when its time is over or it has ended."""
        kept = self._kept.get(domain, {}).get(resource, {}).get(lease_id)
        return 0.0 if kept is None else max(0.0, kept.renewed_ms + kept.ttl_ms - self._clock.monotonic_ms())

    def soonest_ms(self, domain: DomainId, resource: str) -> float | None:
        """Return the milliseconds until the next lease of a resource ends by itself; None when none is held."""
        at_ms = self._clock.monotonic_ms()
        known = self._soonest.get((domain, resource))
        if known is None or at_ms >= known[0]:
            leases = self._kept.get(domain, {}).get(resource)
            if not leases:
                self._soonest.pop((domain, resource), None)
                return None
            ends_ms = min(kept.renewed_ms + kept.ttl_ms for kept in leases.values())
            known = self._soonest[domain, resource] = (at_ms + SOONEST_KEPT_MS, ends_ms)
        return max(0.0, known[1] - at_ms)

    def look(self, limit: int) -> bool:
        """Note which leases' time is over; say whether there is more to do now.

        Args:
            limit: leases to touch at most.
        """
        at_ms = self._clock.monotonic_ms()
        gap_ms = at_ms - self._looked_ms
        self._looked_ms = at_ms
        if gap_ms >= PAUSE_MIN_MS:
            self._pauses.append((at_ms, gap_ms))
        ended, more = self._wheel.advance(at_ms, limit)
        for timer in ended:
            kept = timer.key
            # While the hub stood still nobody could renew: everyone who held something then gets that time back.
            whole_ms = max(kept.renewed_ms, self._whole_from_ms) + kept.ttl_ms
            ends_ms = whole_ms + self._stood_still_ms(kept) + self._slack_ms
            if ends_ms > at_ms:
                self._wheel.set(timer, ends_ms)
            else:
                self.due[kept] = None
        return more

    def is_due(self, kept: Kept) -> bool:
        """Say whether a lease's time is still over."""
        return kept in self.due

    def _stood_still_ms(self, kept: Kept) -> float:
        return sum(length for end, length in self._pauses if end > kept.renewed_ms)

    def _forget(self, domain: DomainId, lease_id: str) -> None:
        by_resource = self._kept.get(domain, {})
        for resource, leases in by_resource.items():
            kept = leases.pop(lease_id, None)
            if kept is not None:
                self._wheel.cancel(kept.timer)
                self.due.pop(kept, None)
                self.leases -= 1
                if not leases:
                    del by_resource[resource]
                    self._soonest.pop((domain, resource), None)
                break
        if not by_resource:
            self._kept.pop(domain, None)
