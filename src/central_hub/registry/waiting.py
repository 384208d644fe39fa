"""Blocking reads: who waits for a service to change, woken by that service alone."""

from __future__ import annotations

import asyncio
from typing import Final

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId
from central_hub.registry.model import ServiceKey

WAIT_S_MAX: Final = 60.0
WAITERS_PER_TENANT_MAX: Final = 1_000


class Waiters:
    """Futures by (domain, service)."""

    def __init__(self) -> None:
        self._waiting: dict[ServiceKey, set[asyncio.Future[None]]] = {}
        self._of_domain: dict[DomainId, set[asyncio.Future[None]]] = {}
        self.woken = 0

    def wake(self, key: ServiceKey) -> None:
        """Wake whoever waits for this service."""
        for future in self._waiting.pop(key, ()):
            if not future.done():
                future.set_result(None)
                self.woken += 1

    def waiting(self, domain: DomainId) -> int:
        """Return how many callers of a tenant wait."""
        return len(self._of_domain.get(domain, ()))

    def access_changed(self, domain: DomainId) -> None:
        """Wake whoever waits in a domain, so that each looks at once whether it still may wait.

        Args:
            domain: whose keys, tier or tenant changed; `platform` and `shared` concern everyone.
        """
        concerned = self._of_domain.values() if domain in (PLATFORM, SHARED) else (self._of_domain.get(domain, set()),)
        for future in [future for futures in concerned for future in futures]:
            if not future.done():
                future.set_result(None)

    async def wait(self, domain: DomainId, keys: tuple[ServiceKey, ...], seconds: float) -> bool:
        """Wait until one of the services changes, or the caller's own access did.

        Args:
            domain: the caller's, for the limit.
            keys: the services.
            seconds: at most this long.

        Returns:
            Whether one did; False when the time is up.

        Raises:
            HubError: `too_many_waiters` (429).
        """
        if self.waiting(domain) >= WAITERS_PER_TENANT_MAX:
            raise HubError(
                "too_many_waiters",
                Kind.LIMIT,
                f"{WAITERS_PER_TENANT_MAX} blocking reads of this tenant are waiting, which is the limit.",
                next_step="Use one GET /watch for many services instead.",
                retry_after_s=1,
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._of_domain.setdefault(domain, set()).add(future)
        for key in keys:
            self._waiting.setdefault(key, set()).add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
            return True
        except TimeoutError:
            return False
        finally:
            self._forget(domain, keys, future)

    def _forget(self, domain: DomainId, keys: tuple[ServiceKey, ...], future: asyncio.Future[None]) -> None:
        for key in keys:
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[key]
        futures = self._of_domain[domain]
        futures.discard(future)
        if not futures:
            del self._of_domain[domain]
