"""What a tenant may have of the hub itself and what it has, for the tenant to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.edge.protection import RateProtection
from central_hub.edge.shares import ALLOCATIONS, IN_FLIGHT, READS, WATCHES, WRITES
from central_hub.kernel.fairness import QUEUED
from central_hub.kernel.ids import DomainId
from central_hub.plans.book import PlanBook
from central_hub.plans.model import UNKNOWN
from central_hub.quotas.model import SCOPE_READ

CEILING: Final = "hub"
"""Source of a limit that no plan sets: the hub's own ceiling."""


class HubLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit.

    Args:
        name: of the feature that plans, grants and overrides set.
        limit: per second for rates, otherwise at one time.
        used: at this moment; null for rates.
        refused: requests that this limit has refused since the hub started; null where they are not counted.
        source: what decided: "plan:…", "addon:…", "grant:…", "override", or "hub" for the hub's own ceiling.
        upgrade_to: the lowest plan that grants more.
    """

    name: str
    limit: int | float
    used: int | None
    refused: int | None
    source: str
    upgrade_to: str | None


class HubLimitsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every limit of a tenant, its part of a round of writes, and how many of its connections are not being read."""

    tenant_id: str
    tier: str
    limits: list[HubLimit]
    write_weight: int
    held_connections: int


class HubLimitsReading:
    """Answers what a tenant may have of the hub.

    Args:
        protection: the shares.
        book: who decided how large they are.
        queued, leases: how many writes of a tenant wait, and how many quota leases it holds.
    """

    def __init__(
        self,
        protection: RateProtection,
        book: PlanBook,
        *,
        queued: Callable[[DomainId], int],
        leases: Callable[[DomainId], int],
    ) -> None:
        self._protection = protection
        self._book = book
        self._queued = queued
        self._leases = leases

    async def get_hub_limits(self, call: Call) -> Reply:
        """Show a tenant's limits on the hub itself, and where it stands."""
        domain, share = DomainId(call.path["tenant_id"]), self._protection.share(call.ctx)
        share.revise(self._protection.monotonic_ms())
        may = share.limits
        has: dict[str, tuple[float, int | None]] = {
            READS: (may.reads_per_s, None),
            WRITES: (may.writes_per_s, None),
            IN_FLIGHT: (may.in_flight, share.in_flight),
            WATCHES: (may.watches, share.watches),
            QUEUED: (may.queued_writes, self._queued(domain)),
            ALLOCATIONS: (may.allocations, self._leases(domain)),
        }
        limits: list[HubLimit] = []
        for name, (limit, used) in has.items():
            found = self._book.ask(domain, call.ctx.tier, name)
            decided = found.source != UNKNOWN and found.limit is not None and found.limit <= limit
            limits.append(
                HubLimit(
                    name=name,
                    limit=int(limit) if limit == int(limit) else limit,
                    used=used,
                    refused=None if name == ALLOCATIONS else share.refusals.get(name, 0),
                    source=found.source if decided else CEILING,
                    upgrade_to=found.upgrade_to,
                )
            )
        return Reply(
            body=HubLimitsAnswer(
                tenant_id=domain,
                tier=call.ctx.tier,
                limits=limits,
                write_weight=may.weight,
                held_connections=share.held,
            )
        )


def operations(reading: HubLimitsReading) -> tuple[Operation, ...]:
    """Return the row of a tenant's limits on the hub itself."""
    return (
        Operation(
            id="get_hub_limits",
            method="GET",
            path="/tenants/{tenant_id}/hub-limits",
            handler=reading.get_hub_limits,
            answer=HubLimitsAnswer,
            tag="quotas",
            scope=SCOPE_READ,
            tenant_param="tenant_id",
            summary="Show what a tenant may have of the hub itself, and what of it is in use.",
        ),
    )
