"""What the lane answers discovery with: the catalogue's entries, as one caller sees them."""

from __future__ import annotations

from central_hub.edge.lane.entries import LaneEntry, LookupCounter
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import SHARED
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.dependencies import Dependencies
from central_hub.registry.model import SCOPE_READ
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import keys_for, viewer_of, visible


class RegistryLane:
    """Implements the lane's port on the registry.

    Args:
        view: what is registered.
        catalogue: its encoded form.
        dependencies: where look-ups are counted.
    """

    def __init__(self, view: RegistryView, catalogue: Catalogue, dependencies: Dependencies) -> None:
        self._view = view
        self._catalogue = catalogue
        self._dependencies = dependencies

    def entry(self, service: str, ctx: TenantContext) -> LaneEntry | None:
        """Return what answers `service` for this caller.

        None for every refusal, for a service of many instances that is not encoded yet, and for the
        rare name with a history in both domains, whose revision is this caller's own.
        """
        if not ctx.principal.holds(SCOPE_READ):
            return None
        viewer = viewer_of(ctx)
        found = visible(self._view, viewer, service)
        if found is None:
            return None
        domain = found[0]
        if viewer.domain != SHARED:
            for other, name in keys_for(viewer, service):
                if other != domain and self._view.revision(other, name):
                    return None
        entry = self._catalogue.at_hand(domain, found[1])
        return None if entry is None else entry.lane

    def lookups(self, ctx: TenantContext, service: str) -> LookupCounter:
        """Return the counter of this caller's look-ups of `service`."""
        return self._dependencies.counter(viewer_of(ctx).domain, ctx.caller_service, service)
