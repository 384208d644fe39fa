"""Honouring Idempotency-Key in a service: the same command of the same tenant is executed once.

In memory and bounded: it covers retries that reach the same process. What must hold across
instances belongs into the transaction of the service's own store.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from central_hub.kernel.errors import HubError, Kind

KEYS_MAX: Final = 10_000
KEPT_S: Final = 600.0
KEY_LENGTH_MAX: Final = 128

T = TypeVar("T")


class Once(Generic[T]):
    """Remembers results by (tenant, operation, key).

    Args:
        keys_max: results remembered; the oldest go first.
        kept_s: seconds for which a result is remembered.
    """

    def __init__(self, *, keys_max: int = KEYS_MAX, kept_s: float = KEPT_S) -> None:
        self._keys_max = keys_max
        self._kept_s = kept_s
        self._known: OrderedDict[tuple[str, str, str], tuple[float, bytes, asyncio.Future[T]]] = OrderedDict()
        self.replays = 0

    async def run(
        self,
        tenant_id: str,
        operation: str,
        key: str,
        fingerprint: bytes,
        execute: Callable[[], Awaitable[T]],
        *,
        keep: Callable[[T], bool] = lambda _: True,
    ) -> T:
        """Execute, or return what the first execution with this key returned (waiting for it if need be).

        Args:
            operation: method and path.
            key: 1 to 128 characters, chosen by the caller.
            fingerprint: of the payload; the same key with another one is refused.
            keep: whether a result is worth remembering; a failure is not.

        Raises:
            HubError: `invalid_idempotency_key` (422), `idempotency_key_reused` (422).
        """
        if not 1 <= len(key) <= KEY_LENGTH_MAX:
            raise HubError("invalid_idempotency_key", Kind.MALFORMED, f"A key has 1 to {KEY_LENGTH_MAX} characters.")
        name = (tenant_id, operation, key)
        self._forget_old(time.monotonic())
        known = self._known.get(name)
        if known is not None:
            if known[1] != fingerprint:
                raise HubError(
                    "idempotency_key_reused",
                    Kind.MALFORMED,
                    "That Idempotency-Key was used for another payload.",
                    next_step="Mint a new key for each command.",
                )
            self.replays += 1
            return await asyncio.shield(known[2])
        return await self._first(name, fingerprint, execute, keep)

    async def _first(
        self,
        name: tuple[str, str, str],
        fingerprint: bytes,
        execute: Callable[[], Awaitable[T]],
        keep: Callable[[T], bool],
    ) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._known[name] = (time.monotonic(), fingerprint, future)
        try:
            result = await execute()
        except BaseException as error:
            self._known.pop(name, None)
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # somebody may be waiting; if nobody is, it is not news
            else:
                future.cancel()
            raise
        if not keep(result):
            self._known.pop(name, None)
        future.set_result(result)
        return result

    def _forget_old(self, now_s: float) -> None:
        while self._known:
            name, (at_s, _, future) = next(iter(self._known.items()))
            if len(self._known) < self._keys_max and (now_s - at_s < self._kept_s or not future.done()):
                return
            del self._known[name]
