"""What the lane answers GET /config/{tenant_id} with: a tenant's value as it was last encoded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from central_hub.configuration.in_force import InForce
from central_hub.configuration.model import CONFIG_READ
from central_hub.configuration.ports import Defaults
from central_hub.configuration.reading import config_answer
from central_hub.configuration.resolving import Resolved
from central_hub.edge.lane.entries import PICKS, LaneEntry, LookupCounter
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId

ENTRIES_MAX: Final = 16_384
_ONE: Final = (0,) * PICKS


class ConfigurationLane:
    """Implements the lane's port on effective values.

    Args:
        in_force: the values.
        defaults: until when they are good by time alone.
        now_ms: wall time.
        monotonic_ms: the lane's time.
    """

    def __init__(
        self, in_force: InForce, defaults: Defaults, now_ms: Callable[[], int], monotonic_ms: Callable[[], float]
    ) -> None:
        self._in_force = in_force
        self._defaults = defaults
        self._now_ms = now_ms
        self._monotonic_ms = monotonic_ms
        self._entries: dict[DomainId, tuple[Resolved, LaneEntry]] = {}
        self._reads = LookupCounter()

    def entry(self, service: str, ctx: TenantContext) -> LaneEntry | None:
        """Return what answers for the caller's own tenant.

        None for every refusal, for another's tenant, and for a credential of one environment, whose answer is another.
        """
        if service != ctx.tenant_id or not ctx.principal.holds(CONFIG_READ) or ctx.principal.environment:
            return None
        try:
            value = self._in_force.of_tenant(ctx.domain, ctx.tier)
        except HubError:
            return None
        known = self._entries.get(ctx.domain)
        if known is not None and known[0] is value and self._monotonic_ms() < known[1].fresh_until_ms:
            return known[1]
        head, rest = config_answer(ctx.domain, value, self._in_force.encoded(value))
        ends_ms = self._defaults.fresh_until_ms(ctx.domain)
        fresh = math.inf if ends_ms == math.inf else self._monotonic_ms() + ends_ms - self._now_ms()
        entry = LaneEntry(openings=(head,), rest=rest, picks=_ONE, etag=value.etag, fresh_until_ms=fresh, drawn=False)
        if len(self._entries) >= ENTRIES_MAX:
            self._entries.clear()
        self._entries[ctx.domain] = (value, entry)
        return entry

    def lookups(self, ctx: TenantContext, service: str) -> LookupCounter:
        """Return a counter that nobody reads: a tenant that asks for its configuration depends on nothing."""
        return self._reads
