"""The limits that plans, add-ons, grants and overrides give a tenant, as quotas ask for them."""

from __future__ import annotations

from central_hub.edge.shares import ALLOCATIONS
from central_hub.kernel.ids import DomainId
from central_hub.plans.book import PlanBook
from central_hub.plans.model import HUB_PREFIX, UNKNOWN
from central_hub.plans.ports import Entitlement, EntitlementKind, Used
from central_hub.quotas.budgets import Budgets
from central_hub.quotas.model import LEASES_PER_TENANT_MAX
from central_hub.quotas.periods import COUNTED
from central_hub.quotas.ports import Allowance
from central_hub.quotas.rules import resource_of
from central_hub.quotas.view import QuotasView


class PlanLimits:
    """Implements `Limits` on the entitlements of this hub.

    Args:
        book: the one place that answers what a tenant may do.
    """

    def __init__(self, book: PlanBook) -> None:
        self._book = book

    def allowance(self, domain: DomainId, tier: str, name: str) -> Allowance | None:
        """Return how much a tenant may have of that name; None for an unknown tier or name.

        What bounds the use of the hub itself is none: nobody holds or spends it.
        """
        if name.startswith(HUB_PREFIX):
            return None
        return _allowance(self._book.ask(domain, tier, name))

    def allowances(self, domain: DomainId, tier: str) -> tuple[Allowance, ...]:
        """Return everything that is metered for a tenant, in order of name."""
        found = (self.allowance(domain, tier, name) for name in sorted(self._book.catalogue.features))
        return tuple(one for one in found if one is not None)

    def leases_max(self, domain: DomainId, tier: str) -> int:
        """Return how many leases a tenant may hold, whatever of."""
        granted = self._book.ask(domain, tier, ALLOCATIONS)
        limited = granted.source != UNKNOWN and granted.limit is not None
        return min(LEASES_PER_TENANT_MAX, granted.limit or 0) if limited else LEASES_PER_TENANT_MAX


class Held:
    """Implements the plans' `Usage` for what is held at one time and what is counted over a period.

    Args:
        view: what is held.
        budgets: what is counted.
        book: which features are held and which are counted.
    """

    def __init__(self, view: QuotasView, budgets: Budgets, book: PlanBook) -> None:
        self._view = view
        self._budgets = budgets
        self._book = book

    def used(self, domain: DomainId, feature: str) -> Used | None:
        """Return what a tenant holds, or has used of it in this period."""
        known = self._book.catalogue.features.get(feature)
        if known is None or known.kind is not EntitlementKind.METERED:
            return None
        if known.period in COUNTED:
            amount, end_ms = self._budgets.used(domain, feature, known.period)
            return Used(amount=amount, resets_at_ms=end_ms)
        if known.period:
            return None
        return Used(amount=self._view.used(domain, resource_of(feature)))


def _allowance(entitlement: Entitlement) -> Allowance | None:
    if entitlement.kind is not EntitlementKind.METERED or entitlement.source == UNKNOWN:
        return None
    return Allowance(
        name=entitlement.feature,
        limit=entitlement.limit if entitlement.allowed else 0,
        period=entitlement.period,
        soft=entitlement.soft,
        source=entitlement.source,
        upgrade_to=entitlement.upgrade_to,
    )
