"""What the edge needs answered about a caller; the tenants feature answers it."""

from __future__ import annotations

from typing import Protocol

from central_hub.edge.guard import Claims
from central_hub.edge.holding import Ledger
from central_hub.edge.operations import Headers
from central_hub.edge.shares import Share
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.seq import HubSeq


class CallerRefused(HubError):
    """A refusal of a proven caller before it has a context; `caller` says whom, for counting and the trail.

    Args:
        error: why.
        caller: who, at home and with no rank.
    """

    def __init__(self, error: HubError, caller: TenantContext) -> None:
        super().__init__(
            error.code,
            error.kind,
            error.message,
            next_step=error.next_step,
            internal=error.internal,
            fields=error.fields,
            retry_after_s=error.retry_after_s,
        )
        self.caller = caller


class Authenticate(Protocol):
    """From credential and claims to a context; synchronous, no I/O."""

    def authenticate(self, headers: Headers, claims: Claims, *, origin: str, method: str) -> TenantContext:
        """Prove the caller and build its context.

        A caller without a credential gets an anonymous (or, where the operator's policy allows
        it, legacy) context; operations that are not public refuse the former.

        Raises:
            HubError: `invalid_credential` (401), `insecure_request` (400 in open mode).
            CallerRefused: `tenant_mismatch` (403).
        """
        ...

    def assume(self, ctx: TenantContext, tenant_id: str) -> TenantContext:
        """Rebuild the context for a tenant claimed in a query, body or path.

        Raises:
            HubError: `tenant_mismatch` (403) when the principal may not assert it, whether or
                not such a tenant exists.
        """
        ...

    def may_assert(self, ctx: TenantContext, tenant_id: str) -> bool:
        """Say whether the principal may speak for that tenant."""
        ...


class Denials(Protocol):
    """Where refusals are counted, journaled and given a decision id."""

    def denied(self, ctx: TenantContext | None, error: HubError, *, operation: str, origin: str) -> str:
        """Note a refusal; returns the sealed decision id for the caller."""
        ...


class Positions(Protocol):
    """Where a caller stands in the log, for `Hub-Seq`."""

    def position_of(self, ctx: TenantContext) -> HubSeq:
        """Return the position of the caller's own and of the shared domain."""
        ...

    @property
    def may_be_behind(self) -> bool:
        """Whether other hubs write to the log too, so that a caller may have seen what this one has not applied yet."""
        ...

    async def reached(self, ctx: TenantContext, position: str) -> bool | None:
        """Wait a moment until a well-formed position is applied; say whether it is, None for another history's."""
        ...


class Protection(Protocol):
    """The hub's own limits on callers, apart from what tenants bought."""

    @property
    def ledger(self) -> Ledger:
        """Where connections that are not read are counted."""
        ...

    def admit(self, ctx: TenantContext, *, writes: bool) -> Share:
        """Begin a request or refuse it; whoever was let in calls `leave` when the answer is there.

        Raises:
            HubBusy: `too_many_requests`, `too_many_in_flight` (429) with `retry_after_s`.
        """
        ...

    def charge(self, ctx: TenantContext | None, origin: str) -> None:
        """Count a request that is about to be refused for another reason.

        Raises:
            HubBusy: `too_many_requests` (429), which is said instead.
        """
        ...
