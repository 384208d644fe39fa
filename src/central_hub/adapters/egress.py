"""The one door through which the hub opens connections.

A name is resolved once, every address that came back is judged, and the connection goes to
exactly the address that was judged: a name cannot change its mind in between. No proxies, no
redirects, nothing of a tenant is sent from here. When the resolver or a target is down the caller
gets a `Refused` or an `OSError`, counted here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from central_hub.adapters.egress_policy import Policy, Purpose, Refusal, is_address
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import DomainId

CONNECT_TIMEOUT_S: Final = 2.0
RESOLVE_TIMEOUT_S: Final = 1.0
RESOLVE_THREADS: Final = 8
RESOLVES_PER_DOMAIN_MAX: Final = 2
RESOLVED_ADDRESSES_MAX: Final = 16
RESOLVED_KEPT_MS: Final = 5_000.0
"""How long a name's addresses are kept; they are judged again at every connection."""

VERDICTS_MAX: Final = 8_192
"""Verdicts on addresses kept; they depend on nothing but the policy."""

DISTINCT_TARGETS_PER_HOUR: Final = 4_096
"""Different (address, port) pairs one domain may have reached in an hour: a registry is no port scanner."""

BUDGET_WINDOW_MS: Final = 3_600_000.0
SocketAddress = tuple[str, int] | tuple[str, int, int, int]
Resolve = Callable[[str, int], Sequence[SocketAddress]]


class Refused(Exception):
    """The connection was not attempted."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class Connection:
    """A non-blocking stream socket. The event loop only says when it is ready: some loops' own
    connect would resolve the address once more.

    Args:
        sock: a fresh socket, owned from now on.
    """

    __slots__ = ("_loop", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()

    async def open(self, address: SocketAddress) -> None:
        """Connect to exactly this address.

        Raises:
            OSError: it was not taken.
        """
        error = self._socket.connect_ex(address)
        if error == errno.EINPROGRESS:
            await self._ready(self._loop.add_writer, self._loop.remove_writer)
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)

    async def receive(self, limit: int) -> bytes:
        """Return up to `limit` bytes as soon as there are any; nothing at the end of the stream."""
        while True:
            try:
                return self._socket.recv(limit)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    async def _ready(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        number = self._socket.fileno()
        ready: asyncio.Future[None] = self._loop.create_future()
        add(number, _wake, ready)
        try:
            await ready
        finally:
            remove(number)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Egress:
    """Opens outbound connections, and nothing else in the hub does.

    Args:
        policy: what may be reached; `use_policy` replaces it (listeners are known after binding).
        clock: monotonic time for budgets.
        resolve: blocking resolver, run in threads of its own; for tests.
        distinct_targets_per_hour: budget of each domain.
    """

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        *,
        resolve: Resolve | None = None,
        distinct_targets_per_hour: int = DISTINCT_TARGETS_PER_HOUR,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._resolve = resolve or _getaddrinfo
        self._budget = _Budget(distinct_targets_per_hour)
        self._verdicts: dict[tuple[str, int, DomainId, Purpose], Refusal | None] = {}
        self._threads = ThreadPoolExecutor(RESOLVE_THREADS, thread_name_prefix="egress-resolve")
        self._gates: dict[DomainId, asyncio.Semaphore] = {}
        self._names: dict[tuple[DomainId, str], tuple[Sequence[SocketAddress], float]] = {}
        self.opened = 0
        self.refused: dict[Refusal, int] = {}

    def use_policy(self, policy: Policy) -> None:
        """Replace what may be reached; holds for the next connection."""
        self._policy = policy
        self._verdicts.clear()

    def may_be_granted(self, domain: DomainId, host: str, port: int, *, purpose: Purpose = Purpose.PROBE) -> bool:
        """Say, without a resolver, whether a connection may be allowed; a name passes if any grant covers the port."""
        if is_address(host):
            return self._verdict(host, port, domain, purpose) is None
        return self._policy.covers_port(port, domain, purpose=purpose)

    async def connect(
        self,
        domain: DomainId,
        host: str,
        port: int,
        *,
        purpose: Purpose = Purpose.PROBE,
        timeout_s: float | None = CONNECT_TIMEOUT_S,
    ) -> Connection:
        """Resolve once, judge every address that came back, connect to the first of them.

        Args:
            domain: on whose behalf.
            host: an address or a name; never taken as an address in any other spelling than the resolver's.
            port: 1 to 65535.
            timeout_s: for connecting; None where the caller bounds the whole exchange.

        Returns:
            A connection that the caller closes.

        Raises:
            Refused: it may not be reached, does not resolve, or the domain's budget is used up.
            OSError, TimeoutError: the target did not take the connection in time.
        """
        address = await self._target(domain, host, port, purpose)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.opened += 1
        connection = Connection(socket.socket(family, socket.SOCK_STREAM))
        try:
            if timeout_s is None:
                await connection.open(address)
            else:
                async with asyncio.timeout(timeout_s):
                    await connection.open(address)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Let go of the resolver's threads without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _target(self, domain: DomainId, host: str, port: int, purpose: Purpose) -> SocketAddress:
        addresses = ((host, port),) if is_address(host) else await self._lookup(domain, host, port)
        for address in addresses:
            # One bad address among several is enough: a name that also leads elsewhere is not trusted.
            refusal = self._verdict(address[0], port, domain, purpose)
            if refusal is not None:
                raise self._count(refusal)
        if not self._budget.take(domain, (addresses[0][0], port), self._clock.monotonic_ms()):
            raise self._count(Refusal.OVER_BUDGET)
        first = addresses[0]
        return (first[0], port) if len(first) == 2 else (first[0], port, first[2], first[3])

    def _verdict(self, address: str, port: int, domain: DomainId, purpose: Purpose) -> Refusal | None:
        key = (address, port, domain, purpose)
        if key in self._verdicts:
            return self._verdicts[key]
        if len(self._verdicts) >= VERDICTS_MAX:
            self._verdicts.clear()
        verdict = self._verdicts[key] = self._policy.classify(address, port, domain, purpose=purpose)
        return verdict

    async def _lookup(self, domain: DomainId, host: str, port: int) -> Sequence[SocketAddress]:
        key = (domain, host)
        known = self._names.get(key)
        now_ms = self._clock.monotonic_ms()
        if known is not None and now_ms < known[1]:
            return known[0]
        gate = self._gates.setdefault(domain, asyncio.Semaphore(RESOLVES_PER_DOMAIN_MAX))
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S), gate:
                addresses = await asyncio.get_running_loop().run_in_executor(self._threads, self._resolve, host, port)
        except (OSError, UnicodeError, TimeoutError):
            raise self._count(Refusal.UNRESOLVED) from None
        if not addresses or len(addresses) > RESOLVED_ADDRESSES_MAX:
            raise self._count(Refusal.UNRESOLVED)
        if len(self._names) >= VERDICTS_MAX:
            self._names.clear()
        self._names[key] = (addresses, now_ms + RESOLVED_KEPT_MS)
        return addresses

    def _count(self, refusal: Refusal) -> Refused:
        self.refused[refusal] = self.refused.get(refusal, 0) + 1
        return Refused(refusal)


class _Budget:
    """Distinct targets per domain and hour, kept in two halves so that the window slides."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._now: dict[DomainId, set[tuple[str, int]]] = {}
        self._before: dict[DomainId, set[tuple[str, int]]] = {}
        self._turned_ms = 0.0

    def take(self, domain: DomainId, target: tuple[str, int], now_ms: float) -> bool:
        if now_ms - self._turned_ms >= BUDGET_WINDOW_MS / 2:
            both = now_ms - self._turned_ms >= BUDGET_WINDOW_MS
            self._before = {} if both else self._now
            self._now = {}
            self._turned_ms = now_ms
        current = self._now.setdefault(domain, set())
        if target in current:
            return True
        before = self._before.get(domain, set[tuple[str, int]]())
        if target not in before and len(current | before) >= self._limit:
            return False
        current.add(target)
        return True


def _getaddrinfo(host: str, port: int) -> Sequence[SocketAddress]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [entry[4] for entry in found]  # pyright: ignore[reportReturnType]  # stream sockets of AF_INET and AF_INET6 only
