"""Tells how many instances services have, once a second where it changed: an event, off the registration's path.

Soft state: what was told is known since the hub started, and instances that come and go within a second tell nothing.
Registrations themselves are facts; whoever needs every one of them follows those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ownership import Ownership
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.registry.model import (
    ServiceKey,
    ServiceRegistered,
    ServiceScaled,
    ServicesRegistered,
    ServiceUnregistered,
)
from central_hub.registry.view import RegistryView

COALESCED_S: Final = 1.0
"""Seconds over which changes of one service are told as one."""

TOLD_AT_ONCE: Final = 256
"""Services of one domain that are told in one command."""

WORK: Final = "scaling"

_log = structlog.get_logger("central_hub.registry")


class Scaling:
    """Notices services that have more or fewer instances, and appends an event for each.

    Args:
        registry: how many there are.
        sequencer: makes events durable. While it cannot, what changed waits here.
        ownership: of several hubs one tells a domain's.
    """

    def __init__(self, registry: RegistryView, sequencer: Sequencer, ownership: Ownership) -> None:
        self._registry = registry
        self._sequencer = sequencer
        self._ownership = ownership
        self._told: dict[ServiceKey, int] = {}
        self._changed: dict[ServiceKey, str] = {}
        self._wake = asyncio.Event()

    def prime(self) -> None:
        """Take what there is at the start as told."""
        for domain in self._registry.domains():
            for name, service in self._registry.services(domain).items():
                self._told[domain, name] = len(service.instances)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Follow what became true; a listener of the runner."""
        for applied in batch:
            match applied.fact:
                case ServiceRegistered(instance=instance):
                    self._changed[applied.domain, instance.service_name] = applied.id
                case ServicesRegistered(instances=instances):
                    for instance in instances:
                        self._changed[applied.domain, instance.service_name] = applied.id
                case ServiceUnregistered(service=service):
                    self._changed[applied.domain, service] = applied.id
                case ServiceScaled(service=service, instances=count):
                    self._take(applied.domain, service, count)
                    continue
                case _:
                    continue
            self._wake.set()

    async def run(self) -> None:
        """Tell what changed, once in `COALESCED_S`, until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(COALESCED_S)
            self._wake.clear()
            await self.tell()

    async def tell(self) -> None:
        """Tell what changed since the last time; what the store does not take now is told the next time."""
        changed, self._changed = self._changed, {}
        by_domain: dict[DomainId, list[ServiceScaled]] = {}
        for (domain, service), cause in changed.items():
            known = self._registry.service(domain, service)
            count = 0 if known is None else len(known.instances)
            previous = self._told.get((domain, service), 0)
            if previous and count != previous and self._ownership.owns(WORK, domain):
                fact = ServiceScaled(service=service, instances=count, previous=previous, caused_by=cause)
                by_domain.setdefault(domain, []).append(fact)
            else:
                self._take(domain, service, count)
        for domain, facts in by_domain.items():
            for start in range(0, len(facts), TOLD_AT_ONCE):
                await self._append(domain, facts[start : start + TOLD_AT_ONCE])

    async def _append(self, domain: DomainId, facts: Sequence[ServiceScaled]) -> None:
        def decide(tx: Tx) -> None:
            for fact in facts:
                tx.append(domain, fact, streams=(f"service/{fact.service}",), category=Category.EVENT)

        try:
            await self._sequencer.submit(HUB_ACTOR, (domain,), decide)
        except HubError as error:
            _log.warning("registry.scaling_untold", tenant=domain, code=error.code, services=len(facts))
            for fact in facts:
                self._changed.setdefault((domain, fact.service), fact.caused_by)
            self._wake.set()

    def _take(self, domain: DomainId, service: str, count: int) -> None:
        if count:
            self._told[domain, service] = count
        else:
            self._told.pop((domain, service), None)
