"""How long what is in the log is kept: what a tenant's plan says, otherwise what the operator set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from central_hub.app.parts import Core
from central_hub.events.model import EVENTS_DAYS, EVENTS_MB, HISTORY_DAYS, HISTORY_DAYS_FEATURE, Kept
from central_hub.kernel.ids import DomainId
from central_hub.plans.model import UNKNOWN

WORK_SNAPSHOTS: Final = "snapshots"
"""What of several hubs one does: write snapshots, and let go of what is behind them."""

DAY_MS: Final = 86_400_000
MEGABYTE: Final = 1_000_000


def retention_of(core: Core) -> Callable[[DomainId], Kept]:
    """Return what says how long a domain is kept; grants and overrides count as for every feature."""

    def limit(domain: DomainId, feature: str, otherwise: int) -> int:
        """Return a limit of a tenant's plan; 0 where the plan sets none."""
        tenant = core.tenants.tenant(domain)
        if tenant is None:
            return otherwise
        found = core.book.ask(domain, tenant.tier, feature)
        if found.source == UNKNOWN:
            return otherwise
        return found.limit or 0

    def kept(domain: DomainId) -> Kept:
        return Kept(
            events_ms=limit(domain, EVENTS_DAYS, core.settings.retention_days) * DAY_MS,
            history_ms=limit(domain, HISTORY_DAYS_FEATURE, max(HISTORY_DAYS, core.settings.retention_days)) * DAY_MS,
            events_bytes=limit(domain, EVENTS_MB, 0) * MEGABYTE,
        )

    return kept
