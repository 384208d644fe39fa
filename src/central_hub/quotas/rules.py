"""Decisions about quotas. Pure: no clock, no I/O."""

from __future__ import annotations

from math import ceil

from central_hub.edge.shares import ALLOCATIONS
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.quotas.model import (
    LEVELS,
    SLICE_LARGE,
    SLICE_MAX_SHARE,
    SLICE_MIN_SHARE,
    Lease,
)
from central_hub.quotas.ports import Allowance, Limits

RETRY_UNKNOWN_S = 60
"""When to try again where nothing that is held would make room."""


def capacity_of(limits: Limits, domain: DomainId, tier: str, resource: str) -> Allowance:
    """Return the allowance that bounds what is held of a resource: `max_{resource}`, or `{resource}` itself.

    Raises:
        HubError: `unknown_resource` (422) when nothing grants it, or it is counted by period rather than held.
    """
    for name in (f"max_{resource}", resource):
        found = limits.allowance(domain, tier, name)
        if found is not None and not found.period:
            return found
    known = ", ".join(resource_of(one.name) for one in limits.allowances(domain, tier) if not one.period)
    raise HubError(
        "unknown_resource",
        Kind.MALFORMED,
        f"The plan grants no resource '{resource}' that can be held.",
        next_step=f"Use one of: {known}." if known else "Ask the operator what the plan grants.",
    )


def resource_of(limit_name: str) -> str:
    """Return the resource that a limit bounds."""
    return limit_name.removeprefix("max_")


def check_room(
    allowance: Allowance, *, resource: str, amount: int, used: int, soonest_ms: float | None, now_ms: int
) -> None:
    """Refuse an allocation that would go past the limit.

    Args:
        allowance: what applies.
        resource: what is asked for.
        amount: how much of it.
        used: what is held or about to be.
        soonest_ms: milliseconds until the next lease of the resource ends by itself; None when none does.
        now_ms: wall clock.

    Raises:
        HubError: `quota_exceeded` (429) with `used`, `limit` and `resets_at`.
    """
    limit = allowance.limit
    if limit is None or allowance.soft or used + amount <= limit:
        return
    fits = amount <= limit and soonest_ms is not None
    wait_ms = max(0.0, soonest_ms or 0.0)
    raise HubError(
        "quota_exceeded",
        Kind.LIMIT,
        f"{amount} more of '{resource}' would go past the limit: {used} of {limit} are held.",
        next_step="Release what is not needed, or wait until a lease ends."
        if amount <= limit
        else "Ask for less at once, or for a higher plan.",
        retry_after_s=max(1, ceil(wait_ms / 1_000)) if fits else RETRY_UNKNOWN_S,
        fields={
            "resource": resource,
            "requested": amount,
            "used": used,
            "limit": limit,
            "remaining": max(0, limit - used),
            "resets_at": rfc3339(now_ms + int(wait_ms)) if fits else None,
            "upgrade_to": allowance.upgrade_to,
            "violated-policies": [allowance.name],
        },
    )


def check_lease_count(held: int, limit: int) -> None:
    """Refuse one more lease than a tenant may have, whatever the resource.

    Raises:
        HubError: `limit_reached` (429).
    """
    if held >= limit:
        raise HubError(
            "limit_reached",
            Kind.LIMIT,
            f"There are {limit} quota leases already, which is the limit.",
            next_step="Hold a larger amount with one lease, and release what is not needed.",
            retry_after_s=RETRY_UNKNOWN_S,
            fields={"limit": limit, "remaining": 0, "violated-policies": [ALLOCATIONS]},
        )


def check_holder(lease: Lease, principal: str, *, may_manage: bool) -> None:
    """Refuse to change a lease that somebody else of the same tenant holds.

    Raises:
        HubError: `not_lease_holder` (403).
    """
    if lease.holder != principal and not may_manage:
        raise HubError(
            "not_lease_holder",
            Kind.DENIED,
            "Another credential of this tenant holds that lease.",
            next_step="Use the credential that allocated it, or one with the scope 'quota:admin'.",
        )


def lease_missing() -> HubError:
    """Return the refusal for a lease that does not exist, or not any more."""
    return HubError(
        "lease_not_found",
        Kind.NOT_FOUND,
        "There is no such quota lease; it was released, has ended, or never was.",
        next_step="Stop using what it stood for, and allocate again.",
    )


def lease_ended() -> HubError:
    """Return the refusal of a repeated command whose lease has ended since."""
    return HubError(
        "lease_ended",
        Kind.CONFLICT,
        "The lease that this idempotency key stands for has ended since.",
        next_step="Allocate again with another idempotency key.",
    )


def key_reused() -> HubError:
    """Return the refusal of an idempotency key that was used for something else."""
    return HubError(
        "idempotency_key_reused",
        Kind.CONFLICT,
        "That idempotency key was used for another resource or amount.",
        next_step="Use a new key for every new command.",
    )


def budget_of(limits: Limits, domain: DomainId, tier: str, name: str) -> Allowance:
    """Return the allowance of a limit that is counted over a period.

    Raises:
        HubError: `unknown_limit` (422) when nothing grants it, or it is held rather than counted.
    """
    found = limits.allowance(domain, tier, name)
    if found is not None and found.period:
        return found
    known = ", ".join(one.name for one in limits.allowances(domain, tier) if one.period)
    raise HubError(
        "unknown_limit",
        Kind.MALFORMED,
        f"The plan grants nothing called '{name}' that is counted over a period.",
        next_step=f"Use one of: {known}." if known else "Ask the operator what the plan grants.",
    )


def budget_exceeded(
    allowance: Allowance, *, wanted: int, used: int, window_s: int, wait_ms: float, now_ms: int
) -> HubError:
    """Return the refusal of a budget that is spent.

    Args:
        allowance: what applies.
        wanted: how much was asked for at least.
        used: how much of it is used.
        window_s: length of its period.
        wait_ms: until there is some again.
        now_ms: wall clock.
    """
    limit = allowance.limit or 0
    wait_s = max(1, ceil(wait_ms / 1_000))
    return HubError(
        "quota_exceeded",
        Kind.LIMIT,
        f"The limit '{allowance.name}' is used up: {used} of {limit} in this {allowance.period}.",
        next_step="Wait as Retry-After says, or ask for a higher plan.",
        retry_after_s=wait_s,
        fields={
            "requested": wanted,
            "used": used,
            "limit": limit,
            "remaining": max(0, limit - used),
            "resets_at": rfc3339(now_ms + int(wait_ms)),
            "upgrade_to": allowance.upgrade_to,
            "period": allowance.period,
            "window_s": window_s,
            "violated-policies": [allowance.name],
        },
    )


def fair_slice(limit: int, rest: int, holders: int) -> int:
    """Return how much one of several holders may take at once.

    Half of an equal share of the rest, so that there is something left for who asks later; within bounds that keep
    the beginning from going to the first who ask, and the end from costing a call per decision.
    """
    largest = max(limit // SLICE_MAX_SHARE, SLICE_LARGE)
    return min(largest, max(ceil(rest / (2 * holders)), limit // SLICE_MIN_SHARE))


def levels_between(before: int, after: int, limit: int | None) -> tuple[int, ...]:
    """Return the levels, in percent, that use reaches when it grows from `before` to `after`."""
    if not limit:
        return ()
    return tuple(level for level in LEVELS if before * 100 < level * limit <= after * 100)


def level_of(used: int, limit: int | None) -> int:
    """Return the highest level that use has reached, in percent; 0 below the first."""
    return max(levels_between(-1, used, limit), default=0)
