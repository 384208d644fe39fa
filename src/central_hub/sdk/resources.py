"""Capacity held for a tenant: a lease that is renewed until it is released or this process ends.

Checking first and taking afterwards admits everyone who checked at the same time, so `allocate_resource` asks the
hub for a lease in one step; `check_resource_availability` is advice for people and screens.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any, Final, Self

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.client import HubClient
from central_hub.sdk.protocol import segment

TTL_S: Final = 30.0
RENEWALS_PER_TTL: Final = 3
RENEW_RETRY_S: Final = 0.5


class TenantResourceLimitExceeded(HubError):
    """There is no room: what is held and what was asked for are more than the limit.

    Attributes:
        used: what is held.
        limit: the tenant's limit.
        resets_at: when something ends by itself (RFC 3339); None when waiting does not help.
    """

    def __init__(self, error: HubError) -> None:
        super().__init__(
            error.code,
            error.kind,
            error.message,
            next_step=error.next_step,
            fields=error.fields,
            retry_after_s=error.retry_after_s,
        )
        self.used = _whole(error.fields.get("used"))
        self.limit = _whole(error.fields.get("limit"))
        resets_at = error.fields.get("resets_at")
        self.resets_at = resets_at if isinstance(resets_at, str) else None


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """Where a resource stood a moment ago; `limit` and `remaining` are None for no limit."""

    available: bool
    used: int
    limit: int | None
    remaining: int | None


class ResourceHandle:
    """A held amount. Use it as `async with`, or call `release`.

    `lost` is set when the hub says that the lease is over, or could not be asked for a whole TTL: then stop using
    what it stands for. `fencing_token` grows with every lease: give it to what you write to, so that it can refuse
    a holder whose time is over.
    """

    def __init__(self, manager: TenantResourceManager, path: str, answer: dict[str, Any], sent_s: float) -> None:
        self._manager = manager
        self._path = path
        self.lease_id: str = answer["lease_id"]
        self.fencing_token: int = answer["fencing_token"]
        self.resource: str = answer["resource"]
        self.amount: int = answer["amount"]
        self.ttl_s: float = answer["ttl_s"]
        self.lost = asyncio.Event()
        self.released = False
        self._until_s = sent_s + self.ttl_s
        self._renewing = asyncio.create_task(self._renew(), name="central_hub.lease")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.release()

    @property
    def held(self) -> bool:
        """Whether what it stands for may be used."""
        return not self.released and not self.lost.is_set() and time.monotonic() < self._until_s

    async def release(self) -> None:
        """Give it back; again changes nothing. Where the hub is away it comes back when the TTL is over."""
        if self.released:
            return
        self.released = True
        self._renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._renewing
        try:
            await self._manager.hub.command("DELETE", self._path)
        except HubError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise

    async def _renew(self) -> None:
        wait_s = self.ttl_s / RENEWALS_PER_TTL
        while True:
            left_s = self._until_s - time.monotonic()
            if left_s <= 0:
                self.lost.set()
                return
            await asyncio.sleep(min(left_s, wait_s * random.uniform(0.8, 1.0)))  # noqa: S311  # jitter
            sent_s = time.monotonic()
            try:
                await self._manager.hub.command("POST", f"{self._path}/renew", attempts=1)
            except HubError as error:
                if error.kind in (Kind.NOT_FOUND, Kind.DENIED, Kind.UNAUTHENTICATED):
                    self.lost.set()
                    return
                wait_s = min(RENEW_RETRY_S, self.ttl_s / RENEWALS_PER_TTL)
            else:
                self._until_s = sent_s + self.ttl_s
                wait_s = self.ttl_s / RENEWALS_PER_TTL


class TenantResourceManager:
    """Holds capacity for a tenant at a hub.

    Args:
        hub: an open client.
        tenant_id: whose capacity; None for the key's own tenant.
    """

    def __init__(self, hub: HubClient, tenant_id: str | None = None) -> None:
        self.hub = hub
        self._tenant_id = tenant_id

    async def check_resource_availability(self, resource: str, amount: int = 1) -> Availability:
        """Say whether there would be room now. It promises nothing: only `allocate_resource` holds anything.

        Raises:
            HubError: `unknown_resource` when the plan does not grant it, or what the hub refused.
        """
        usage = await self.hub.ask(f"/tenants/{await self._tenant()}/usage")
        for limit in usage["limits"]:
            if limit["resource"] == resource and limit["kind"] == "capacity":
                remaining = limit["remaining"]
                return Availability(
                    available=remaining is None or limit["soft"] or amount <= remaining,
                    used=limit["used"],
                    limit=limit["limit"],
                    remaining=remaining,
                )
        raise HubError(
            "unknown_resource",
            Kind.MALFORMED,
            f"The plan grants no resource '{resource}' that can be held.",
            next_step="GET /tenants/{id}/usage lists what it grants.",
        )

    async def allocate_resource(self, resource: str, amount: int = 1, *, ttl_s: float = TTL_S) -> ResourceHandle:
        """Hold an amount of a resource, if there is room.

        Args:
            resource: X for the limit `max_X`.
            amount: how much of it.
            ttl_s: after how many seconds it is free again should this process die; 1 to 86,400.

        Raises:
            TenantResourceLimitExceeded: there is no room.
            HubError: what else the hub refused; `hub_unreachable`.
        """
        path = f"/tenants/{await self._tenant()}/allocations"
        sent_s = time.monotonic()
        try:
            answer = await self.hub.command("POST", path, {"resource": resource, "amount": amount, "ttl_s": ttl_s})
        except HubError as error:
            if error.code == "quota_exceeded":
                raise TenantResourceLimitExceeded(error) from error
            raise
        return ResourceHandle(self, f"{path}/{segment(answer['lease_id'])}", answer, sent_s)

    async def _tenant(self) -> str:
        if self._tenant_id is None:
            self._tenant_id = await tenant_of(self.hub)
        return segment(self._tenant_id)


async def tenant_of(hub: HubClient) -> str:
    """Return the tenant that a client's credential belongs to.

    Raises:
        HubError: `tenant_required` when it belongs to none.
    """
    tenant_id = (await hub.ask("/whoami"))["tenant_id"]
    if tenant_id is None:
        raise HubError(
            "tenant_required",
            Kind.INVALID,
            "This credential belongs to no tenant.",
            next_step="Name one with tenant_id=….",
        )
    return str(tenant_id)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
