"""Heartbeats: one, or thousands in a call. Signals: nothing is written before an answer.

They keep working while the store is down, and they are never counted against a tenant's limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from central_hub.health.keeper import Keeper
from central_hub.health.passing import Passing
from central_hub.health.schemas import BatchBeat, BatchRenewed, Heartbeat, InstanceRef
from central_hub.health.view import Group, Kept
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED
from central_hub.registry.model import SCOPE_ADMIN
from central_hub.registry.ports import LeaseTerms
from central_hub.registry.rules import not_owner
from central_hub.registry.signals import Loads
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import viewer_of, visible

BATCH_SLICE: Final = 128
"""Leases renewed before others run."""

_NO_MEMBERS: Final[dict[str, Kept]] = {}


class Heartbeats:
    """Renews leases for those who own them.

    Args:
        keeper: the leases.
        registry: what a caller sees.
        loads: where load reports go.
        clock: wall and monotonic time.
        changed: called when a heartbeat may have changed what is to be journaled.
        passing: passes heartbeats on to other hubs.
    """

    def __init__(
        self,
        keeper: Keeper,
        registry: RegistryView,
        loads: Loads,
        clock: Clock,
        changed: Callable[[], None] | None = None,
        passing: Passing | None = None,
    ) -> None:
        self._keeper = keeper
        self._registry = registry
        self._loads = loads
        self._clock = clock
        self._changed = changed or _nothing
        self._passing = passing

    def beat(self, ctx: TenantContext, service: str, instance_id: str, said: Heartbeat | None) -> LeaseTerms:
        """Renew one lease and take what the instance reports about itself.

        Raises:
            HubError: `instance_not_found` (404): register again; `not_owner` (403).
        """
        kept = self._own(ctx, service, instance_id)
        if kept is None:
            if self._sees(ctx, service, instance_id):
                raise not_owner(service, instance_id)
            raise HubError(
                "instance_not_found",
                Kind.NOT_FOUND,
                f"There is no instance '{instance_id}' of '{service}': it never registered, left, or its lease ended.",
                next_step="Register it again.",
            )
        at_ms, now_ms = self._clock.monotonic_ms(), self._clock.now_ms()
        self._keeper.renew(kept, at_ms, now_ms)
        if said is not None:
            self._take(kept, said, at_ms, now_ms)
        elif self._passing is not None:
            self._passing.heard(kept)
        self._changed()
        return self._keeper.terms_of(kept)

    async def beat_many(self, ctx: TenantContext, beats: Sequence[BatchBeat]) -> BatchRenewed:
        """Renew many leases; each one counts on its own.

        Args:
            ctx: the caller.
            beats: at most `HEARTBEAT_BATCH_MAX`, as the schema holds.
        """
        renewed = 0
        unknown: list[InstanceRef] = []
        denied: list[InstanceRef] = []
        for start in range(0, len(beats), BATCH_SLICE):
            if start:
                await asyncio.sleep(0)
            at_ms, now_ms = self._clock.monotonic_ms(), self._clock.now_ms()
            for beat in beats[start : start + BATCH_SLICE]:
                kept = self._own(ctx, beat.service_name, beat.instance_id)
                if kept is None:
                    ref = InstanceRef(service_name=beat.service_name, instance_id=beat.instance_id)
                    seen = self._sees(ctx, beat.service_name, beat.instance_id)
                    (denied if seen else unknown).append(ref)
                    continue
                self._keeper.renew(kept, at_ms, now_ms)
                self._take(kept, beat, at_ms, now_ms)
                renewed += 1
        self._changed()
        return BatchRenewed(renewed=renewed, unknown=unknown, denied=denied)

    def _own(self, ctx: TenantContext, service: str, instance_id: str) -> Kept | None:
        """Return an instance the caller may renew: in its own domain, or a shared one it registered."""
        domain, principal = ctx.domain, ctx.principal
        kept = self._members(self._keeper.population.group(domain, service)).get(instance_id)
        if kept is not None and (kept.owner == principal.id or principal.holds(SCOPE_ADMIN)):
            return kept
        if domain != SHARED:
            kept = self._members(self._keeper.population.group(SHARED, service)).get(instance_id)
            if kept is not None and kept.owner == principal.id:
                return kept
        return None

    def _members(self, group: Group | None) -> dict[str, Kept]:
        return _NO_MEMBERS if group is None else group.members

    def _sees(self, ctx: TenantContext, service: str, instance_id: str) -> bool:
        found = visible(self._registry, viewer_of(ctx), service)
        return found is not None and instance_id in found[1].instances

    def _take(self, kept: Kept, said: Heartbeat | BatchBeat, at_ms: float, now_ms: int) -> None:
        in_flight, load, latency, acked = said.in_flight, said.load, said.latency_ms_p95, said.acked_seq
        if self._passing is not None:
            self._passing.heard(kept, in_flight=in_flight, load=load, latency_ms_p95=latency, acked_seq=acked)
        if in_flight is None and load is None and latency is None and acked is None:
            return
        self._loads.report(
            kept.domain, kept.service, kept.instance_id,
            at_ms=at_ms, in_flight=in_flight, load=load, latency_ms_p95=latency, acked_seq=acked,
        )  # fmt: skip
        if load is not None or latency is not None:
            self._keeper.report(kept, load=load, latency_ms_p95=latency, at_ms=at_ms, now_ms=now_ms)


def _nothing() -> None:
    pass
