"""The catalogue and what stands above each tenant's plan, as the log tells them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.plans.model import (
    FACTS,
    Above,
    AddonAttached,
    AddonDetached,
    Attached,
    Catalogue,
    CatalogueApplied,
    EntitlementGranted,
    Grant,
    GrantRevoked,
    Override,
    OverrideRemoved,
    OverrideSet,
)
from central_hub.plans.rules import NOTHING_ABOVE, Ladder
from central_hub.tenants.model import TenantShredded

CHUNK: Final = 256


class _Dump(msgspec.Struct, kw_only=True, omit_defaults=True):
    catalogue: Catalogue | None = None
    revision: int = 0
    ranks_revision: int = 0
    addons: list[Attached] = []
    grants: list[Grant] = []
    overrides: list[Override] = []


class PlansView:
    """What there is to subscribe to, and who has what besides.

    Args:
        initial: the catalogue until another one is applied.
    """

    def __init__(self, initial: Catalogue) -> None:
        self._ladder = Ladder(initial)
        self._revision = 0
        self._ranks_revision = 0
        self._above: dict[DomainId, Above] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "plans"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*FACTS, TenantShredded))

    @property
    def ladder(self) -> Ladder:
        """The catalogue in force."""
        return self._ladder

    @property
    def revision(self) -> int:
        """How many catalogues were applied; 0 for the initial one."""
        return self._revision

    @property
    def ranks_revision(self) -> int:
        """How many of them changed which plans there are or how they rank."""
        return self._ranks_revision

    def above(self, domain: DomainId) -> Above:
        """Return what stands above a tenant's plan; not to be changed."""
        return self._above.get(domain, NOTHING_ABOVE)

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        author, at_ms, fact = applied.actor.principal, applied.time_ms, applied.fact
        if isinstance(fact, CatalogueApplied):
            self._put_catalogue(fact.catalogue)
            return
        if isinstance(fact, TenantShredded):
            self._above.pop(DomainId(fact.tenant_id), None)
            return
        above = self._above.setdefault(applied.domain, Above())
        match fact:
            case AddonAttached(addon=addon):
                above.addons[addon] = Attached(addon=addon, author=author, created_at_ms=at_ms)
            case AddonDetached(addon=addon):
                above.addons.pop(addon, None)
            case EntitlementGranted():
                above.grants[fact.grant_id] = Grant(
                    id=fact.grant_id,
                    feature=fact.feature,
                    value=fact.value,
                    priority=fact.priority,
                    expires_at_ms=fact.expires_at_ms,
                    reason=fact.reason,
                    author=author,
                    created_at_ms=at_ms,
                )
            case GrantRevoked(grant_id=grant_id):
                above.grants.pop(grant_id, None)
            case OverrideSet(feature=feature, value=value, reason=reason):
                above.overrides[feature] = Override(
                    feature=feature, value=value, reason=reason, author=author, created_at_ms=at_ms
                )
            case OverrideRemoved(feature=feature):
                above.overrides.pop(feature, None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")
        if above.is_empty:
            del self._above[applied.domain]

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        if domain == PLATFORM and self._revision:
            yield _Dump(catalogue=self._ladder.catalogue, revision=self._revision, ranks_revision=self._ranks_revision)
        above = self.above(domain)
        if above.is_empty:
            return
        yield _Dump(addons=list(above.addons.values()))
        grants = iter(list(above.grants.values()))
        while part := list(islice(grants, CHUNK)):
            yield _Dump(grants=part)
        overrides = iter(list(above.overrides.values()))
        while kept := list(islice(overrides, CHUNK)):
            yield _Dump(overrides=kept)

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            if dumped.catalogue is not None:
                self._ladder = Ladder(dumped.catalogue)
                self._revision, self._ranks_revision = dumped.revision, dumped.ranks_revision
                continue
            above = self._above.setdefault(domain, Above())
            above.addons.update((one.addon, one) for one in dumped.addons)
            above.grants.update((one.id, one) for one in dumped.grants)
            above.overrides.update((one.feature, one) for one in dumped.overrides)

    def _put_catalogue(self, catalogue: Catalogue) -> None:
        before, self._ladder = self._ladder.ranks, Ladder(catalogue)
        self._revision += 1
        self._ranks_revision += before != self._ladder.ranks
