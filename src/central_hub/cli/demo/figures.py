"""What the demo counts: calls by tenant, shares by instance, what happened. Pure."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

EVENTS_MAX: Final = 200
LATENCIES_MAX: Final = 200_000
"""Latencies kept per tenant; a demo that outlives them goes on with the newest."""


@dataclass(slots=True)
class TenantFigures:
    """How one tenant's calls went; latencies in milliseconds."""

    tier: str
    calls: int = 0
    failures: int = 0
    replayed: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_MAX))

    def percentile(self, share: float) -> float:
        """Return the latency that `share` (0 to 1) of the calls did not exceed, nearest rank; 0 without calls."""
        return percentile(sorted(self.latencies_ms), share)


@dataclass(slots=True)
class Figures:
    """Everything that is shown while the demo runs and summed up when it ends."""

    tenants: dict[str, TenantFigures]
    served_by: Counter[str] = field(default_factory=Counter[str])
    events: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))
    reasons: Counter[str] = field(default_factory=Counter[str])
    killed: int = 0
    restarted: int = 0
    parts_killed: Counter[str] = field(default_factory=Counter[str])
    hub_down_s: float = 0.0
    sent_again: int = 0
    walls: dict[str, bool] = field(default_factory=dict[str, bool])

    @property
    def calls(self) -> int:
        """Calls that ended, well or not."""
        return sum(each.calls for each in self.tenants.values())

    @property
    def failures(self) -> int:
        """Calls that a caller saw fail."""
        return sum(each.failures for each in self.tenants.values())

    def succeeded(self, tenant: str, latency_ms: float, *, replayed: bool) -> None:
        """Count a call that was answered."""
        figures = self.tenants[tenant]
        figures.calls += 1
        figures.replayed += replayed
        figures.latencies_ms.append(latency_ms)

    def failed(self, tenant: str, reason: str) -> None:
        """Count a call whose caller saw an error, and why."""
        figures = self.tenants[tenant]
        figures.calls += 1
        figures.failures += 1
        self.reasons[reason] += 1

    def happened(self, at_s: float, text: str) -> None:
        """Note an event; `at_s` is seconds since the load began."""
        self.events.append((at_s, text))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of ascending values, 0 when there are none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, math.ceil(len(ordered) * share) - 1))]
