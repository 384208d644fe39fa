"""What HTTP adds to the model of quotas: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.quotas.budgets import Slice
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


class TakeSlice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a limit is wanted to be spent without asking again.

    A fair share of the rest is given at most, and nothing where it is less than `at_least`. `holder` tells those apart
    who use the same credential.
    """

    limit: Resource
    amount: Amount = 1
    at_least: Amount = 1
    holder: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{0,128}$")] = ""


class ReturnSlice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left of a slice of a limit."""

    limit: Resource
    unused: Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]


class SliceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A slice: `granted` may be spent until `expires_in_ms` after the request was sent, never later."""

    slice_id: str
    limit_name: str
    granted: int
    expires_in_ms: int
    resets_at: str
    used: int
    limit: int | None
    remaining: int | None


class ReturnedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How much came back; 0 for a slice that came back before, or of a period that is over."""

    returned: int


class LimitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of a tenant and how much of it is used.

    `kind` is "capacity" for what is held, "cumulative" for what is counted over a period (with what is handed out as
    slices) and "rate" for what is limited by the second or minute. A null `limit` and `remaining` mean no limit.
    `level` is the highest of 50, 80, 95 and 100 percent that was reached.
    """

    name: str
    kind: str
    resource: str
    limit: int | None
    used: int | None
    remaining: int | None
    period: str = ""
    soft: bool = False
    level: int = 0
    resets_at: str | None = None
    source: str = ""
    upgrade_to: str | None = None


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every limit of a tenant, in order of name, with its use."""

    tenant_id: str
    tier: str
    limits: list[LimitAnswer]


def slice_answer(taken: Slice) -> SliceAnswer:
    """Show a slice."""
    return SliceAnswer(
        slice_id=taken.id,
        limit_name=taken.name,
        granted=taken.granted,
        expires_in_ms=taken.expires_in_ms,
        resets_at=taken.resets_at,
        used=taken.used,
        limit=taken.limit,
        remaining=taken.remaining,
    )


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
