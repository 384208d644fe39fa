"""What becomes of a tenant's instances when the tenant is deleted: they leave, one fact each."""

from __future__ import annotations

import asyncio
from typing import Final

from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.registry.model import (
    COUNT_INSTANCES,
    COUNT_SERVICES,
    RemovalReason,
    ServiceUnregistered,
    instance_stream,
)
from central_hub.registry.view import RegistryView

TOGETHER: Final = 256
"""Instances that leave at a time; the commands of others come in between."""


class Leaving:
    """Implements the tenants' `Leaves` for instances.

    Args:
        view: what is registered.
        sequencer: makes facts durable.
    """

    def __init__(self, view: RegistryView, sequencer: Sequencer) -> None:
        self._view = view
        self._sequencer = sequencer

    async def leave(self, domain: DomainId) -> None:
        """Remove every instance of a domain; whoever could register one there is refused already."""
        while names := [
            (name, instance_id)
            for name, service in self._view.services(domain).items()
            for instance_id in service.instances
        ][:TOGETHER]:
            await asyncio.gather(*(self._remove(domain, *one) for one in names))

    async def _remove(self, domain: DomainId, name: str, instance_id: str) -> None:
        def decide(tx: Tx) -> None:
            tx.touch(domain, instance_stream(name, instance_id))
            service = self._view.service(domain, name)
            if service is None or instance_id not in service.instances:
                return
            counts = {COUNT_INSTANCES: -1}
            if len(service.instances) == 1:
                counts[COUNT_SERVICES] = -1
            tx.append(
                domain,
                ServiceUnregistered(service=name, instance_id=instance_id, reason=RemovalReason.TENANT_DELETED),
                streams=(instance_stream(name, instance_id),),
                counts=counts,
            )

        await self._sequencer.submit(HUB_ACTOR, (domain,), decide)
