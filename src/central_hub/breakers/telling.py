"""Who is told of shared verdicts: those who watch a service, on the same stream, when one begins, begins anew or ends.

A stream first gets every verdict in force that concerns it (`breakers`), so that what it missed is right again, and
then each change (`breaker`), with the same bytes for all. Of everyone's verdicts a tenant hears those on route classes
that it has named itself: the words of others are theirs. Work is done in slices.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from central_hub.breakers.ports import Access, Services
from central_hub.breakers.usecases import SharedBreakers
from central_hub.breakers.verdicts import (
    SCOPE_READ,
    Key,
    SharedBreakerRecovered,
    SharedBreakerTripped,
    Verdict,
    state_of,
)
from central_hub.breakers.view import BreakersView
from central_hub.edge.streams import Frame, Sink, event_frame
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.kernel.records import Applied

ALL_EVENT: Final = "breakers"
EVENT: Final = "breaker"
SLICE_MS: Final = 1.5
OF_TENANT: Final = "tenant"
OF_EVERYONE: Final = "everyone"

_encode: Final = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on the wire; `left_ms` is how long calls are refused, so that no two clocks have to agree."""

    service: str
    route_class: str
    of: str
    state: str
    reason: str
    left_ms: int = 0
    calls: int = 0
    failures: int = 0
    slow: int = 0


class _All(msgspec.Struct, frozen=True):
    breakers: list[Told]


class _Watcher:
    __slots__ = ("ctx", "names", "sink")

    def __init__(self, ctx: TenantContext, names: frozenset[str] | None, sink: Sink) -> None:
        self.ctx = ctx
        self.names = names
        self.sink = sink


class BreakerStreams:
    """Tells watchers; a listener of the runner.

    Args:
        view: the verdicts.
        shared: who named which route class.
        services: what callers see.
        access: whether who listens still may.
        clock: wall time for what is left, monotonic for slices.
    """

    def __init__(
        self, view: BreakersView, shared: SharedBreakers, services: Services, access: Access, clock: Clock
    ) -> None:
        self._view = view
        self._shared = shared
        self._services = services
        self._access = access
        self._clock = clock
        self._watchers: dict[DomainId, dict[_Watcher, None]] = {}
        self._work: deque[Iterator[None]] = deque()
        self._scheduled = False
        self.told = 0

    def admit(self, ctx: TenantContext, names: frozenset[str] | None) -> Callable[[Sink], Callable[[], None]]:
        """Return what begins to tell a stream of verdicts on services; see the registry's port.

        Raises:
            HubError: `scope_missing` (403).
        """
        ctx.require(SCOPE_READ)
        return lambda sink: self.open(ctx, names, sink)

    def open(self, ctx: TenantContext, names: frozenset[str] | None, sink: Sink) -> Callable[[], None]:
        """Send what is in force and then every change, until what is returned is called."""
        watcher = _Watcher(ctx, names, sink)
        self._watchers.setdefault(ctx.domain, {})[watcher] = None
        sink.write(event_frame(ALL_EVENT, _encode(_All(self._in_force(watcher)))))
        return partial(self._close, ctx.domain, watcher)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Take note of an applied batch; this is what the runner calls."""
        for one in batch:
            fact = one.fact
            if isinstance(fact, SharedBreakerTripped | SharedBreakerRecovered) and self._watchers:
                self._work.append(self._tell(one.domain, fact, self._watchers_of(one.domain)))
                self._schedule()

    def named(self, domain: DomainId, key: Key) -> None:
        """Tell a tenant of everyone's verdict on a route class that it names for the first time."""
        verdict = self._view.verdict(SHARED, key)
        if verdict is not None and domain in self._watchers:
            frame = event_frame(EVENT, _encode(self._shown(SHARED, verdict)))
            self._work.append(self._send(SHARED, key, frame, list(self._watchers[domain])))
            self._schedule()

    @property
    def watchers(self) -> int:
        """How many streams are told."""
        return sum(map(len, self._watchers.values()))

    def _close(self, domain: DomainId, watcher: _Watcher) -> None:
        watchers = self._watchers.get(domain, {})
        watchers.pop(watcher, None)
        if not watchers:
            self._watchers.pop(domain, None)

    def _in_force(self, watcher: _Watcher) -> list[Told]:
        return [
            self._shown(domain, verdict)
            for domain in dict.fromkeys((watcher.ctx.domain, SHARED))
            for key, verdict in self._view.verdicts(domain).items()
            if self._concerns(watcher, domain, key)
        ]

    def _watchers_of(self, domain: DomainId) -> list[_Watcher]:
        if domain != SHARED:
            return list(self._watchers.get(domain, ()))
        return [watcher for watchers in self._watchers.values() for watcher in watchers]

    def _concerns(self, watcher: _Watcher, domain: DomainId, key: Key) -> bool:
        if watcher.names is not None and key[0] not in watcher.names:
            return False
        home = self._services.home_of(watcher.ctx, key[0])
        if domain != SHARED:
            return home is not None
        return home == SHARED and self._shared.has_named(watcher.ctx.domain, key)

    def _tell(
        self, domain: DomainId, fact: SharedBreakerTripped | SharedBreakerRecovered, watchers: list[_Watcher]
    ) -> Iterator[None]:
        key = (fact.service, fact.route_class)
        verdict = self._view.verdict(domain, key)
        told = self._shown(domain, verdict) if verdict is not None else _over(domain, key, fact.reason.value)
        yield from self._send(domain, key, event_frame(EVENT, _encode(told)), watchers)

    def _send(self, domain: DomainId, key: Key, frame: Frame, watchers: list[_Watcher]) -> Iterator[None]:
        for watcher in watchers:
            is_open = watcher in self._watchers.get(watcher.ctx.domain, ())
            if is_open and self._still_may(watcher) and self._concerns(watcher, domain, key):
                self.told += watcher.sink.write(frame)
            yield

    def _still_may(self, watcher: _Watcher) -> bool:
        try:
            watcher.ctx = self._access.current(watcher.ctx)
        except HubError:
            watcher.sink.cut()
            return False
        return True

    def _shown(self, domain: DomainId, verdict: Verdict) -> Told:
        now_ms = self._clock.now_ms()
        return Told(
            service=verdict.service, route_class=verdict.route_class, of=of_word(domain),
            state=state_of(verdict, now_ms).value, reason=verdict.reason.value,
            left_ms=max(0, verdict.until_ms - now_ms), calls=verdict.evidence.calls,
            failures=verdict.evidence.failures, slow=verdict.evidence.slow,
        )  # fmt: skip

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        begun = self._clock.monotonic_ms()
        while self._work:
            for _ in self._work[0]:
                if self._clock.monotonic_ms() - begun >= SLICE_MS:
                    asyncio.get_running_loop().call_soon(self._slice)
                    return
            self._work.popleft()
        self._scheduled = False


def of_word(domain: DomainId) -> str:
    """Say whose a verdict is in the words of the wire."""
    return OF_EVERYONE if domain == SHARED else OF_TENANT


def _over(domain: DomainId, key: Key, reason: str) -> Told:
    return Told(service=key[0], route_class=key[1], of=of_word(domain), state="CLOSED", reason=reason)
