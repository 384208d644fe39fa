"""The one place that answers what a tenant may do, and how its plan ranks."""

from __future__ import annotations

from collections.abc import Mapping

from central_hub.edge.shares import LIMITS as HUB_LIMITS
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import DomainId
from central_hub.plans.model import HUB_PREFIX, UNKNOWN, Catalogue
from central_hub.plans.ports import Entitlement, EntitlementKind
from central_hub.plans.rules import decide
from central_hub.plans.view import PlansView


class PlanBook:
    """Implements `Entitlements`, and what tenants and the registry ask of tiers.

    Args:
        view: the catalogue, and what stands above each tenant's plan.
        clock: grants end by wall time.
    """

    def __init__(self, view: PlansView, clock: Clock) -> None:
        self._view = view
        self._clock = clock

    def ask(self, domain: DomainId, tier: str, feature: str) -> Entitlement:
        """Answer for one tenant at its tier; see the port."""
        return decide(self._view.ladder, self._view.above(domain), tier, feature, self._clock.now_ms())

    def limits_of(self, domain: DomainId, tier: str) -> Mapping[str, int]:
        """Return the limits of a tenant by name; what has no limit is left out, all is for an unknown tier.

        How much of the hub itself it may use is not among them.
        """
        ladder, above, now_ms = self._view.ladder, self._view.above(domain), self._clock.now_ms()
        if ladder.rank_of(tier) is None:
            return {}
        asked = (
            decide(ladder, above, tier, name, now_ms)
            for name, feature in ladder.catalogue.features.items()
            if feature.kind is EntitlementKind.METERED and not name.startswith(HUB_PREFIX)
        )
        return {one.feature: one.limit for one in asked if one.limit is not None}

    def hub_limits(self, domain: DomainId, tier: str) -> Mapping[str, float]:
        """Return how much of the hub itself a tenant may use, by name; what its plan does not limit is left out.

        A tier that is unknown gets what the lowest plan grants.
        """
        ladder, above, now_ms = self._view.ladder, self._view.above(domain), self._clock.now_ms()
        if ladder.rank_of(tier) is None:
            tier = ladder.names()[0]
        found: dict[str, float] = {}
        for name in HUB_LIMITS:
            entitlement = decide(ladder, above, tier, name, now_ms)
            said = entitlement.limit if entitlement.kind is EntitlementKind.METERED else entitlement.value
            if entitlement.source != UNKNOWN and isinstance(said, int | float) and not isinstance(said, bool):
                found[name] = said
        return found

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue in force."""
        return self._view.ladder.catalogue

    @property
    def highest_rank(self) -> int:
        """The rank of the highest plan."""
        return self._view.ladder.highest_rank

    @property
    def ranks_revision(self) -> int:
        """Moves when plans come, go or rank otherwise."""
        return self._view.ranks_revision

    def names(self) -> tuple[str, ...]:
        """Return the plans' names, lowest rank first."""
        return self._view.ladder.names()

    def rank_of(self, tier: str) -> int | None:
        """Return a plan's rank, higher sees more; None for an unknown one."""
        return self._view.ladder.rank_of(tier)

    def tier_at(self, rank: int) -> str | None:
        """Return the lowest plan whose rank is at least `rank`; None when there is none."""
        return self._view.ladder.tier_at(rank)
