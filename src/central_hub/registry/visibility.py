"""What a caller sees under a name. Pure.

One rank comparison decides about a shared service; a tenant's own service shadows the shared
one of the same name entirely.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.registry.model import RANK_PUBLIC, ServiceKey
from central_hub.registry.ports import Tiers
from central_hub.registry.service import Service
from central_hub.registry.view import RegistryView

_NOTHING: Final[Mapping[str, Service]] = MappingProxyType({})


class Viewer(msgspec.Struct, frozen=True, gc=False):
    """The part of a context that decides what is seen: own domain, rank, legacy."""

    domain: DomainId
    rank: int
    legacy: bool

    @property
    def reach(self) -> int:
        """The highest rank a shared service may ask for and still be seen."""
        return RANK_PUBLIC if self.legacy else self.rank


def viewer_of(ctx: TenantContext) -> Viewer:
    """Return how the caller sees; a legacy caller sees shared services without requirements only."""
    if ctx.legacy:
        return Viewer(SHARED, RANK_PUBLIC, True)
    return Viewer(ctx.domain, ctx.rank, False)


def visible(view: RegistryView, viewer: Viewer, name: str) -> tuple[DomainId, Service] | None:
    """Return the service a caller means by `name` and the domain it lives in, None if there is none for it."""
    if viewer.domain != SHARED:
        own = view.service(viewer.domain, name)
        if own is not None:
            return viewer.domain, own
    shared = view.service(SHARED, name)
    if shared is None or shared.rank > viewer.reach:
        return None
    return SHARED, shared


def require_visible(view: RegistryView, viewer: Viewer, name: str, tiers: Tiers) -> tuple[DomainId, Service]:
    """Return what `visible` does, or refuse.

    Raises:
        HubError: `service_not_found` (404) for an unknown or foreign name; `tier_too_low` (403)
            for a shared service above the caller's tier.
    """
    found = visible(view, viewer, name)
    if found is not None:
        return found
    shared = view.service(SHARED, name)
    if shared is None or viewer.legacy:
        raise not_found(name)
    upgrade_to = tiers.tier_at(shared.rank)
    raise HubError(
        "tier_too_low",
        Kind.DENIED,
        f"The service '{name}' is not part of the caller's tier.",
        next_step=f"It is available from the tier '{upgrade_to}' upwards." if upgrade_to else "Ask the operator.",
        fields={"upgrade_to": upgrade_to, "service_name": name},
    )


def not_found(name: str) -> HubError:
    """Return the refusal for a service that does not exist for this caller."""
    return HubError(
        "service_not_found",
        Kind.NOT_FOUND,
        f"There is no service '{name}'.",
        next_step="List what there is with GET /services/.",
    )


def visible_services(view: RegistryView, viewer: Viewer) -> Iterator[tuple[DomainId, Service]]:
    """Iterate over everything a caller sees: its own services, then the shared ones they do not shadow."""
    own: Mapping[str, Service] = view.services(viewer.domain) if viewer.domain != SHARED else _NOTHING
    for service in own.values():
        yield viewer.domain, service
    reach = viewer.reach
    for name, service in view.services(SHARED).items():
        if service.rank <= reach and name not in own:
            yield SHARED, service


def revision_for(view: RegistryView, viewer: Viewer, name: str) -> int:
    """Return the revision of a name as this caller counts it: own last change plus shared last change.

    A sum of two numbers that never go back does not go back either, whichever of the two
    domains the name is taken from at the time.
    """
    shared = view.revision(SHARED, name)
    return shared if viewer.domain == SHARED else shared + view.revision(viewer.domain, name)


def keys_for(viewer: Viewer, name: str) -> tuple[ServiceKey, ...]:
    """Return the (domain, name) pairs whose changes a caller may notice under a name."""
    if viewer.domain == SHARED:
        return ((SHARED, name),)
    return ((viewer.domain, name), (SHARED, name))


def scope_word(domain: DomainId) -> str:
    """Say where a service lives in the words of the wire: `shared` or `tenant`."""
    return "shared" if domain == SHARED else "tenant"
