"""How quotas are put together: leases, budgets and metering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from central_hub.app.parts import Core, Quotas
from central_hub.edge.operations import Operation
from central_hub.kernel.patience import CAUGHT_UP_S
from central_hub.kernel.records import Applied
from central_hub.monitoring.collectors import quotas_collector
from central_hub.monitoring.metrics import Collector
from central_hub.plans.model import FACTS as PLANS_FACTS
from central_hub.quotas.budgets import Budgets
from central_hub.quotas.ending import Endings
from central_hub.quotas.hub_limits import HubLimitsReading
from central_hub.quotas.hub_limits import operations as hub_limits_operations
from central_hub.quotas.keeper import LeaseKeeper
from central_hub.quotas.limits import PlanLimits
from central_hub.quotas.metering import Metering
from central_hub.quotas.reading import UsageReading
from central_hub.quotas.routes import QuotaRoutes
from central_hub.quotas.routes import operations as quotas_operations
from central_hub.quotas.usage_routes import UsageRoutes
from central_hub.quotas.usage_routes import operations as usage_operations
from central_hub.quotas.usecases import Allocations

SIGNALS_LATE_MS: Final = 1_000.0
"""What other hubs hear comes with the next look at the store, ten times a second; this is several of them lost."""
_ABOVE: Final = frozenset(fact.__name__ for fact in PLANS_FACTS)


def slack_of(core: Core) -> float:
    """Return how late, in milliseconds, what another hub heard may come here."""
    return 0.0 if core.stores.roster is None else SIGNALS_LATE_MS


def patience_of(core: Core) -> float:
    """Return how long a reader waits, in seconds, for what another hub wrote."""
    return 0.0 if core.stores.roster is None else CAUGHT_UP_S


def quotas_of(core: Core) -> Quotas:
    """Put together what holds, counts and meters."""
    keeper, limits = LeaseKeeper(core.clock, slack_ms=slack_of(core)), PlanLimits(core.book)
    core.runner.listen(keeper.applied)
    core.runner.listen(listener_of(core))
    budgets = Budgets(core.quotas, core.sequencer, limits, core.authentication, core.clock)
    return Quotas(
        keeper=keeper,
        endings=Endings(keeper, core.quotas, core.sequencer, core.ownership),
        allocations=Allocations(core.quotas, keeper, core.sequencer, limits, core.authentication, core.clock),
        budgets=budgets,
        metering=Metering(core.metered, core.sequencer, core.authentication, core.clock),
        reading=UsageReading(core.quotas, budgets, limits),
    )


def rows_of(quotas: Quotas, core: Core) -> tuple[Operation, ...]:
    """Return the operations of quotas and metering."""
    return (
        *quotas_operations(QuotaRoutes(quotas.allocations, quotas.budgets, quotas.reading)),
        *usage_operations(UsageRoutes(quotas.metering, core.tenants)),
        *hub_limits_operations(
            HubLimitsReading(
                core.protection, core.book, queued=core.sequencer.queued_of, leases=core.quotas.count_leases
            )
        ),
    )


def collector_of(quotas: Quotas) -> Collector:
    """Return the collector of what quotas count."""
    return quotas_collector(quotas.keeper, quotas.endings, quotas.allocations, quotas.budgets, quotas.metering)


def listener_of(core: Core) -> Callable[[Sequence[Applied]], None]:
    """Return what has the limits of a tenant looked at again when what stands above its plan changed."""

    def applied(batch: Sequence[Applied]) -> None:
        for one in batch:
            if one.type in _ABOVE:
                core.protection.changed(one.domain)

    return applied
