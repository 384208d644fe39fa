"""Records that leases have ended: the shell around the keeper, which owns expiry.

When the store is down nothing is lost and nothing is freed: what is due stays due, can still be renewed, and is
tried again every `RETRY_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.kernel.wheel import ADVANCE_SLICE
from central_hub.quotas.keeper import Kept, LeaseKeeper
from central_hub.quotas.model import (
    COUNT_LEASES,
    FREED_PER_RECORD_MAX,
    Ending,
    Lease,
    TenantResourcesFreed,
    held_count,
    lease_stream,
)
from central_hub.quotas.view import QuotasView

LOOK_EVERY_S: Final = 0.02
"""Longest sleep between two looks at the leases: bounds how late an expiry is."""
RETRY_S: Final = 0.5
BATCHES_AT_ONCE: Final = 32
PRIME_SLICE: Final = 64
WORK: Final = "allocation"
"""Ending a tenant's leases, as work of one of several hubs."""

_log = structlog.get_logger("central_hub.quotas")


class Endings:
    """Ends what nobody renewed.

    Args:
        keeper: knows whose time is over.
        view: what is held.
        sequencer: makes endings durable.
        ownership: which hub ends a tenant's leases.
    """

    def __init__(
        self, keeper: LeaseKeeper, view: QuotasView, sequencer: Sequencer, ownership: Ownership | None = None
    ) -> None:
        self._keeper = keeper
        self._view = view
        self._sequencer = sequencer
        self._ownership = ownership or Alone()
        self._ownership.on_change(keeper.whole_again)
        self._wake = asyncio.Event()
        self.expired = 0
        self.failed = 0

    async def prime(self) -> None:
        """Take in every lease there is; call it when the views are rebuilt, before serving."""
        taken = 0
        for domain in self._view.domains():
            for lease in self._view.leases_after(domain, -1, self._view.count_leases(domain)):
                self._keeper.adopt(domain, lease.id, lease.resource, lease.ttl_ms)
                taken += 1
                if taken % PRIME_SLICE == 0:
                    await asyncio.sleep(0)

    async def run(self) -> None:
        """Look and record until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._record())
            while True:
                more = self._keeper.look(ADVANCE_SLICE)
                if self._keeper.due:
                    self._wake.set()
                await asyncio.sleep(0 if more else LOOK_EVERY_S)

    async def write(self) -> bool:
        """Record what is due now; say whether all of it became durable."""
        by_domain: dict[DomainId, list[Kept]] = {}
        for kept in self._keeper.due:
            by_domain.setdefault(kept.domain, []).append(kept)
        for domain in [domain for domain in by_domain if not self._ownership.owns(WORK, domain)]:
            del by_domain[domain]  # another hub ends them, and this one reads that it did
        batches = [
            (domain, found[start : start + FREED_PER_RECORD_MAX])
            for domain, found in by_domain.items()
            for start in range(0, len(found), FREED_PER_RECORD_MAX)
        ]
        done = True
        for start in range(0, len(batches), BATCHES_AT_ONCE):
            some = batches[start : start + BATCHES_AT_ONCE]
            results = await asyncio.gather(*(self._end(domain, batch) for domain, batch in some))
            done = done and all(results)
        return done

    async def _record(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self.write():
                await asyncio.sleep(RETRY_S)
                self._wake.set()

    async def _end(self, domain: DomainId, batch: Sequence[Kept]) -> bool:
        def decide(tx: Tx) -> int:
            ended: list[Lease] = []
            for kept in batch:
                tx.touch(domain, lease_stream(kept.lease_id))
                lease = self._view.lease(domain, kept.lease_id)
                if lease is not None and self._keeper.is_due(kept):  # renewed in the meantime stays
                    ended.append(lease)
            free(tx, domain, ended, Ending.EXPIRED)
            return len(ended)

        try:
            self.expired += (await self._sequencer.submit(HUB_ACTOR, (domain,), decide)).answer
        except HubError as error:
            self.failed += 1
            _log.warning("quotas.expiry_not_recorded", code=error.code, domain=domain, leases=len(batch))
            return False
        return True


def free(tx: Tx, domain: DomainId, leases: Sequence[Lease], reason: Ending) -> None:
    """Propose that leases end; nothing where there are none."""
    if not leases:
        return
    counts = {COUNT_LEASES: -len(leases)}
    for lease in leases:
        stream = held_count(lease.resource)
        counts[stream] = counts.get(stream, 0) - lease.amount
    tx.append(
        domain,
        TenantResourcesFreed(lease_ids=tuple(lease.id for lease in leases), reason=reason),
        streams=tuple(lease_stream(lease.id) for lease in leases),
        counts=counts,
    )
