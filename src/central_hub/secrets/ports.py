"""What secrets ask of others: keys of the key ring, tenants of the tenants feature, how much a caller may do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId


class Vault(Protocol):
    """Seals and opens under a domain's data keys (adapters.keyring.KeyRing)."""

    def seal(self, domain: DomainId, plain: bytes, associated: bytes) -> tuple[str, bytes]:
        """Encrypt under the domain's current data key; returns (key id, sealed bytes)."""
        ...

    def open(self, domain: DomainId, key_id: str, sealed: bytes, associated: bytes) -> bytes:
        """Decrypt.

        Raises:
            HubError: `unreadable_record` when the key is gone or the bytes were altered.
        """
        ...


class Encryption(Protocol):
    """What wraps data keys."""

    @property
    def provider(self) -> str:
        """Where the key-encryption keys are: `file`, `env` or `transit`."""
        ...

    @property
    def current(self) -> str:
        """The id of the key that wraps from now on."""
        ...

    async def rotate(self) -> None:
        """Make a new key the current one, durably."""
        ...


class Keys(Protocol):
    """The key ring, as those see it who rotate keys."""

    @property
    def encryption(self) -> Encryption:
        """What wraps data keys."""
        ...

    @property
    def provider_failures(self) -> int:
        """How often the provider refused or was away."""
        ...

    def data_keys(self) -> int:
        """Return how many data keys there are."""
        ...

    def count_behind(self) -> int:
        """Return how many data keys are not wrapped under the current key."""
        ...

    def next_behind(self, limit: int) -> list[tuple[str, str]]:
        """Return up to `limit` of those, as (domain, key id)."""
        ...

    def worn(self) -> list[DomainId]:
        """Return the domains whose data key has sealed as much as one may."""
        ...

    def domains(self) -> list[DomainId]:
        """Return every domain that has data keys, in order."""
        ...

    def renewed_since(self, domain: DomainId, time_ms: int) -> bool:
        """Say whether a domain's current data key was made at or after a time."""
        ...

    def count_domains(self) -> int:
        """Return how many domains have data keys."""
        ...

    def newest_ms(self) -> int:
        """Return when the newest data key was made."""
        ...

    async def renew(self, domain: DomainId, *, not_before_ms: int = 0) -> str:
        """Give a domain a new data key, dated as told or later; returns its id.

        Raises:
            HubError: `unreadable_record` for a shredded domain; `limit_reached` (429); what the provider refuses.
        """
        ...

    async def rewrap(self, names: Sequence[tuple[str, str]]) -> None:
        """Wrap some data keys under the current key, durably."""
        ...

    async def forget_replaced(self) -> None:
        """Let go of the key-encryption keys of before, and of what they wrapped."""
        ...


class Customers(Protocol):
    """Which tenants there are."""

    def is_tenant(self, domain: DomainId) -> bool:
        """Say whether there is such a tenant."""
        ...


class Access(Protocol):
    """Whether a context that was proven earlier still holds."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it would be built now.

        Raises:
            HubError: when the credential was revoked or expired, or the tenant suspended.
        """
        ...
