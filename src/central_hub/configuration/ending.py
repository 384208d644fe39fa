"""What ends by time alone: up to when the values of tenants that somebody listens to are good, soonest first. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from central_hub.kernel.ids import DomainId


class Endings:
    """Looks at every tenant once, and then only at those whose time has come.

    Args:
        fresh_until_ms: the wall time up to which a tenant is granted the same, infinite when only facts change it.
    """

    def __init__(self, fresh_until_ms: Callable[[DomainId], float]) -> None:
        self._fresh_until_ms = fresh_until_ms
        self._ends: dict[DomainId, float] = {}
        self._soonest: list[tuple[float, DomainId]] = []

    def look(self, domain: DomainId) -> bool:
        """Look at a tenant again; says whether something may end sooner than all that was known."""
        end = self._fresh_until_ms(domain)
        if self._ends.get(domain, math.inf) == end:
            return False
        before = self.next_ms
        if end == math.inf:
            self._ends.pop(domain, None)
            return False
        self._ends[domain] = end
        heapq.heappush(self._soonest, (end, domain))
        return end < before

    def forget(self, domain: DomainId) -> None:
        """Let go of a tenant that nobody listens to any more."""
        self._ends.pop(domain, None)

    @property
    def next_ms(self) -> float:
        """The wall time at which something ends next, infinite when nothing does."""
        while self._soonest and self._ends.get(self._soonest[0][1]) != self._soonest[0][0]:
            heapq.heappop(self._soonest)
        return self._soonest[0][0] if self._soonest else math.inf

    def due(self, now_ms: float) -> list[DomainId]:
        """Return the tenants whose time has come, and let go of them."""
        found: list[DomainId] = []
        while self.next_ms <= now_ms:
            _, domain = heapq.heappop(self._soonest)
            del self._ends[domain]
            found.append(domain)
        return found
