"""Secrets on a memory log, with key rings that can be opened again and providers that can be away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from central_hub.adapters.key_encryption import DataKey, LocalKeys
from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.secrets.model import FACTS, Secret
from central_hub.secrets.reading import KnownSecrets
from central_hub.secrets.rotation import Rotation
from central_hub.secrets.usecases import NewVersion, Secrets
from central_hub.secrets.view import SecretsView

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
KEK = bytes(range(32))


def ctx_of(tenant: str | None = "acme") -> TenantContext:
    """Return the context of a tenant's own key; of the platform's without a tenant."""
    principal = Principal(
        id="key:k", kind=PrincipalKind.KEY, home=DomainId(tenant or PLATFORM), scopes=frozenset({"secret:read"})
    )
    named = None if tenant is None else TenantId(tenant)
    return TenantContext(principal=principal, tenant_id=named, tier="pro", rank=1)


class Fickle(LocalKeys):
    """Keys whose provider can be away, and that makes new ones without a file."""

    def __init__(self, *keys: bytes) -> None:
        super().__init__(keys or (KEK,))
        self.away = False
        self.asked = 0

    async def wrap(self, plain: Sequence[DataKey]) -> list[bytes]:
        self.asked += 1
        if self.away:
            raise HubError("key_provider_unavailable", Kind.UNAVAILABLE, "It is away.")
        return await super().wrap(plain)

    async def rotate(self) -> None:
        await super().wrap([])
        fresh = Fickle(os.urandom(32))
        self._keys[:0] = fresh._keys
        self._ciphers.update(fresh._ciphers)


class Doorkeeper:
    """Lets everyone on unless told otherwise, and knows two tenants."""

    def __init__(self) -> None:
        self.refusing = False
        self.tenants = {ACME, GLOBEX}

    def current(self, ctx: TenantContext) -> TenantContext:
        if self.refusing:
            raise HubError("invalid_credential", Kind.UNAUTHENTICATED, "It was revoked.")
        return ctx

    def is_tenant(self, domain: DomainId) -> bool:
        return domain in self.tenants


class House:
    """Everything of secrets, and the log under it."""

    def __init__(self, log: MemoryLog | None = None, kept: MemoryKeys | None = None, *keys: bytes) -> None:
        self.clock = ManualClock()
        self.log = log or MemoryLog()
        self.kept = kept or MemoryKeys()
        self.provider = Fickle(*keys)
        self.ring = KeyRing(self.provider, self.kept)
        self.view = SecretsView()
        self.runner = Runner(self.log, self.ring, FactTypes(FACTS), [self.view])
        self.sequencer = Sequencer(self.log, self.ring, self.runner, self.clock, os.urandom)
        self.door = Doorkeeper()
        self.known = KnownSecrets(self.view)
        self.secrets = Secrets(self.view, self.known, self.sequencer, self.ring, self.door, self.door, self.clock)
        self.rotation = Rotation(
            self.ring, self.view, self.sequencer, self.clock, self.door, retry_s=0.01, worn_look_s=0.01
        )

    async def put(
        self, path: str, value: str, *, domain: DomainId = ACME, if_match: str | None = None, **more: Any
    ) -> Secret:
        """Put a version as the domain's own."""
        ctx = ctx_of(None if domain == PLATFORM else domain)
        return (await self.secrets.put(ctx, domain, NewVersion(path=path, value=value, if_match=if_match, **more)))[0]

    async def read(self, path: str, *, domain: DomainId = ACME, version: int | None = None) -> str:
        """Read a value as the domain's own."""
        return (await self.secrets.read(ctx_of(domain), domain, path, version)).value


@asynccontextmanager
async def opened(house: House | None = None) -> AsyncIterator[House]:
    """Run a house's sequencer for the length of a test."""
    house = house or House()
    await house.ring.load()
    await house.runner.catch_up()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(house.sequencer.run())
        try:
            yield house
        finally:
            house.sequencer.close()
            await asyncio.wait({running}, timeout=2)
            running.cancel()


@asynccontextmanager
async def rotating(house: House) -> AsyncIterator[None]:
    """Run a house's rotations for the length of a test."""
    task = asyncio.create_task(house.rotation.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    """Wait for something, for two seconds at most."""
    async with asyncio.timeout(2):
        while not true():
            await asyncio.sleep(0.001)
