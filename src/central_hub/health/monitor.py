"""The shell that runs health: looks at leases, starts probes, writes the journal. Owns its tasks.

Every look is a slice of bounded work; between slices others run.
"""

from __future__ import annotations

import asyncio
from typing import Final

from central_hub.health.journal import Journal
from central_hub.health.keeper import Keeper
from central_hub.health.prober import Prober
from central_hub.kernel.clock import Clock
from central_hub.kernel.ownership import Ownership
from central_hub.kernel.probing import Probe
from central_hub.kernel.sequencer import Sequencer
from central_hub.kernel.wheel import ADVANCE_SLICE
from central_hub.registry.view import RegistryView

LOOK_EVERY_S: Final = 0.02
"""Longest sleep between two looks at the wheels: bounds how late an expiry or a probe is."""

PRIME_SLICE: Final = 64
"""Instances taken in before others run."""


class Monitor:
    """Runs the keeper, the prober and the journal.

    Args:
        keeper: leases and verdicts.
        probe: asks instances.
        registry: what is registered.
        sequencer: makes transitions durable.
        clock: wall and monotonic time.
        ownership: which hub speaks for the system as a whole.
    """

    def __init__(
        self,
        keeper: Keeper,
        probe: Probe,
        registry: RegistryView,
        sequencer: Sequencer,
        clock: Clock,
        ownership: Ownership | None = None,
    ) -> None:
        self._keeper = keeper
        self._registry = registry
        self._wake = asyncio.Event()
        self.journal = Journal(keeper, registry, sequencer, ownership)
        self.prober = Prober(keeper, probe, clock, self._wake)

    async def prime(self) -> None:
        """Take in everything that is registered; call it when the views are rebuilt, before serving."""
        taken = 0
        for domain in self._registry.domains():
            for name in tuple(self._registry.services(domain)):
                service = self._registry.service(domain, name)
                for instance in () if service is None else tuple(service.instances.values()):
                    self._keeper.adopt(domain, instance)
                    taken += 1
                    if taken % PRIME_SLICE == 0:
                        await asyncio.sleep(0)

    async def run(self) -> None:
        """Look, probe and journal until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.journal.run(self._wake))
            while True:
                more_leases = self._keeper.look(limit=ADVANCE_SLICE)
                more_probes = self.prober.start_due(group)
                if self._keeper.dirty:
                    self._wake.set()
                await asyncio.sleep(0 if more_leases or more_probes else LOOK_EVERY_S)

    def changed(self) -> None:
        """Have the journal look at what was marked (after a heartbeat changed a verdict)."""
        if self._keeper.dirty:
            self._wake.set()
