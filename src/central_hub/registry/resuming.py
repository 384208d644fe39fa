"""What a watch that was cut must be told: the difference between a position and now. Pure but for rendering.

Where the difference is exactly known it is a delta; where it is not (another domain's service
stands behind the name now, or what was removed is forgotten) the service is taken away and
brought back whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from central_hub.kernel.ids import SHARED, DomainId
from central_hub.kernel.seq import HubSeq
from central_hub.registry.ports import Positions
from central_hub.registry.service import Service
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import Viewer, keys_for, visible
from central_hub.registry.watch_wire import WatchWire


def is_usable(view: RegistryView, viewer: Viewer, since: HubSeq, positions: Positions) -> bool:
    """Say whether a position lies between the tombstone horizon and the head, in both of the caller's domains."""
    for domain, _ in keys_for(viewer, ""):
        seq = _seq_of(since, domain)
        if not view.horizon(domain) <= seq <= positions.position(domain):
            return False
    return True


def changed_since(view: RegistryView, viewer: Viewer, names: frozenset[str] | None, since: HubSeq) -> list[str]:
    """Return the watched names with a change after a position, sorted; `names` is None for all."""
    if names is None:
        found: set[str] = set()
        for domain, _ in keys_for(viewer, ""):
            seq = _seq_of(since, domain)
            found.update(view.vanished_since(domain, seq))
            found.update(name for name, service in view.services(domain).items() if service.revision > seq)
        return sorted(found)
    return sorted(
        name
        for name in names
        if any(view.revision(domain, name) > _seq_of(since, domain) for domain, _ in keys_for(viewer, name))
    )


def resumed(view: RegistryView, wire: WatchWire, viewer: Viewer, name: str, since: HubSeq) -> Iterable[bytes]:
    """Yield the data of the deltas that bring a name from a position to now."""
    found = visible(view, viewer, name)
    if found is None:
        if _may_have_seen(view, viewer, name, since):
            yield wire.gone(viewer, name, ())
        return
    domain, service = found
    seq = _seq_of(since, domain)
    if service.revision <= seq and not _was_shadowed(view, viewer, name, domain, since):
        return
    removed = service.removed_since(seq)
    exact = (
        removed is not None
        and service.created <= seq
        and _was_visible(service, domain, seq)
        and not _was_shadowed(view, viewer, name, domain, since)
    )
    if not exact or removed is None:
        yield wire.gone(viewer, name, ())
        yield wire.full(viewer, name)
        return
    upsert = [key for key, instance in service.instances.items() if instance.revision > seq]
    yield wire.delta(viewer, name, domain, service, upsert, removed)


def _may_have_seen(view: RegistryView, viewer: Viewer, name: str, since: HubSeq) -> bool:
    """Say whether the caller, at that position or after, may have seen what it does not see now."""
    if viewer.domain != SHARED and view.revision(viewer.domain, name) > since.tenant:
        return True
    shared = view.service(SHARED, name)
    if shared is not None and shared.ranked <= since.shared:
        return False
    return view.rank_floor(SHARED, name) <= viewer.reach


def _was_visible(service: Service, domain: DomainId, seq: int) -> bool:
    """Say whether the rank a shared service asks for is the one it asked for then."""
    return domain != SHARED or service.ranked <= seq


def _was_shadowed(view: RegistryView, viewer: Viewer, name: str, domain: DomainId, since: HubSeq) -> bool:
    """Say whether the caller's own service may have stood before the shared one at that position."""
    if domain != SHARED or viewer.domain == SHARED:
        return False
    return view.revision(viewer.domain, name) > since.tenant


def _seq_of(since: HubSeq, domain: DomainId) -> int:
    return since.shared if domain == SHARED else since.tenant
