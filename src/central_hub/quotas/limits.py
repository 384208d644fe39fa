"""The limits that tiers grant, as quotas ask for them."""

from __future__ import annotations

from typing import Final

from central_hub.kernel.ids import DomainId
from central_hub.quotas.ports import Allowance
from central_hub.tenants.tiers import TierCatalogue

PERIODS: Final = {"_per_hour": "hour", "_per_day": "day", "_per_month": "month"}
"""What the end of a limit's name says about the period it is counted over."""


class TierLimits:
    """Implements `Limits` on the tiers of this hub.

    Args:
        tiers: the catalogue.
    """

    def __init__(self, tiers: TierCatalogue) -> None:
        self._tiers = tiers

    def allowance(self, domain: DomainId, tier: str, name: str) -> Allowance | None:
        """Return what a tier grants of that name; None for an unknown tier or name."""
        limit = self._tiers.limits_of(tier).get(name)
        if limit is None:
            return None
        period = next((period for suffix, period in PERIODS.items() if name.endswith(suffix)), "")
        return Allowance(
            name=name, limit=limit, period=period, source=f"plan:{tier}", upgrade_to=self._upgrade(tier, name, limit)
        )

    def allowances(self, domain: DomainId, tier: str) -> tuple[Allowance, ...]:
        """Return everything a tier grants, in order of name."""
        found = (self.allowance(domain, tier, name) for name in sorted(self._tiers.limits_of(tier)))
        return tuple(one for one in found if one is not None)

    def _upgrade(self, tier: str, name: str, limit: int) -> str | None:
        names = self._tiers.names()
        higher = names[names.index(tier) + 1 :]
        return next((one for one in higher if self._tiers.limits_of(one).get(name, 0) > limit), None)
