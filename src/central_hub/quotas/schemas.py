"""What HTTP adds to the model of quotas: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.quotas.model import (
    AMOUNT_MAX,
    KEY_LENGTH_MAX,
    PAGE_MAX,
    RESOURCE_PATTERN,
    TTL_S,
    TTL_S_MAX,
    TTL_S_MIN,
)
from central_hub.quotas.usecases import Held

Resource = Annotated[str, msgspec.Meta(pattern=RESOURCE_PATTERN)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MAX)]
Ttl = Annotated[float, msgspec.Meta(ge=TTL_S_MIN, le=TTL_S_MAX)]
Key = Annotated[str, msgspec.Meta(pattern=rf"^[!-~]{{1,{KEY_LENGTH_MAX}}}$")]


class Allocate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of which resource to hold, and for how long at a time.

    `idempotency_key` does the same as the header of that name.
    """

    resource: Resource
    amount: Amount = 1
    ttl_s: Ttl = TTL_S
    idempotency_key: Key | None = None


class LeasesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which leases are wanted: from a cursor on, of one resource or of all."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")] | None = None
    resource: Resource | None = None


class LeaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A quota lease, and where its resource stands. `limit` is null for no limit."""

    lease_id: str
    resource: str
    amount: int
    ttl_s: float
    fencing_token: int
    expires_at: str
    allocated_at: str
    holder: str
    used: int
    limit: int | None


class LeaseList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of quota leases, oldest first."""

    leases: list[LeaseAnswer]
    next_cursor: str | None = None


class LimitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of a tenant and how much of it is used.

    `kind` is "capacity" for what is held and "cumulative" for what is counted up over a period; a null `limit` and
    `remaining` mean no limit, a null `used` that the hub does not count it.
    """

    name: str
    kind: str
    resource: str
    limit: int | None
    used: int | None
    remaining: int | None
    period: str = ""
    soft: bool = False
    resets_at: str | None = None
    source: str = ""
    upgrade_to: str | None = None


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every limit of a tenant, in order of name, with its use."""

    tenant_id: str
    tier: str
    limits: list[LimitAnswer]


def lease_answer(held: Held) -> LeaseAnswer:
    """Show a lease."""
    lease = held.lease
    return LeaseAnswer(
        lease_id=lease.id,
        resource=lease.resource,
        amount=lease.amount,
        ttl_s=lease.ttl_ms / 1_000,
        fencing_token=lease.fencing_token,
        expires_at=held.expires_at,
        allocated_at=rfc3339(lease.allocated_at_ms),
        holder=lease.holder,
        used=held.used,
        limit=held.limit,
    )
