"""Entitlements and names as flags see them: plans and tenants, narrowed to what is asked."""

from __future__ import annotations

from collections.abc import Sequence

from central_hub.kernel.ids import DomainId
from central_hub.plans.book import PlanBook
from central_hub.plans.model import Catalogue
from central_hub.plans.ports import Entitlement, EntitlementKind
from central_hub.tenants.view import TenantsView


class PlanFeatures:
    """Implements `Features`: the boolean entitlements of the catalogue in force.

    Args:
        book: answers what a tenant may do.
    """

    def __init__(self, book: PlanBook) -> None:
        self._book = book
        self._catalogue: Catalogue | None = None
        self._names: tuple[str, ...] = ()

    def names(self) -> Sequence[str]:
        """Return every boolean feature in order; the same object until the catalogue changes."""
        catalogue = self._book.catalogue
        if catalogue is not self._catalogue:
            boolean = (name for name, one in catalogue.features.items() if one.kind is EntitlementKind.BOOLEAN)
            self._names, self._catalogue = tuple(sorted(boolean)), catalogue
        return self._names

    def ask(self, domain: DomainId, tier: str, feature: str) -> Entitlement:
        """Answer for one tenant at its tier."""
        return self._book.ask(domain, tier, feature)


class HubNames:
    """Implements `KnownNames`.

    Args:
        book: the plans, which are the tiers.
        tenants: who there is.
    """

    def __init__(self, book: PlanBook, tenants: TenantsView) -> None:
        self._book = book
        self._tenants = tenants

    def tier_names(self) -> Sequence[str]:
        """Return the tiers."""
        return self._book.names()

    def is_tenant(self, tenant_id: str) -> bool:
        """Say whether there is such a tenant."""
        return self._tenants.tenant(DomainId(tenant_id)) is not None
