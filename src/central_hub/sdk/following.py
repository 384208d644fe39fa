"""Follows a hub: one watch stream for every service in use, reconnecting by itself, kept on disk.

While the hub is away the last good view stays in force; `age_s` says how old it is. A hub that
refuses (a revoked key, say) is asked again more slowly, and `last_refusal` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.balancing import Pool
from central_hub.sdk.link import HubLink
from central_hub.sdk.model import ALL, SUBSCRIPTIONS_MAX, VIEW_SAVE_S, ReportedLoad, ServiceState
from central_hub.sdk.protocol import HubReply, incarnation_of, read_service
from central_hub.sdk.sharing import EVENTS as VERDICT_EVENTS
from central_hub.sdk.sse import SseParser
from central_hub.sdk.store import ViewStore
from central_hub.sdk.view import LocalView

GATHER_S: Final = 0.01
"""Time in which further first uses join the same new stream."""

CONFIRM_SAVE_S: Final = 30.0
"""An unchanged view is saved again this often, so that its age on disk is right."""

NO_VERDICTS: Final = frozenset({"scope_missing", "invalid_query"})
CHANGE_WAIT_S: Final = 1.0
WAITERS_MAX: Final = 10_000
_NO_LOADS: Final[dict[str, ReportedLoad]] = {}

_log = logging.getLogger("central_hub.sdk")


class Follower:
    """Keeps the local view and the pools that are drawn from.

    Args:
        link: how the hub is reached.
        store: where the view is kept; None to keep it in memory only.
        zone: the caller's zone.
        names: services to watch from the start; `*` for all that are visible.
    """

    def __init__(self, link: HubLink, store: ViewStore | None, *, zone: str = "", names: Iterable[str] = ()) -> None:
        self._link = link
        self._store = store
        self._zone = zone
        self.names = set(names)
        self.view = LocalView()
        self.pools: dict[str, Pool] = {}
        self.connected = False
        self.last_refusal: HubError | None = None
        self.reconnects = 0
        self._view_names: tuple[str, ...] = ()
        self._confirmed_at_s: float | None = None
        self._saved_at_s = 0.0
        self._dirty = False
        self._names_changed = asyncio.Event()
        self._waiters: dict[asyncio.Future[None], str] = {}
        self._task: asyncio.Task[None] | None = None
        self.on_verdict: Callable[[str, bytes], None] | None = None

    async def open(self) -> None:
        """Load the view from disk and begin to follow; returns without waiting for the hub."""
        if self._store is not None:
            saved = await asyncio.to_thread(self._store.load)
            if saved is not None:
                self.view.restore(saved)
                self._view_names = saved.names
                self._confirmed_at_s = time.monotonic() - max(0.0, time.time() - saved.saved_at_ms / 1000)
        self._task = asyncio.create_task(self._follow_and_save(), name="central_hub.follow")

    async def close(self) -> None:
        """Stop following and save the view a last time."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await self._save(force=True)
        for waiter in list(self._waiters):
            waiter.cancel()
        self.connected = False

    @property
    def age_s(self) -> float | None:
        """Seconds since the hub last confirmed the view: 0 while the stream is live, None if it never did."""
        if self.connected:
            return 0.0
        return None if self._confirmed_at_s is None else time.monotonic() - self._confirmed_at_s

    @property
    def running(self) -> bool:
        """Whether it is following."""
        return self._task is not None

    def pool(self, service: str) -> Pool | None:
        """Return the pool of a service in the view; None when the view says nothing about it."""
        pool = self.pools.get(service)
        if pool is not None:
            return pool
        state = self.view.services.get(service)
        if state is None:
            return None
        pool = Pool(service, zone=self._zone, now_s=time.monotonic, wall_s=time.time, random_bits=random.getrandbits)
        pool.update(state, self.view.loads.get(service, _NO_LOADS))
        self.pools[service] = pool
        self.subscribe(service)
        return pool

    def subscribe(self, service: str) -> None:
        """Keep a service in the view from now on."""
        if service in self.names or ALL in self.names:
            return
        self.names.add(service)
        if len(self.names) > SUBSCRIPTIONS_MAX:
            self.names = {ALL}
        self._names_changed.set()

    async def fetch(self, service: str) -> Pool | None:
        """Bring a service into the view at once, beside the stream, and keep it there.

        Raises:
            HubError: what the hub refused, `service_not_found` among it; `hub_unreachable`.
        """
        self.subscribe(service)
        reply = await self._link.send(self._link.protocol.discover(service))
        state, incarnation = read_service(reply)
        if self.view.merge(state, incarnation):
            if self._confirmed_at_s is None:
                self._confirmed_at_s = time.monotonic()
            self._tell((service,))
        return self.pool(service)

    async def changed(self, service: str, timeout_s: float) -> bool:
        """Wait for the next change of a service; says whether there was one."""
        if len(self._waiters) >= WAITERS_MAX:
            return False
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = service
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.pop(waiter, None)
        return True

    async def changes(self, names: Iterable[str]) -> AsyncIterator[ServiceState]:
        """Yield the state of services now, where known, and again whenever one changed."""
        wanted = set(names)
        for name in sorted(wanted - {ALL}):
            self.subscribe(name)
        if ALL in wanted:
            self.names = {ALL}
            self._names_changed.set()
        seen: dict[str, ServiceState] = {}
        while True:
            current, told = self.view.services, False
            for name in sorted(current if ALL in wanted else wanted & current.keys()):
                state = current.get(name)
                if state is not None and seen.get(name) is not state:
                    seen[name] = state
                    told = True
                    yield state
            if not told:
                await self.changed(ALL, CHANGE_WAIT_S)

    async def _follow_and_save(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run())
            group.create_task(self._keep_saved())

    async def _keep_saved(self) -> None:
        while True:
            await asyncio.sleep(VIEW_SAVE_S)
            await self._save()

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            if not self.names:
                await self._names_changed.wait()
            await asyncio.sleep(GATHER_S)
            self._names_changed.clear()
            try:
                await self._follow_until_names_change(backoff)
                continue
            except HubError as error:
                if self.on_verdict is not None and error.code in NO_VERDICTS:
                    # A hub of before shared verdicts, or a key that may not read them: services are what matters.
                    self.on_verdict = None
                    continue
                self._disconnected(error)
                wait_s = backoff.next_s(random.random(), at_least_s=error.retry_after_s or 0)  # noqa: S311  # jitter
            except msgspec.DecodeError as error:
                self._disconnected(None)
                self.view.position = ""
                wait_s = backoff.next_s(random.random(), at_least_s=1.0)  # noqa: S311  # jitter
                del error
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 that can swallow a cancellation.
                async with asyncio.timeout(wait_s):
                    await self._names_changed.wait()

    async def _follow_until_names_change(self, backoff: Backoff) -> None:
        """Read one stream; returns when other services are wanted, or another hub is asked now."""
        self._link.turned.clear()
        stream = asyncio.create_task(self._stream(frozenset(self.names), backoff))
        change = asyncio.create_task(self._names_changed.wait())
        turn = asyncio.create_task(self._link.turned.wait())
        try:
            await asyncio.wait((stream, change, turn), return_when=asyncio.FIRST_COMPLETED)
            if stream.done():
                stream.result()
        finally:
            for task in (stream, change, turn):
                task.cancel()
            await asyncio.gather(stream, change, turn, return_exceptions=True)

    async def _stream(self, names: frozenset[str], backoff: Backoff) -> None:
        wanted = tuple(sorted(names))
        resume = self.view.position if wanted == self._view_names else ""
        request = self._link.protocol.watch(wanted, resume, breakers=self.on_verdict is not None)
        async with self._link.stream(request) as (reply, chunks):
            self._began(reply, wanted)
            parser = SseParser()
            async for chunk in chunks:
                self._confirmed_at_s = time.monotonic()
                changed: set[str] = set()
                for event in parser.feed(chunk):
                    if event.name in VERDICT_EVENTS:
                        if self.on_verdict is not None:
                            self.on_verdict(event.name, event.data)
                        continue
                    changed |= self.view.apply(event)
                    if event.name == "sync":
                        self.connected = True
                        if self.last_refusal is not None:
                            _log.warning("the hub is followed again")
                            self.last_refusal = None
                        backoff.reset()
                self._tell(changed)
        raise self._link.ended()

    def _began(self, reply: HubReply, wanted: tuple[str, ...]) -> None:
        self.reconnects += 1
        self.view.begin(incarnation_of(reply.headers))
        self._view_names = wanted
        if ALL not in wanted:
            self.view.forget(frozenset(self.view.services) - set(wanted) - self.names)

    def _disconnected(self, error: HubError | None) -> None:
        if self.connected:
            self._confirmed_at_s = time.monotonic()
        self.connected = False
        if error is not None:
            if self.last_refusal is None or self.last_refusal.code != error.code:
                _log.warning("the hub cannot be followed, trying again: %s", error)
            self.last_refusal = error

    def _tell(self, changed: Iterable[str]) -> None:
        names = set(changed)
        if not names:
            return
        self._dirty = True
        for name in names & self.pools.keys():
            state = self.view.services.get(name)
            if state is not None:
                self.pools[name].update(state, self.view.loads.get(name, _NO_LOADS))
        for waiter, service in list(self._waiters.items()):
            if (service in names or service == ALL) and not waiter.done():
                waiter.set_result(None)

    async def _save(self, *, force: bool = False) -> None:
        """Save what changed, at most once a second; and now and then only that it is still so."""
        if self._store is None or self._confirmed_at_s is None:
            return
        idle = time.monotonic() - self._saved_at_s < CONFIRM_SAVE_S or not self.connected
        if idle and not self._dirty and not force:
            return
        self._saved_at_s, self._dirty = time.monotonic(), False
        age_s = self.age_s or 0.0
        saved = self.view.save(self._view_names, int((time.time() - age_s) * 1000))
        await asyncio.to_thread(self._store.save, saved)
