"""What a tenant may have and what it has: the limits with their use, synchronous and from memory."""

from __future__ import annotations

from central_hub.kernel.clock import rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.quotas.budgets import RATE, Budgets
from central_hub.quotas.periods import COUNTED
from central_hub.quotas.ports import Allowance, Limits
from central_hub.quotas.rules import level_of, resource_of
from central_hub.quotas.schemas import LimitAnswer, UsageAnswer
from central_hub.quotas.view import QuotasView

CAPACITY = "capacity"
CUMULATIVE = "cumulative"


class UsageReading:
    """Answers how much of each limit is used.

    Args:
        view: what is held.
        budgets: what is counted.
        limits: what applies to whom.
    """

    def __init__(self, view: QuotasView, budgets: Budgets, limits: Limits) -> None:
        self._view = view
        self._budgets = budgets
        self._limits = limits

    def usage(self, ctx: TenantContext, tenant_id: str) -> UsageAnswer:
        """Return every limit of the caller's tenant with its use."""
        found = self._limits.allowances(ctx.domain, ctx.tier)
        return UsageAnswer(tenant_id=tenant_id, tier=ctx.tier, limits=[self._limit(ctx, one) for one in found])

    def _limit(self, ctx: TenantContext, allowance: Allowance) -> LimitAnswer:
        resource, limit, resets_at = resource_of(allowance.name), allowance.limit, None
        if not allowance.period:
            kind, used = CAPACITY, self._view.used(ctx.domain, resource)
        elif allowance.period in COUNTED:
            kind = CUMULATIVE
            used, end_ms = self._budgets.used(ctx.domain, allowance.name, allowance.period)
            resets_at = rfc3339(end_ms)
        else:
            kind, free = RATE, self._budgets.rate_available(ctx.domain, allowance)
            used = None if limit is None or free is None else limit - free
        return LimitAnswer(
            name=allowance.name,
            kind=kind,
            resource=resource,
            limit=limit,
            used=used,
            remaining=None if limit is None or used is None else max(0, limit - used),
            period=allowance.period,
            soft=allowance.soft,
            level=level_of(used or 0, limit),
            resets_at=resets_at,
            source=allowance.source,
            upgrade_to=allowance.upgrade_to,
        )
