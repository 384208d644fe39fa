"""From what a group of watchers saw under a name to what it sees now."""

from __future__ import annotations

from collections.abc import Mapping

from central_hub.kernel.ids import SHARED, DomainId
from central_hub.registry.model import ServiceKey
from central_hub.registry.view import Change, RegistryView
from central_hub.registry.visibility import Viewer, visible
from central_hub.registry.watch_groups import Dirty
from central_hub.registry.watch_wire import WatchWire


class Differences:
    """Works out the deltas of live watches.

    Args:
        view: what is registered.
        wire: renders events.
    """

    def __init__(self, view: RegistryView, wire: WatchWire) -> None:
        self._view = view
        self._wire = wire

    def seen_before(self, viewer: Viewer, name: str, changes: Mapping[ServiceKey, Change]) -> DomainId | None:
        """Return the domain a name was seen in before these changes."""
        if viewer.domain != SHARED and self._rank_before(viewer.domain, name, changes) is not None:
            return viewer.domain
        rank = self._rank_before(SHARED, name, changes)
        return None if rank is None or rank > viewer.reach else SHARED

    def _rank_before(self, domain: DomainId, name: str, changes: Mapping[ServiceKey, Change]) -> int | None:
        change = changes.get((domain, name))
        if change is not None:
            return change.rank_before
        service = self._view.service(domain, name)
        return None if service is None else service.rank

    def events(self, viewer: Viewer, name: str, dirty: Dirty) -> tuple[bytes, ...]:
        """Return the data of the deltas that bring a group from what it saw to what it sees now."""
        found = visible(self._view, viewer, name)
        if found is None:
            if dirty.before == {None}:
                return ()
            last = SHARED if SHARED in dirty.before else viewer.domain
            return (self._wire.gone(viewer, name, (), last),)
        domain, service = found
        if dirty.before == {None}:
            return (self._wire.full(viewer, name),)
        if dirty.before != {domain}:
            held = self._maybe_held(viewer, name, dirty)
            if held is None:
                return (self._wire.gone(viewer, name, ()), self._wire.full(viewer, name))
            gone = held.difference(service.instances)
            return (self._wire.delta(viewer, name, domain, service, service.instances, gone),)
        ids = dirty.instance_ids.get(domain)
        if not ids:
            return ()  # what changed is shadowed
        upsert = [one for one in ids if one in service.instances]
        return (self._wire.delta(viewer, name, domain, service, upsert, ids.difference(upsert)),)

    def _maybe_held(self, viewer: Viewer, name: str, dirty: Dirty) -> set[str] | None:
        """Return every instance id a watcher may hold under a name, from wherever it was seen.

        None when that cannot be said without naming instances of a service the group no longer sees.
        """
        held: set[str] = set()
        for domain in dirty.before:
            service = None if domain is None else self._view.service(domain, name)
            if service is not None and domain == SHARED and service.rank > viewer.reach:
                return None
            if service is not None:
                held.update(service.instances)
            if domain is not None:
                held |= dirty.instance_ids.get(domain, set())
        return held
