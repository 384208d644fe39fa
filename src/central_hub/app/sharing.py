"""What hubs that share a store owe each other, wired: what they hear, the keys they make and destroy, who they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from central_hub.app.parts import Core, Discovery, Quotas
from central_hub.cluster.routes import ClusterRoutes
from central_hub.cluster.routes import operations as cluster_operations
from central_hub.cluster.schemas import SignalsAnswer
from central_hub.edge.operations import Operation
from central_hub.health.keeper import WORK as WORK_INSTANCE
from central_hub.health.passing import Passing
from central_hub.kernel.errors import HubError
from central_hub.kernel.records import Applied
from central_hub.monitoring.cluster import cluster_collector
from central_hub.monitoring.metrics import Collector
from central_hub.quotas.passing import RenewalsPassed
from central_hub.secrets.model import EncryptionRotationEnded
from central_hub.tenants.model import TenantShredded
from central_hub.webhooks.delivering import WORK as WORK_DELIVERY

COUNTED_MAX: Final = 10_000
"""Instances whose hubs are counted for an answer."""
RETRY_S: Final = 1.0

_KEYS_CHANGED: Final = (TenantShredded, EncryptionRotationEnded)
_log = structlog.get_logger("central_hub.app")


class KeysElsewhere:
    """Learns of data keys that another hub made anew or destroyed, as soon as the log says so.

    Args:
        core: what everything stands on.
    """

    def __init__(self, core: Core) -> None:
        self._sealer = core.stores.sealer
        self._changed = asyncio.Event()

    def applied(self, batch: Sequence[Applied]) -> None:
        """Look at the keys again when some changed; a listener of the runner."""
        if any(isinstance(one.fact, _KEYS_CHANGED) for one in batch):
            self._changed.set()

    async def run(self) -> None:
        """Learn until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._sealer.refresh()
            except HubError as error:
                _log.warning("app.keys_not_refreshed", code=error.code)
                await asyncio.sleep(RETRY_S)
                self._changed.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What hubs that share a store do for each other."""

    passing: Passing
    keys: KeysElsewhere
    routes: ClusterRoutes
    collector: Collector

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of the cluster."""
        return cluster_operations(self.routes)


def sharing(core: Core, discovery: Discovery, quotas: Quotas) -> Sharing:
    """Wire it; a hub that has its store for itself says nothing and hears nothing."""
    stores = core.stores
    passing = Passing(stores.signals, discovery.keeper, discovery.loads, core.clock)
    RenewalsPassed(stores.signals, quotas.keeper)

    def said() -> SignalsAnswer:
        return SignalsAnswer(**stores.signals.counts())

    def instances() -> list[str]:
        names: list[str] = []
        for domain in discovery.keeper.population.domains():
            for group in domain.groups.values():
                names.extend(kept.name for kept in group.members.values())
                if len(names) >= COUNTED_MAX:
                    return names[:COUNTED_MAX]
        return names

    routes = ClusterRoutes(
        roster=stores.roster, stale_ms=stores.stale_ms, pos=lambda: core.runner.pos,
        work={WORK_INSTANCE: instances, WORK_DELIVERY: lambda: [str(each) for each in core.webhooks.domains()]},
        signals=said,
    )  # fmt: skip
    keys = KeysElsewhere(core)
    if stores.roster is not None:
        core.runner.listen(keys.applied)
    return Sharing(passing=passing, keys=keys, routes=routes, collector=cluster_collector(stores.roster, said))
