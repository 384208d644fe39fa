"""What becomes of a tenant's quota leases when the tenant is deleted: they end, on record."""

from __future__ import annotations

from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.quotas.ending import free
from central_hub.quotas.model import FREED_PER_RECORD_MAX, Ending, lease_stream
from central_hub.quotas.view import QuotasView


class LeasesLeaving:
    """Implements the tenants' `Leaves` for quota leases.

    Args:
        view: what is held.
        sequencer: makes endings durable.
    """

    def __init__(self, view: QuotasView, sequencer: Sequencer) -> None:
        self._view = view
        self._sequencer = sequencer

    async def leave(self, domain: DomainId) -> None:
        """End every lease of a domain; whoever could get one there is refused already."""

        def decide(tx: Tx) -> None:
            ended = self._view.leases_after(domain, -1, FREED_PER_RECORD_MAX)
            for lease in ended:
                tx.touch(domain, lease_stream(lease.id))
            free(tx, domain, ended, Ending.RELEASED)

        while self._view.count_leases(domain):
            await self._sequencer.submit(HUB_ACTOR, (domain,), decide)
