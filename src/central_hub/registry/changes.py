"""What happens when facts about services were applied: waiters wake, watchers are told, caches let go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.signals import Loads
from central_hub.registry.view import RegistryView
from central_hub.registry.waiting import Waiters
from central_hub.registry.watching import WatchHub


class Changes:
    """The registry's listener on the runner; it also hands load reports to the watch.

    Args:
        view: says what changed.
        waiters: blocking reads.
        watch: streams.
        catalogue: encoded services.
        loads: reports of instances that may have left.
    """

    def __init__(
        self, view: RegistryView, waiters: Waiters, watch: WatchHub, catalogue: Catalogue, loads: Loads
    ) -> None:
        self._view = view
        self._waiters = waiters
        self._watch = watch
        self._catalogue = catalogue
        self._loads = loads
        self._further: list[Callable[[DomainId, str], None]] = []
        loads.on_change(watch.load_changed)

    def access_changed(self, domain: DomainId) -> None:
        """Look at once whether those who watch or wait still may: after a key, tier or tenant changed."""
        self._watch.access_changed(domain)
        self._waiters.access_changed(domain)

    def on_change(self, told: Callable[[DomainId, str], None]) -> None:
        """Call `told` with (domain, service) for every service that changed."""
        self._further.append(told)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Take note of an applied batch; this is what the runner calls."""
        changes = self._view.take_changes()
        if not changes:
            return
        for key, change in changes.items():
            domain, name = key
            service = self._view.service(domain, name)
            if service is None:
                self._catalogue.drop(domain, name)
            if len(self._loads):
                for instance_id in change.instance_ids:
                    if service is None or instance_id not in service.instances:
                        self._loads.drop(domain, name, instance_id)
            self._waiters.wake(key)
            for told in self._further:
                told(domain, name)
        self._watch.changed(changes)
