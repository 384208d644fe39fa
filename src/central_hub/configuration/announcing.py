"""Who is told when an effective value changes: streams and blocking reads of those for whom it did, nobody else.

A group is everyone who asked for the value of one tenant, service and environment. After a change its value is
looked at again; only if it is another one is the group told, with the same bytes for all. While a rollout reaches some
instances before others, each member is held against what it was told. Work is done in slices, so that a change that
touches every tenant does not hold the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from central_hub.configuration.ending import Endings
from central_hub.configuration.in_force import InForce
from central_hub.configuration.merging import encoded
from central_hub.configuration.model import CONFIG_READ, FACTS
from central_hub.configuration.ports import Access, Followers
from central_hub.configuration.resolving import Resolved
from central_hub.configuration.rules import check_environment
from central_hub.edge.streams import Frame, Sink, event_frame
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId, is_name
from central_hub.kernel.records import Applied

VARIANTS_PER_WATCH_MAX: Final = 16
WAITERS_PER_TENANT_MAX: Final = 1_000
SLICE_MS: Final = 1.5
LOOK_S: Final = 60.0
"""Seconds within which it is noticed that the wall clock was set."""
EVENT: Final = "config"

Variant = tuple[str, str]
"""A service and an environment, empty for none in particular."""


class _Watcher:
    """One stream's interest in one value: of which instance, if it said so, and what it was told."""

    __slots__ = ("ctx", "instance", "sink", "told")

    def __init__(self, ctx: TenantContext, sink: Sink, instance: str, told: Resolved) -> None:
        self.ctx = ctx
        self.sink = sink
        self.instance = instance
        self.told = told


class _Group:
    """Everyone who is to hear of one value, and the value they were told; `split` where not all were told the same."""

    __slots__ = ("claimed", "domain", "reach", "split", "told", "variant", "waiters", "watchers")

    def __init__(self, domain: DomainId, variant: Variant, claimed: str, told: Resolved, reach: int) -> None:
        self.domain = domain
        self.claimed = claimed
        self.variant = variant
        self.told = told
        self.reach = reach
        self.split = False
        self.watchers: dict[_Watcher, None] = {}
        self.waiters: set[asyncio.Future[None]] = set()


class Announcements:
    """Tells watchers and waiters; a listener of the runner.

    Args:
        in_force: the values.
        access: whether who listens still may.
        clock: monotonic time, for slices.
        facts: further types of facts that may change values: of tenants, of plans, of rollouts.
        followers: told of streams that say for which instance they are.
        fresh_until_ms: the wall time up to which a tenant is granted the same: no fact tells of the end of a grant.
    """

    def __init__(
        self,
        in_force: InForce,
        access: Access,
        clock: Clock,
        facts: Sequence[str] = (),
        followers: Followers | None = None,
        fresh_until_ms: Callable[[DomainId], float] = lambda domain: math.inf,
    ) -> None:
        self._in_force = in_force
        self._followers = followers
        self._endings = Endings(fresh_until_ms)
        self._sooner = asyncio.Event()
        self._access = access
        self._clock = clock
        self._facts = {fact.__name__ for fact in FACTS} | set(facts)
        self._groups: dict[DomainId, dict[tuple[str, str, str], _Group]] = {}
        self._waiting: dict[DomainId, int] = {}
        self._dirty: dict[DomainId, None] = {}
        self._work: Iterator[None] | None = None
        self._scheduled = False
        self._frames: dict[tuple[Resolved, Variant], Frame] = {}
        self._different: dict[tuple[Resolved, Resolved], bool] = {}
        self.looked = 0
        self.changed = 0
        self.told = 0

    def admit(self, ctx: TenantContext, wanted: str, instance: str = "") -> Callable[[Sink], Callable[[], None]]:
        """Return what begins to send values on a stream, of one instance if it is named; see the registry's port.

        Raises:
            HubError: `scope_missing`, `environment_denied` (403), `tenant_required`, `invalid_query` (400).
        """
        ctx.require(CONFIG_READ)
        if ctx.tenant_id is None:
            raise HubError(
                "tenant_required",
                Kind.INVALID,
                "Configuration is a tenant's, and none is named.",
                next_step="Send x-tenant-id, or use a tenant's key.",
            )
        variants = watched_variants(ctx, wanted)
        for service, environment in variants:
            check_environment(ctx.principal, environment)
            self._in_force.of(ctx.domain, service, environment, claimed=ctx.tier)
        return lambda sink: self.open(ctx, variants, sink, instance)

    def open(
        self, ctx: TenantContext, variants: Sequence[Variant], sink: Sink, instance: str = ""
    ) -> Callable[[], None]:
        """Send the values as they are and then every change, until what is returned is called.

        Raises:
            HubError: `tenant_not_found`, `unknown_tier`.
        """
        opened: list[tuple[_Group, _Watcher]] = []
        for variant in dict.fromkeys(variants):
            group = self._group(ctx, variant)
            watcher = _Watcher(ctx, sink, instance, group.told)
            watcher.told = self._value_for(group, watcher)
            group.split = group.split or watcher.told is not group.told
            group.watchers[watcher] = None
            opened.append((group, watcher))
            sink.write(self._frame(watcher.told, variant))
            if instance and self._followers is not None:
                self._followers.opened(ctx, *variant, instance)
        self._frames.clear()

        def close() -> None:
            for group, watcher in opened:
                if group.watchers.pop(watcher, group) is None and instance and self._followers is not None:
                    self._followers.closed(group.domain, *group.variant, instance)
                self._forget(group)

        return close

    async def wait(
        self, ctx: TenantContext, variant: Variant, etag: str, seconds: float, *, instance: str = ""
    ) -> TenantContext:
        """Wait until a value is another one than that of an entity tag, or the time is up.

        Returns:
            The caller's context as it is now.

        Raises:
            HubError: `too_many_waiters` (429), and whatever has become of the caller's access.
        """
        domain = ctx.domain
        until_ms = self._clock.monotonic_ms() + seconds * 1000
        while self._in_force.of(domain, *variant, claimed=ctx.tier, instance=instance).etag == etag:
            left_s = (until_ms - self._clock.monotonic_ms()) / 1000
            if left_s <= 0 or not await self._wait_once(ctx, variant, left_s):
                break
            ctx = self._access.current(ctx)
        return self._access.current(ctx)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Take note of an applied batch; this is what the runner calls."""
        for applied in batch:
            if applied.type in self._facts:
                self._mark(applied.domain)

    async def run(self) -> None:
        """Look at the values of those whose grants end, when they do, until cancelled."""
        while True:
            self._sooner.clear()
            wait_s = min(LOOK_S, (self._endings.next_ms - self._clock.now_ms()) / 1000)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait_s)):
                    await self._sooner.wait()
            for domain in self._endings.due(self._clock.now_ms()):
                self._mark(domain)

    @property
    def watchers(self) -> int:
        """How many values are watched, one for each stream that does."""
        return sum(len(group.watchers) for groups in self._groups.values() for group in groups.values())

    def _mark(self, domain: DomainId) -> None:
        if domain == PLATFORM:
            self._dirty.update(dict.fromkeys(self._groups))
        elif domain in self._groups:
            self._dirty[domain] = None
        if self._dirty and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        begun = self._clock.monotonic_ms()
        self._work = self._work or self._round()
        for _ in self._work:
            if self._clock.monotonic_ms() - begun >= SLICE_MS:
                asyncio.get_running_loop().call_soon(self._slice)
                return
        self._work = None
        self._scheduled = False
        self._frames.clear()
        self._different.clear()
        if self._dirty:
            self._mark(next(iter(self._dirty)))

    def _round(self) -> Iterator[None]:
        while self._dirty:
            domain = next(iter(self._dirty))
            del self._dirty[domain]
            self._look_ahead(domain)
            for group in list(self._groups.get(domain, {}).values()):
                self.looked += 1
                if self._moved(group):
                    self.changed += 1
                    yield from self._tell(group)
                yield

    def _look_ahead(self, domain: DomainId) -> None:
        if domain in self._groups and self._endings.look(domain):
            self._sooner.set()

    def _moved(self, group: _Group) -> bool:
        """Look at a group's value again; says whether it is another one, for some of its members at least."""
        try:
            now = self._in_force.of(group.domain, *group.variant, claimed=group.claimed)
        except HubError:  # the tenant's tier is gone: its watchers are cut by whoever watches access
            return False
        before, group.told = group.told, now
        reached = group.reach != self._in_force.generation
        group.reach = self._in_force.generation
        return now.differs(before) or reached or group.split or self._in_force.splits(group.domain)

    def _value_for(self, group: _Group, watcher: _Watcher) -> Resolved:
        """Return what one member of a group is to be told."""
        if not watcher.instance or not self._in_force.splits(group.domain):
            return group.told
        return self._in_force.of(group.domain, *group.variant, claimed=group.claimed, instance=watcher.instance)

    def _differs(self, now: Resolved, before: Resolved) -> bool:
        if now is before:
            return False
        known = self._different.get((now, before))
        if known is None:
            known = self._different[(now, before)] = now.differs(before)
        return known

    def _tell(self, group: _Group) -> Iterator[None]:
        for future in group.waiters:
            if not future.done():
                future.set_result(None)
        group.waiters.clear()
        group.split = False
        for watcher in list(group.watchers):
            if watcher not in group.watchers:
                continue
            before, watcher.told = watcher.told, self._value_for(group, watcher)
            group.split = group.split or watcher.told is not group.told
            if self._differs(watcher.told, before) and self._still_may(watcher):
                self.told += watcher.sink.write(self._frame(watcher.told, group.variant))
            yield

    def _still_may(self, watcher: _Watcher) -> bool:
        try:
            watcher.ctx = self._access.current(watcher.ctx)
        except HubError:
            watcher.sink.cut()
            return False
        return True

    def _frame(self, value: Resolved, variant: Variant) -> Frame:
        frame = self._frames.get((value, variant))
        if frame is None:
            head = encoded({"environment": variant[1], "etag": value.etag, "service": variant[0]})
            data = b"".join((head[:-1], b',"config":', self._in_force.encoded(value), b"}"))
            frame = self._frames[(value, variant)] = event_frame(EVENT, data)
        return frame

    def _group(self, ctx: TenantContext, variant: Variant) -> _Group:
        domain = ctx.domain
        groups = self._groups.setdefault(domain, {})
        group = groups.get((*variant, ctx.tier))
        if group is None:
            try:
                told = self._in_force.of(domain, *variant, claimed=ctx.tier)
                group = groups[(*variant, ctx.tier)] = _Group(
                    domain, variant, ctx.tier, told, self._in_force.generation
                )
            finally:
                if not groups:
                    del self._groups[domain]
            self._look_ahead(domain)
        elif self._moved(group):
            # Those who are already there hear of it in their turn: the value they were told is behind.
            group.split = True
            self._mark(domain)
        return group

    def _forget(self, group: _Group) -> None:
        if group.watchers or group.waiters:
            return
        groups = self._groups.get(group.domain, {})
        key = (*group.variant, group.claimed)
        if groups.get(key) is group:
            del groups[key]
            if not groups:
                self._groups.pop(group.domain, None)
                self._endings.forget(group.domain)

    async def _wait_once(self, ctx: TenantContext, variant: Variant, seconds: float) -> bool:
        domain = ctx.domain
        waiting = self._waiting.get(domain, 0)
        if waiting >= WAITERS_PER_TENANT_MAX:
            raise HubError(
                "too_many_waiters",
                Kind.LIMIT,
                f"{WAITERS_PER_TENANT_MAX} blocking reads of this tenant are waiting, which is the limit.",
                next_step="Use one GET /watch?config=* instead.",
                retry_after_s=1,
            )
        group = self._group(ctx, variant)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        group.waiters.add(future)
        self._waiting[domain] = waiting + 1
        try:
            async with asyncio.timeout(seconds):
                await future
            return True
        except TimeoutError:
            return False
        finally:
            group.waiters.discard(future)
            self._forget(group)
            left = self._waiting[domain] - 1
            if left:
                self._waiting[domain] = left
            else:
                del self._waiting[domain]


def watched_variants(ctx: TenantContext, wanted: str) -> list[Variant]:
    """Read the `config` of a watch: `*` for no service in particular, `service`, `service@environment`, `@environment`.

    A credential of one environment means that one where none is named.

    Raises:
        HubError: `invalid_query` (400).
    """
    variants: list[Variant] = []
    for part in wanted.split(","):
        service, _, environment = ("" if part == "*" else part).partition("@")
        variants.append((service, environment or ctx.principal.environment))
        if not part or part.endswith("@") or not all(is_name(name) for name in (service, environment) if name):
            raise _unreadable()
    if len(variants) > VARIANTS_PER_WATCH_MAX:
        raise _unreadable()
    return variants


def _unreadable() -> HubError:
    return HubError(
        "invalid_query",
        Kind.INVALID,
        f"config names 1 to {VARIANTS_PER_WATCH_MAX} values, separated by commas.",
        next_step="Write config=* or config=service, config=service@environment, config=@environment.",
    )
