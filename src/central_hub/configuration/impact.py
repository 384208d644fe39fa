"""What a change would do: to which tenants, services and instances, and to which values. Nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from central_hub.configuration.effective import Effective
from central_hub.configuration.folding import ABSENT, differ
from central_hub.configuration.merging import encoded
from central_hub.configuration.model import Json, Layer
from central_hub.configuration.ports import Customers, Defaults, Running
from central_hub.configuration.resolving import Resolved
from central_hub.configuration.schemas import BlastRadius, ValueChange
from central_hub.configuration.usecases import Configuration, Proposed, Wish
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.ids import SHARED, DomainId

CHANGES_SHOWN_MAX: Final = 200
SLICE: Final = 32
"""Tenants looked at before others have their turn."""


class Impact:
    """Tries changes on a copy of what applies.

    Args:
        configuration: checks changes.
        view: the layers.
        effective: what applies now.
        defaults: what tiers grant.
        customers: which tenants there are.
        running: which services run.
    """

    def __init__(
        self,
        configuration: Configuration,
        view: ConfigurationView,
        effective: Effective,
        defaults: Defaults,
        customers: Customers,
        running: Running,
    ) -> None:
        self._configuration = configuration
        self._view = view
        self._effective = effective
        self._defaults = defaults
        self._customers = customers
        self._running = running

    async def of(self, wishes: Sequence[Wish]) -> BlastRadius:
        """Return what changes would do.

        Raises:
            HubError: what `Configuration.change` would.
        """
        proposed = Proposed(self._view)
        self._configuration.planned(wishes, proposed)
        then = Effective(proposed, self._defaults, self._customers)
        layers = [wish.layer for wish in wishes]
        seen = _Seen()
        for at, (tenant, tier) in enumerate(self._concerned(layers)):
            self._look(seen, then, DomainId(tenant), tier, layers)
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)
        if seen.tenants and any(not layer.tenant for layer in layers):
            self._count(seen, SHARED, layers)
        return seen.answer()

    def _concerned(self, layers: Sequence[Layer]) -> Iterator[tuple[str, str]]:
        own = {layer.tenant for layer in layers if layer.tenant}
        if all(layer.tenant for layer in layers):
            yield from ((tenant, self._customers.tier_of(DomainId(tenant)) or "") for tenant in sorted(own))
            return
        cursor = ""
        while page := self._customers.after(cursor, SLICE):
            yield from page
            cursor = page[-1][0]

    def _look(self, seen: _Seen, then: Effective, domain: DomainId, tier: str, layers: Sequence[Layer]) -> None:
        if tier not in self._defaults.names():
            return
        changed = False
        for service, environment in dict.fromkeys((layer.service, layer.environment) for layer in layers):
            before = self._effective.at(domain, tier, service, environment)
            after = then.at(domain, tier, service, environment)
            if before.leaves != after.leaves or before.differs(after):
                changed = seen.compare(before, after) or changed
        if changed:
            seen.tenants += 1
            self._count(seen, domain, layers)

    def _count(self, seen: _Seen, domain: DomainId, layers: Sequence[Layer]) -> None:
        named = {layer.service for layer in layers}
        for service, instances in self._running.instances(domain).items():
            if "" in named or service in named:
                seen.services.add(service)
                seen.instances += instances


class _Seen:
    """What has been found so far; values that many tenants share are compared once."""

    def __init__(self) -> None:
        self.tenants = 0
        self.services: set[str] = set()
        self.instances = 0
        self._pairs: dict[tuple[Resolved, Resolved], list[tuple[str, bytes | None, bytes | None]]] = {}
        self._changes: dict[tuple[str, bytes | None, bytes | None], int] = {}
        self._values: dict[bytes, Json] = {}

    def compare(self, before: Resolved, after: Resolved) -> bool:
        """Take note of what differs between a tenant's values; says whether anything does."""
        found = self._pairs.get((before, after))
        if found is None:
            found = self._pairs[(before, after)] = list(self._differences(before, after))
        for change in found:
            self._changes[change] = self._changes.get(change, 0) + 1
        return bool(found)

    def _differences(self, before: Resolved, after: Resolved) -> Iterator[tuple[str, bytes | None, bytes | None]]:
        old, new = before.leaves, after.leaves
        for path in sorted(old.keys() | new.keys()):
            one, other = old.get(path, ABSENT), new.get(path, ABSENT)
            if differ(one, other):
                yield path, self._kept(one), self._kept(other)

    def _kept(self, value: Json) -> bytes | None:
        if value is ABSENT:
            return None
        data = encoded(value)
        self._values[data] = value
        return data

    def answer(self) -> BlastRadius:
        """Return what was found, the most widespread changes first."""
        ranked = sorted(self._changes.items(), key=lambda each: (-each[1], each[0][0]))
        shown = [
            ValueChange(
                path=path,
                before=None if before is None else self._values[before],
                after=None if after is None else self._values[after],
                tenants=count,
            )
            for (path, before, after), count in ranked[:CHANGES_SHOWN_MAX]
        ]
        return BlastRadius(
            tenants=self.tenants,
            services=len(self.services),
            instances=self.instances,
            changes=shown,
            truncated=len(ranked) > CHANGES_SHOWN_MAX,
        )
