"""What a tenant may have and what it has: the limits with their use, synchronous and from memory."""

from __future__ import annotations

from central_hub.kernel.context import TenantContext
from central_hub.quotas.ports import Allowance, Limits
from central_hub.quotas.rules import resource_of
from central_hub.quotas.schemas import LimitAnswer, UsageAnswer
from central_hub.quotas.view import QuotasView

CAPACITY = "capacity"
CUMULATIVE = "cumulative"


class UsageReading:
    """Answers how much of each limit is used.

    Args:
        view: what is held.
        limits: what applies to whom.
    """

    def __init__(self, view: QuotasView, limits: Limits) -> None:
        self._view = view
        self._limits = limits

    def usage(self, ctx: TenantContext, tenant_id: str) -> UsageAnswer:
        """Return every limit of the caller's tenant with its use."""
        found = self._limits.allowances(ctx.domain, ctx.tier)
        return UsageAnswer(tenant_id=tenant_id, tier=ctx.tier, limits=[self._limit(ctx, one) for one in found])

    def _limit(self, ctx: TenantContext, allowance: Allowance) -> LimitAnswer:
        resource = resource_of(allowance.name)
        used = None if allowance.period else self._view.used(ctx.domain, resource)
        limit = allowance.limit
        return LimitAnswer(
            name=allowance.name,
            kind=CUMULATIVE if allowance.period else CAPACITY,
            resource=resource,
            limit=limit,
            used=used,
            remaining=None if limit is None or used is None else max(0, limit - used),
            period=allowance.period,
            soft=allowance.soft,
            source=allowance.source,
            upgrade_to=allowance.upgrade_to,
        )
