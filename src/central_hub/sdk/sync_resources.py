"""The blocking faces of what is held and spent for a tenant: the same names, on the loop of a `SyncHubClient`.

Leases are renewed and slices taken by the client's own thread. Every object here may be used from any number of
threads at once.
"""

from __future__ import annotations

from typing import Self

from central_hub.kernel.errors import HubError
from central_hub.sdk.budgets import WAIT_S, TenantBudget
from central_hub.sdk.resources import TTL_S, Availability, ResourceHandle, TenantResourceManager
from central_hub.sdk.sync import SyncHubClient


class SyncResourceHandle:
    """A held amount, as `ResourceHandle`. Use it as `with`, or call `release`."""

    def __init__(self, hub: SyncHubClient, handle: ResourceHandle) -> None:
        self._hub = hub
        self._handle = handle
        self.lease_id = handle.lease_id
        self.fencing_token = handle.fencing_token
        self.resource = handle.resource
        self.amount = handle.amount
        self.ttl_s = handle.ttl_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether what it stands for may be used."""
        return self._handle.held

    @property
    def lost(self) -> bool:
        """Whether the lease is over although nobody released it: then stop using what it stands for."""
        return self._handle.lost.is_set()

    @property
    def released(self) -> bool:
        """Whether it was given back."""
        return self._handle.released

    def release(self) -> None:
        """Give it back; as `ResourceHandle.release`."""
        self._hub.run(self._handle.release())


class SyncTenantResourceManager:
    """Holds capacity for a tenant at a hub, as `TenantResourceManager`.

    Args:
        hub: an open client.
        tenant_id: whose capacity; None for the key's own tenant.
    """

    def __init__(self, hub: SyncHubClient, tenant_id: str | None = None) -> None:
        self._hub = hub
        self._manager = TenantResourceManager(hub.asynchronous, tenant_id)

    def check_resource_availability(self, resource: str, amount: int = 1) -> Availability:
        """Say whether there would be room now; as `TenantResourceManager.check_resource_availability`."""
        return self._hub.run(self._manager.check_resource_availability(resource, amount))

    def allocate_resource(self, resource: str, amount: int = 1, *, ttl_s: float = TTL_S) -> SyncResourceHandle:
        """Hold an amount of a resource, if there is room; as `TenantResourceManager.allocate_resource`.

        Raises:
            TenantResourceLimitExceeded: there is no room.
            HubError: what else the hub refused; `hub_unreachable`.
        """
        return SyncResourceHandle(
            self._hub, self._hub.run(self._manager.allocate_resource(resource, amount, ttl_s=ttl_s))
        )


class SyncTenantBudget:
    """Decides whether a tenant may do one more of something, as `TenantBudget`.

    A decision asks no hub, and takes a turn of the client's thread: many times what it costs on an event loop.

    Args:
        hub: an open client.
        limit: name of the limit.
        tenant_id: whose; None for the key's own tenant.
        holder: tells this spender from others with the same credential; a random name by default.
    """

    def __init__(self, hub: SyncHubClient, limit: str, *, tenant_id: str | None = None, holder: str = "") -> None:
        self._hub = hub
        self._budget = TenantBudget(hub.asynchronous, limit, tenant_id=tenant_id, holder=holder)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Take the first slice, if the hub is there; as `TenantBudget.open`.

        Raises:
            HubError: what the hub refused for good: `unknown_limit`, a missing scope.
        """
        self._hub.run(self._budget.open())

    def close(self) -> None:
        """Stop, and give back what is in hand."""
        self._hub.run(self._budget.close())

    def spend(self, amount: int = 1) -> bool:
        """Decide without asking the hub: True and spent, or False and nothing was."""
        return self._hub.run(self._spend(amount))

    def admit(self, amount: int = 1, *, wait_s: float = WAIT_S) -> None:
        """Spend, waiting for the hub where nothing is in hand; as `TenantBudget.admit`.

        Raises:
            TenantResourceLimitExceeded: the limit is used up.
            HubError: what else the hub refused; `hub_unreachable`.
        """
        self._hub.run(self._budget.admit(amount, wait_s=wait_s))

    @property
    def in_hand(self) -> int:
        """How much can be spent now without the hub."""
        return self._hub.run(self._in_hand())

    @property
    def refusal(self) -> HubError | None:
        """Why the hub gave no more, None while it does."""
        return self._budget.refusal

    @property
    def admitted(self) -> int:
        """How many decisions were yes."""
        return self._budget.admitted

    @property
    def denied(self) -> int:
        """How many decisions were no."""
        return self._budget.denied

    @property
    def hub_calls(self) -> int:
        """How often the hub was asked."""
        return self._budget.hub_calls

    async def _spend(self, amount: int) -> bool:
        return self._budget.spend(amount)

    async def _in_hand(self) -> int:
        return self._budget.in_hand
