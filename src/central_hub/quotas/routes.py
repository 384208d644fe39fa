"""The rows of quotas and their handlers."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.edge.rate_limits import HeaderLines, rate_limit_lines
from central_hub.kernel.errors import HubError, Kind
from central_hub.quotas.budgets import Budgets, Slice
from central_hub.quotas.model import SCOPE_READ, SCOPE_WRITE
from central_hub.quotas.reading import UsageReading
from central_hub.quotas.schemas import (
    Allocate,
    LeaseAnswer,
    LeaseList,
    LeasesQuery,
    ReturnedAnswer,
    ReturnSlice,
    SliceAnswer,
    TakeSlice,
    UsageAnswer,
    lease_answer,
    slice_answer,
)
from central_hub.quotas.usecases import Allocations

QUOTAS: Final = "quotas"


class QuotaRoutes:
    """Handlers: each translates a call and its answer, nothing more."""

    def __init__(self, allocations: Allocations, budgets: Budgets, reading: UsageReading) -> None:
        self._allocations = allocations
        self._budgets = budgets
        self._reading = reading

    async def allocate(self, call: Call) -> Reply:
        """Hold an amount of a resource."""
        body: Allocate = call.body
        held = await self._allocations.allocate(
            call.ctx, resource=body.resource, amount=body.amount, ttl_s=body.ttl_s, key=_key_of(call, body)
        )
        return Reply(body=lease_answer(held))

    async def list_allocations(self, call: Call) -> Reply:
        """List leases by page."""
        page: LeasesQuery = call.query
        found = self._allocations.list(
            call.ctx, after=int(page.cursor or "0"), limit=page.limit + 1, resource=page.resource
        )
        more = str(found[page.limit - 1].lease.fencing_token) if len(found) > page.limit else None
        return Reply(body=LeaseList(leases=[lease_answer(one) for one in found[: page.limit]], next_cursor=more))

    async def get_allocation(self, call: Call) -> Reply:
        """Show a lease."""
        return Reply(body=lease_answer(self._allocations.get(call.ctx, call.path["lease_id"])))

    async def renew_allocation(self, call: Call) -> Reply:
        """Renew a lease."""
        return Reply(body=lease_answer(await self._allocations.renew(call.ctx, call.path["lease_id"])))

    async def release_allocation(self, call: Call) -> Reply:
        """Release a lease."""
        await self._allocations.release(call.ctx, call.path["lease_id"])
        return Reply()

    async def take_slice(self, call: Call) -> Reply:
        """Take a slice of a budget."""
        body: TakeSlice = call.body
        taken = await self._budgets.take(
            call.ctx,
            body.limit,
            wanted=max(body.amount, body.at_least),
            at_least=body.at_least,
            holder=body.holder,
            key=call.idempotency_key,
        )
        return Reply(body=slice_answer(taken), headers=_where_it_stands(taken))

    async def return_slice(self, call: Call) -> Reply:
        """Take back what is left of a slice."""
        body: ReturnSlice = call.body
        back = await self._budgets.give_back(call.ctx, body.limit, call.path["slice_id"], body.unused)
        return Reply(body=ReturnedAnswer(returned=back))

    async def get_usage(self, call: Call) -> Reply:
        """Show every limit with its use."""
        return Reply(body=self._reading.usage(call.ctx, call.path["tenant_id"]))


def operations(routes: QuotaRoutes) -> tuple[Operation, ...]:
    """Return the rows of quotas."""
    held = "/tenants/{tenant_id}/allocations"
    one = held + "/{lease_id}"
    row: dict[str, Any] = {"tag": QUOTAS, "tenant_param": "tenant_id"}  # Any: Operation's own types
    missing: dict[str, Any] = {"problems": ("lease_not_found",), **row}  # Any: as above
    return (
        Operation(
            id="allocate_resource", method="POST", path=held, handler=routes.allocate, body=Allocate,
            answer=LeaseAnswer, status=201, scope=SCOPE_WRITE, hot=True,
            problems=("quota_exceeded", "unknown_resource", "lease_ended", "idempotency_key_reused"),
            summary="Hold an amount of a limited resource, if there is room, until it is released or not renewed.",
            **row,
        ),
        Operation(
            id="list_allocations", method="GET", path=held, handler=routes.list_allocations, query=LeasesQuery,
            answer=LeaseList, scope=SCOPE_READ, summary="List what is held, oldest first.", **row,
        ),
        Operation(
            id="get_allocation", method="GET", path=one, handler=routes.get_allocation, answer=LeaseAnswer,
            scope=SCOPE_READ, summary="Show a quota lease.", **missing,
        ),
        Operation(
            id="renew_allocation", method="POST", path=one + "/renew", handler=routes.renew_allocation,
            answer=LeaseAnswer, scope=SCOPE_WRITE, signal=True, hot=True,
            summary="Give a quota lease its whole time again; 404 means: stop using it.", **missing,
        ),
        Operation(
            id="release_allocation", method="DELETE", path=one, handler=routes.release_allocation, status=204,
            scope=SCOPE_WRITE, hot=True, problems=("not_lease_holder",),
            summary="End a quota lease; one that has ended already is fine.", **row,
        ),
        Operation(
            id="take_slice", method="POST", path="/tenants/{tenant_id}/slices", handler=routes.take_slice,
            body=TakeSlice, answer=SliceAnswer, status=201, scope=SCOPE_WRITE, hot=True,
            problems=("quota_exceeded", "unknown_limit"),
            summary="Take a part of a limit that is counted over a period, to be spent without asking again.", **row,
        ),
        Operation(
            id="return_slice", method="POST", path="/tenants/{tenant_id}/slices/{slice_id}/return",
            handler=routes.return_slice, body=ReturnSlice, answer=ReturnedAnswer, scope=SCOPE_WRITE, hot=True,
            problems=("unknown_limit",), summary="Give back what is left of a slice, once.", **row,
        ),
        Operation(
            id="get_usage", method="GET", path="/tenants/{tenant_id}/usage", handler=routes.get_usage,
            answer=UsageAnswer, scope=SCOPE_READ, summary="Show every limit of a tenant, with what is used of it.",
            **row,
        ),
    )  # fmt: skip


def _where_it_stands(taken: Slice) -> HeaderLines:
    if taken.limit is None or taken.remaining is None:
        return ()
    return rate_limit_lines(
        taken.name,
        quota=taken.limit,
        remaining=taken.remaining,
        window_s=taken.window_s,
        reset_s=ceil(taken.expires_in_ms / 1_000),
    )


def _key_of(call: Call, body: Allocate) -> str | None:
    """Return the idempotency key of body or header; both, if given, say the same."""
    if None not in (body.idempotency_key, call.idempotency_key) and body.idempotency_key != call.idempotency_key:
        raise HubError(
            "invalid_idempotency_key",
            Kind.INVALID,
            "The idempotency key in the body is not the one in the header.",
            next_step="Send one of them, or the same in both.",
        )
    return body.idempotency_key or call.idempotency_key
