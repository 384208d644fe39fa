"""Makes verdicts durable: transitions and endings of leases become facts, in batches per domain.

When the store is down nothing is lost: what is to be journaled stays marked, readers see this
hub's own verdicts meanwhile, and it is tried again every `JOURNAL_RETRY_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from central_hub.health.keeper import Keeper
from central_hub.health.model import JOURNAL_BATCH_MAX, JOURNAL_RETRY_S, SYSTEM_STREAM, Standing, SystemHealthChanged
from central_hub.health.view import ORDER, Kept
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.records import HUB_ACTOR, Category
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.registry.model import (
    COUNT_INSTANCES,
    COUNT_SERVICES,
    ServiceHealthChanged,
    ServiceUnregistered,
    Status,
    instance_stream,
)
from central_hub.registry.view import RegistryView

BATCHES_AT_ONCE: Final = 32
WORK_SYSTEM: Final = "system-health"
"""Saying how the system as a whole is, as work of one of several hubs."""

Unwritten = Callable[[DomainId, str, str], None]

_log = structlog.get_logger("central_hub.health")


class Journal:
    """Writes what the keeper marked.

    Args:
        keeper: what is to be journaled.
        registry: what is journaled already.
        sequencer: makes it durable.
        ownership: which hub speaks for the system as a whole.
    """

    def __init__(
        self, keeper: Keeper, registry: RegistryView, sequencer: Sequencer, ownership: Ownership | None = None
    ) -> None:
        self._keeper = keeper
        self._registry = registry
        self._sequencer = sequencer
        self._ownership = ownership or Alone()
        self._system = Status.UNKNOWN
        self._unwritten: list[Unwritten] = []
        self._told: dict[Kept, Status] = {}
        self.written = 0
        self.failed = 0

    def on_unwritten(self, told: Unwritten) -> None:
        """Call `told` with (domain, service, instance id) of a verdict that the store does not take now."""
        self._unwritten.append(told)

    async def write(self) -> bool:
        """Write what is marked now; say whether all of it became durable."""
        by_domain: dict[DomainId, list[Kept]] = {}
        for kept in list(self._keeper.dirty):
            if not self._keeper.judges(kept):
                self._keeper.let_go(kept)
                continue
            by_domain.setdefault(kept.domain, []).append(kept)
        batches = [
            (domain, found[start : start + JOURNAL_BATCH_MAX])
            for domain, found in by_domain.items()
            for start in range(0, len(found), JOURNAL_BATCH_MAX)
        ]
        done = True
        for start in range(0, len(batches), BATCHES_AT_ONCE):
            some = batches[start : start + BATCHES_AT_ONCE]
            results = await asyncio.gather(*(self._write(domain, batch) for domain, batch in some))
            done = done and all(results)
        return await self._announce() and done

    async def run(self, wake: asyncio.Event) -> None:
        """Write whenever `wake` is set, until cancelled."""
        while True:
            await wake.wait()
            wake.clear()
            if not await self.write():
                await asyncio.sleep(JOURNAL_RETRY_S)
                wake.set()

    async def _write(self, domain: DomainId, batch: Sequence[Kept]) -> bool:
        def decide(tx: Tx) -> int:
            return self._decide(tx, domain, batch)

        try:
            committed = await self._sequencer.submit(HUB_ACTOR, (domain,), decide)
        except HubError as error:
            self.failed += 1
            _log.warning("health.journal_failed", code=error.code, domain=domain, marked=len(batch))
            self._tell(batch)
            return False
        self.written += committed.answer
        for kept in batch:
            self._told.pop(kept, None)
            # What changed again meanwhile stays marked; what left is no longer kept.
            if kept.leaving is None and kept.standing.status is kept.journaled:
                self._keeper.dirty.pop(kept, None)
        return True

    def _tell(self, batch: Sequence[Kept]) -> None:
        """Pass on, once each, the verdicts that no fact will tell of for now."""
        for kept in batch:
            status = kept.standing.status
            if self._told.get(kept) is not status:
                self._told[kept] = status
                for told in self._unwritten:
                    told(kept.domain, kept.service, kept.instance_id)

    def _decide(self, tx: Tx, domain: DomainId, batch: Sequence[Kept]) -> int:
        written = 0
        left: dict[str, int] = {}
        for kept in batch:
            stream = instance_stream(kept.service, kept.instance_id)
            tx.touch(domain, stream)
            instance = self._registry.instance(domain, kept.service, kept.instance_id)
            if instance is None:
                self._keeper.dirty.pop(kept, None)
            elif kept.leaving is not None:
                counts = {COUNT_INSTANCES: -1}
                left[kept.service] = left.get(kept.service, 0) + 1
                service = self._registry.service(domain, kept.service)
                if service is not None and len(service.instances) == left[kept.service]:
                    counts[COUNT_SERVICES] = -1
                fact = ServiceUnregistered(service=kept.service, instance_id=kept.instance_id, reason=kept.leaving)
                tx.append(domain, fact, streams=(stream,), counts=counts)
                written += 1
            elif instance.status is not kept.standing.status:
                tx.append(domain, _changed(kept, instance.status), streams=(stream,))
                written += 1
        return written

    async def _announce(self) -> bool:
        """Tell the platform when the system as a whole is in another state."""
        population = self._keeper.population
        status, previous = population.status, self._system
        if status is previous or not self._ownership.owns(WORK_SYSTEM, ""):
            return True
        event = SystemHealthChanged(
            status=status,
            previous=previous,
            services=dict(zip(ORDER, population.services, strict=True)),
            instances=dict(zip(ORDER, population.instances, strict=True)),
        )

        def decide(tx: Tx) -> None:
            tx.append(PLATFORM, event, streams=(SYSTEM_STREAM,), category=Category.EVENT)

        try:
            await self._sequencer.submit(HUB_ACTOR, (PLATFORM,), decide)
        except HubError as error:
            self.failed += 1
            _log.warning("health.journal_failed", code=error.code, domain=PLATFORM, marked=1)
            return False
        self._system = status
        return True


def _changed(kept: Kept, previous: Status) -> ServiceHealthChanged:
    standing = kept.standing
    return ServiceHealthChanged(
        service=kept.service,
        instance_id=kept.instance_id,
        status=standing.status,
        reason=standing.reason,
        previous=previous,
        evidence=evidence_of(kept, standing),
    )


def evidence_of(kept: Kept, standing: Standing) -> dict[str, object]:
    """Return what a verdict rests on, as JSON; nothing that was not there is shown."""
    evidence: dict[str, object] = {"kept_by": kept.kept_by, "judged_by": "probe" if kept.target else "heartbeat"}
    for name in ("passes", "fails", "refusals", "strained", "warned", "suppressed", "protected"):
        value = getattr(standing, name)
        if value:
            evidence[name] = value
    if standing.latency_ms is not None:
        evidence["latency_ms"] = standing.latency_ms
    if standing.penalty:
        evidence["flap_penalty"] = round(standing.penalty)
    return evidence
