"""What a tenant is granted before anybody configured anything: its plan, and what stands above it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from central_hub.configuration.folding import Compiled, compiled
from central_hub.configuration.merging import encoded
from central_hub.configuration.model import Document
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.plans.model import HUB_PREFIX, Catalogue
from central_hub.plans.ports import EntitlementKind
from central_hub.plans.rules import decide
from central_hub.plans.view import PlansView

RATES: Final = "rate_limits"
FEATURES: Final = "features"
RESOURCES: Final = "resource_limits"
FOREVER: Final = math.inf


class PlanDefaults:
    """Implements `Defaults` on plans, in the three groups that callers know.

    A limit that is none is left out: what is not there does not limit.

    Args:
        view: the catalogue, and what stands above each tenant's plan.
        now_ms: wall time, by which grants end.
    """

    def __init__(self, view: PlansView, now_ms: Callable[[], int]) -> None:
        self._view = view
        self._now_ms = now_ms
        self._catalogue: Catalogue | None = None
        self._of_tier: dict[str, Compiled] = {}
        self._of_tenant: dict[tuple[DomainId, str], tuple[float, Compiled]] = {}
        self._sections: dict[str, Document] = {}

    def names(self) -> tuple[str, ...]:
        """Return the tiers' names, lowest rank first."""
        return self._view.ladder.names()

    def compiled(self, domain: DomainId, tier: str) -> Compiled | None:
        """Return what a tenant at a tier is granted; None for an unknown tier. Equal grants are one object."""
        self._look()
        if self._view.ladder.rank_of(tier) is None:
            return None
        if self._view.above(domain).is_empty:
            found = self._of_tier.get(tier)
            if found is None:
                found = self._of_tier[tier] = _shared(self._document(PLATFORM, tier))
            return found
        known = self._of_tenant.get((domain, tier))
        now_ms = self._now_ms()
        if known is not None and now_ms < known[0]:
            return known[1]
        made = _shared(self._document(domain, tier))
        self._of_tenant[(domain, tier)] = (self._next_end(domain, now_ms), made)
        return made

    def fresh_until_ms(self, domain: DomainId) -> float:
        """Return the wall time up to which a tenant is granted the same, infinite when only facts change it."""
        return self._next_end(domain, self._now_ms())

    def forget(self, domain: DomainId) -> None:
        """Let go of what is known about a tenant, whose grants changed."""
        for key in [key for key in self._of_tenant if key[0] == domain]:
            del self._of_tenant[key]

    def sections(self) -> Mapping[str, Document]:
        """Return the schemas of the three groups; the same object while the catalogue is."""
        self._look()
        if not self._sections:
            groups: dict[str, Document] = {RATES: {}, FEATURES: {}, RESOURCES: {}}
            for name, feature in self._view.ladder.catalogue.features.items():
                if name.startswith(HUB_PREFIX):
                    continue
                if feature.kind is EntitlementKind.BOOLEAN:
                    groups[FEATURES][name] = {"type": "boolean"}
                elif feature.kind is EntitlementKind.METERED:
                    groups[RATES if feature.period else RESOURCES][name] = {"type": "integer", "minimum": 0}
            self._sections = {name: {"type": "object", "properties": values} for name, values in groups.items()}
        return self._sections

    def _look(self) -> None:
        catalogue = self._view.ladder.catalogue
        if catalogue is not self._catalogue:
            self._catalogue = catalogue
            self._of_tier, self._of_tenant, self._sections = {}, {}, {}

    def _next_end(self, domain: DomainId, now_ms: int) -> float:
        ends = (each.expires_at_ms for each in self._view.above(domain).grants.values())
        return min((end for end in ends if end > now_ms), default=FOREVER)

    def _document(self, domain: DomainId, tier: str) -> Document:
        ladder, above, now_ms = self._view.ladder, self._view.above(domain), self._now_ms()
        document: Document = {RATES: {}, FEATURES: {}, RESOURCES: {}}
        for name in ladder.catalogue.features:
            if name.startswith(HUB_PREFIX):
                continue  # about the hub, and not about what it configures
            found = decide(ladder, above, tier, name, now_ms)
            if found.kind is EntitlementKind.BOOLEAN:
                document[FEATURES][name] = found.allowed
            elif found.kind is EntitlementKind.METERED and found.limit is not None:
                document[RATES if found.period else RESOURCES][name] = found.limit
        return document


def _shared(document: Document) -> Compiled:
    found = compiled(encoded(document))
    assert found is not None, "the three groups are always there"
    return found
