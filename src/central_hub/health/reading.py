"""Health as callers read it: every service at a glance, one service, the tenant, the system.

Aggregates are counters kept per transition; the map of all services is written in slices that
leave the event loop free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from central_hub.health.journal import evidence_of
from central_hub.health.keeper import Keeper
from central_hub.health.model import INSTANCES_LISTED_MAX, SERVICES_LISTED_MAX
from central_hub.health.schemas import AggregateHealth, Counts, InstanceHealth, ServiceHealthDetail
from central_hub.health.view import Group, Kept
from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import SHARED
from central_hub.registry.model import Status
from central_hub.registry.ports import Tiers
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import Viewer, require_visible, viewer_of, visible

SLICE: Final = 64
"""Services written between two looks at the clock."""

SLICE_MS: Final = 1.0
SECONDS_KEPT: Final = 1_024
"""Formatted seconds kept; checks of all services fall into a few."""

LISTING_KEPT_MS: Final = 1_000.0
LISTINGS_MAX: Final = 64

TRUNCATED_KEY: Final = "$truncated"
"""Said beside the services past the cap; no service can have this name."""

_NOTHING: Final = (0, 0, 0, 0)


class Listing(NamedTuple):
    """An encoded map of services, and whether it was cut at the cap."""

    body: bytes
    truncated: bool


class HealthReading:
    """Answers what callers ask about health.

    Args:
        keeper: verdicts and counters.
        registry: what a caller sees.
        tiers: for the name of the tier a caller would need.
        clock: for slicing and remaining lifetimes.
        listed_max: services in one listing.
    """

    def __init__(
        self,
        keeper: Keeper,
        registry: RegistryView,
        tiers: Tiers,
        clock: Clock,
        *,
        listed_max: int = SERVICES_LISTED_MAX,
    ) -> None:
        self._keeper = keeper
        self._registry = registry
        self._tiers = tiers
        self._clock = clock
        self._listed_max = listed_max
        self._seconds: dict[int, str] = {}
        self._listings: dict[Viewer, tuple[tuple[int, int], float, Listing]] = {}

    async def services(self, ctx: TenantContext) -> Listing:
        """Write every service the caller sees: `{name: {status, latency, last_check}}`, at most `listed_max`.

        Written at most once a second for callers that see the same, unless a status changed: then
        only latencies and times of checks can be that old.
        """
        viewer = viewer_of(ctx)
        population, at_ms = self._keeper.population, self._clock.monotonic_ms()
        # Only what this caller may see counts: another tenant's changes must not even refresh a time.
        version = (population.version(viewer.domain), population.version(SHARED))
        kept = self._listings.get(viewer)
        if kept is not None and kept[0] == version and at_ms - kept[1] < LISTING_KEPT_MS:
            return kept[2]
        listing = await self._write(viewer)
        if len(self._listings) >= LISTINGS_MAX:
            self._listings.clear()
        self._listings[viewer] = (version, at_ms, listing)
        return listing

    async def _write(self, viewer: Viewer) -> Listing:
        own = list(self._registry.services(viewer.domain)) if viewer.domain != SHARED else []
        mine = frozenset(own)
        names = own + [name for name in self._registry.services(SHARED) if name not in mine]
        pieces: list[str] = []
        truncated = False
        population = self._keeper.population
        begun = self._clock.monotonic_ms()
        for count, name in enumerate(names):
            found = visible(self._registry, viewer, name)
            if found is not None:
                if len(pieces) >= self._listed_max:
                    truncated = True
                    break
                pieces.append(f'"{name}":{self._glance(population.group(found[0], name))}')
            if count % SLICE == SLICE - 1 and self._clock.monotonic_ms() - begun >= SLICE_MS:
                await asyncio.sleep(0)
                begun = self._clock.monotonic_ms()
        if truncated:
            pieces.append(f'"{TRUNCATED_KEY}":true')
        return Listing(("{" + ",".join(pieces) + "}").encode(), truncated)

    def service(self, ctx: TenantContext, name: str) -> ServiceHealthDetail:
        """Show one service with the verdict on each instance and what it rests on.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403).
        """
        domain, _ = require_visible(self._registry, viewer_of(ctx), name, self._tiers)
        group = self._keeper.population.group(domain, name)
        own = domain == ctx.domain
        members = () if group is None else islice(group.members.values(), INSTANCES_LISTED_MAX)
        return ServiceHealthDetail(
            service_name=name,
            domain="shared" if domain == SHARED else "tenant",
            status=Status.UNKNOWN if group is None else group.status,
            latency=_whole(None if group is None else group.latency_ms),
            last_check=self._second(0 if group is None else group.last_check_ms),
            counts=_counts(_NOTHING if group is None else group.counts),
            instances=[self._instance(kept, own=own) for kept in members],
            truncated=group is not None and len(group.members) > INSTANCES_LISTED_MAX,
        )

    def tenant(self, ctx: TenantContext) -> AggregateHealth:
        """Sum up the caller's own domain (the shared one for a caller without a tenant)."""
        domain = self._keeper.population.domain(ctx.domain)
        if domain is None:
            nothing = _counts(_NOTHING)
            return AggregateHealth(status=Status.UNKNOWN, services=nothing, instances=nothing, tenant_id=ctx.tenant_id)
        return AggregateHealth(
            status=domain.status,
            services=_counts(domain.services),
            instances=_counts(domain.instances),
            tenant_id=ctx.tenant_id,
        )

    def system(self) -> AggregateHealth:
        """Sum up everything, for the platform."""
        population = self._keeper.population
        return AggregateHealth(
            status=population.status,
            services=_counts(population.services),
            instances=_counts(population.instances),
        )

    def _glance(self, group: Group | None) -> str:
        if group is None:
            return '{"status":"unknown","latency":null,"last_check":null}'
        latency = "null" if group.latency_ms is None else max(1, round(group.latency_ms))
        second = self._second(group.last_check_ms)
        checked = "null" if second is None else f'"{second}"'
        return f'{{"status":"{group.status.value}","latency":{latency},"last_check":{checked}}}'

    def _instance(self, kept: Kept, *, own: bool) -> InstanceHealth:
        standing = kept.standing
        shown = InstanceHealth(
            instance_id=kept.instance_id,
            status=standing.status,
            reason=standing.reason,
            kept_by=kept.kept_by,
            since=rfc3339(standing.since_ms) if standing.since_ms else None,
            last_check=self._second(standing.last_check_ms),
            latency_ms=standing.latency_ms,
            protected=standing.protected,
        )
        if not own:
            return shown
        left_ms = kept.renewed_ms + kept.ttl_ms - self._clock.monotonic_ms()
        return msgspec.structs.replace(
            shown,
            lease_ttl_s=kept.ttl_ms / 1_000,
            lease_left_s=round(max(0.0, left_ms) / 1_000, 3),
            evidence=evidence_of(kept, standing),
        )

    def _second(self, moment_ms: int) -> str | None:
        if not moment_ms:
            return None
        second = moment_ms // 1_000
        text = self._seconds.get(second)
        if text is None:
            if len(self._seconds) >= SECONDS_KEPT:
                self._seconds.clear()
            text = self._seconds[second] = rfc3339(second * 1_000).replace(".000Z", "Z")
        return text


def _counts(counts: Sequence[int]) -> Counts:
    healthy, degraded, unhealthy, unknown = counts
    return Counts(healthy=healthy, degraded=degraded, unhealthy=unhealthy, unknown=unknown)


def _whole(latency_ms: float | None) -> int | None:
    return None if latency_ms is None else max(1, round(latency_ms))
