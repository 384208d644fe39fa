"""The watch: one stream that carries the state of many services to each of many watchers.

State, not history: a group of watchers that see alike (same tenant, rank and epoch) has a set of
names that changed; when its turn comes they are rendered once from the view as it is then, under
the position it has then. The first change is sent at once, later ones merge for at most 10 ms,
and work is done in slices, so that five thousand watchers do not hold the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from central_hub.edge.streams import Frame, Sink
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId
from central_hub.kernel.seq import HubSeq, StreamId, parse_stream_id
from central_hub.registry.model import ServiceKey
from central_hub.registry.ports import Access, Positions
from central_hub.registry.resuming import changed_since, is_usable, resumed
from central_hub.registry.view import Change, RegistryView
from central_hub.registry.visibility import viewer_of, visible, visible_services
from central_hub.registry.watch_differences import Differences
from central_hub.registry.watch_groups import Dirty, Group, Watcher
from central_hub.registry.watch_wire import WatchWire, frame_of

WATCHERS_PER_TENANT_MAX: Final = 10_000
SERVICES_PER_WATCH_MAX: Final = 256
MERGE_MS: Final = 10.0
SLICE_MS: Final = 1.5
SWEEP_S: Final = 0.5
LOAD_EVERY_SWEEPS: Final = 2
CATCH_UP_BUFFER_MAX: Final = 131_072
"""Unsent bytes at which a long snapshot waits for its client."""

CATCH_UP_RETRY_S: Final = 0.01
ALL: Final = "*"


class WatchHub:
    """Holds every open watch and tells it what changed.

    Args:
        view: what is registered.
        wire: renders events.
        access: whether a watcher still may.
        positions: where the view stands.
        clock: monotonic time, for merging and slicing.
        watchers_max: streams per tenant.
    """

    def __init__(
        self,
        view: RegistryView,
        wire: WatchWire,
        access: Access,
        positions: Positions,
        clock: Clock,
        *,
        watchers_max: int = WATCHERS_PER_TENANT_MAX,
    ) -> None:
        self._view = view
        self._wire = wire
        self._differences = Differences(view, wire)
        self._access = access
        self._positions = positions
        self._clock = clock
        self._watchers_max = watchers_max
        self._groups: dict[tuple[DomainId, int, bool, int], Group] = {}
        self._by_domain: dict[DomainId, dict[Group, None]] = {}
        self._by_name: dict[str, dict[Group, None]] = {}
        self._star_groups: dict[Group, None] = {}
        self._ready: dict[Group, None] = {}
        self._catching_up: dict[Watcher, None] = {}
        self._loads_changed: set[ServiceKey] = set()
        self._work: Iterator[None] | None = None
        self._scheduled: asyncio.TimerHandle | asyncio.Handle | None = None
        self._next_round_ms = 0.0
        self._access_generation = 0
        self._sweeps = 0
        self.told = 0
        self.slowest_slice_ms = 0.0

    def open(
        self, ctx: TenantContext, names: frozenset[str] | None, sink: Sink, *, load: bool = False, last_id: str = ""
    ) -> Watcher:
        """Begin a watch: a snapshot, or what changed since `last_id`, then `sync`, then changes.

        Args:
            ctx: the caller.
            names: services to watch, None for everything visible.
            sink: where the events go.
            load: whether to send load events.
            last_id: id of the last event the client got, empty for none.
        """
        watcher = Watcher(ctx, names, sink, load=load)
        if not self._still_may(watcher):
            return watcher
        group = self._join(watcher)
        since = self._usable(group, last_id)
        if since is None:
            self._begin(watcher, group)
        else:
            self._resume(watcher, group, since)
        return watcher

    def admit(self, ctx: TenantContext) -> None:
        """Refuse a watch past the limit of its tenant; called before the stream is opened.

        Raises:
            HubError: `too_many_watchers` (429).
        """
        if self.watchers_of(viewer_of(ctx).domain) >= self._watchers_max:
            raise HubError(
                "too_many_watchers",
                Kind.LIMIT,
                f"{self._watchers_max} watches of this tenant are open, which is the limit.",
                next_step="Close one; a single watch carries many services.",
                retry_after_s=5,
            )

    def close(self, watcher: Watcher) -> None:
        """Forget a watch whose stream has ended."""
        self._leave(watcher)
        self._catching_up.pop(watcher, None)

    def close_all(self) -> None:
        """End every stream in good order, because the hub goes away; clients resume elsewhere or later."""
        for group in list(self._groups.values()):
            for watcher in list(group.watchers):
                self.close(watcher)
                watcher.sink.close()

    def watchers_of(self, domain: DomainId) -> int:
        """Return how many watches a tenant has open."""
        return sum(len(group.watchers) for group in self._by_domain.get(domain, ()))

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return sum(len(group.watchers) for group in self._groups.values())

    def changed(self, changes: Mapping[ServiceKey, Change]) -> None:
        """Take note of what a batch of facts changed; watchers of it are told soon, others never wake."""
        for (domain, name), change in changes.items():
            for group in self._interested(domain, name):
                self._mark(group, domain, name, change, changes)
        if self._ready:
            self._schedule()

    def verdict_changed(self, domain: DomainId, name: str, instance_id: str) -> None:
        """Take note that this hub's verdict about an instance moved without a fact (the store is away)."""
        service = self._view.service(domain, name)
        if service is not None:
            self._wire.forget_rendered()
            self.changed({(domain, name): Change(service.rank, {instance_id})})

    def load_changed(self, domain: DomainId, name: str) -> None:
        """Take note that an instance of a service reported other load."""
        if name in self._by_name or self._star_groups:
            self._loads_changed.add((domain, name))

    def access_changed(self, domain: DomainId | None = None) -> None:
        """Look at once whether watchers still may: after a key, tier or tenant changed.

        Args:
            domain: whose watchers are concerned; None, `platform` and `shared` concern everyone's.
        """
        self._access_generation += 1
        groups = list(self._groups.values())
        if domain is not None and domain not in (PLATFORM, SHARED):
            groups = list(self._by_domain.get(domain, ()))
        for group in groups:
            for watcher in list(group.watchers):
                self._still_may(watcher)

    def acknowledged(self, domain: DomainId, name: str, seq: int) -> tuple[int, int]:
        """Return how many watchers of a service have been sent position `seq` of its domain, and how many there are."""
        seen = total = 0
        for group in self._interested(domain, name):
            for watcher in group.interested(name):
                total += 1
                seen += watcher.position.get(domain, 0) >= seq and watcher.sink.buffered == 0
        return seen, total

    async def run(self) -> None:
        """Sweep expired access and send load events until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Close what may no longer be, in slices; every second time send load events."""
        begun = self._clock.monotonic_ms()
        for group in list(self._groups.values()):
            for watcher in list(group.watchers):
                self._still_may(watcher)
                if self._clock.monotonic_ms() - begun >= SLICE_MS:
                    await asyncio.sleep(0)
                    begun = self._clock.monotonic_ms()
        self._sweeps += 1
        if self._sweeps % LOAD_EVERY_SWEEPS == 0:
            await self._send_loads()

    def _interested(self, domain: DomainId, name: str) -> list[Group]:
        if domain != SHARED:
            return [group for group in self._by_domain.get(domain, ()) if group.stars or name in group.by_name]
        return list({**self._by_name.get(name, {}), **self._star_groups})

    def _mark(
        self, group: Group, domain: DomainId, name: str, change: Change, changes: Mapping[ServiceKey, Change]
    ) -> None:
        dirty = group.dirty.get(name)
        if dirty is None:
            dirty = group.dirty[name] = Dirty({self._differences.seen_before(group.viewer, name, changes)})
        known = dirty.instance_ids.get(domain)
        dirty.instance_ids[domain] = change.instance_ids if known is None else known | change.instance_ids
        self._ready[group] = None

    def _schedule(self) -> None:
        if self._scheduled is not None or self._work is not None:
            return
        loop = asyncio.get_running_loop()
        wait_ms = self._next_round_ms - self._clock.monotonic_ms()
        if wait_ms <= 0:
            self._scheduled = loop.call_soon(self._run_slice)
        else:
            self._scheduled = loop.call_later(wait_ms / 1000, self._run_slice)

    def _run_slice(self) -> None:
        self._scheduled = None
        begun = self._clock.monotonic_ms()
        if self._work is None:
            self._work = self._round()
            self._next_round_ms = begun + MERGE_MS
        for _ in self._work:
            if self._clock.monotonic_ms() - begun >= SLICE_MS:
                self._scheduled = asyncio.get_running_loop().call_soon(self._run_slice)
                break
        else:
            self._work = None
            if self._ready:
                self._schedule()
        self.slowest_slice_ms = max(self.slowest_slice_ms, self._clock.monotonic_ms() - begun)

    def _round(self) -> Iterator[None]:
        """Tell every group that was ready when the round began; yields after each write."""
        for group in list(self._ready):
            self._ready.pop(group, None)
            if not group.watchers:
                group.dirty.clear()
                continue
            at = self._at(group)
            position = self._position(group, at)
            for watcher, frame in self._render(group, position):
                if self._write(watcher, group, frame):
                    watcher.position = at
                yield

    def _render(self, group: Group, position: str) -> list[tuple[Watcher, Frame]]:
        """Render a group's changes once and pair every watcher concerned with what it gets."""
        dirty, group.dirty = group.dirty, {}
        events: dict[str, tuple[tuple[str, bytes], ...]] = {}
        names_of: dict[Watcher, list[str]] = {}
        for name, what in dirty.items():
            rendered = self._differences.events(group.viewer, name, what)
            if rendered:
                events[name] = tuple(("delta", data) for data in rendered)
                for watcher in group.interested(name):
                    names_of.setdefault(watcher, []).append(name)
        frames: dict[tuple[tuple[str, ...], bool, bool], Frame] = {}
        told: list[tuple[Watcher, Frame]] = []
        for watcher in [one for one in group.watchers if one in names_of or one.waits_for_sync]:
            names = tuple(names_of.get(watcher, ()))
            key = (names, bool(watcher.catching_up), watcher.waits_for_sync)
            frame = frames.get(key)
            if frame is None:
                parts = [event for name in names for event in events[name]]
                if watcher.waits_for_sync:
                    parts.append(("sync", b"{}"))
                frame = frames[key] = frame_of(parts, "" if watcher.catching_up else position)
            watcher.waits_for_sync = False
            told.append((watcher, frame))
        return told

    def _seen_now(self, group: Group, names: Iterable[str]) -> None:
        """Take note that a watcher was shown these names as they are, before their changes went to the group."""
        for name in names:
            dirty = group.dirty.get(name)
            if dirty is not None:
                found = visible(self._view, group.viewer, name)
                dirty.before.add(None if found is None else found[0])

    def _write(self, watcher: Watcher, group: Group, frame: Frame) -> bool:
        if watcher.group is not group:
            return False
        if watcher.checked != self._access_generation and not self._still_may(watcher):
            return False
        if watcher.group is not group:
            return False
        if watcher.sink.write(frame):
            self.told += 1
            return True
        self.close(watcher)
        return False

    def _still_may(self, watcher: Watcher) -> bool:
        """Check a watcher's access; close it, or let it begin anew when it sees differently now."""
        try:
            ctx = self._access.current(watcher.ctx)
        except HubError:
            self.close(watcher)
            watcher.sink.cut()
            return False
        watcher.checked = self._access_generation
        if ctx is not watcher.ctx:
            seen, sees = (viewer_of(watcher.ctx), watcher.ctx.epoch), (viewer_of(ctx), ctx.epoch)
            watcher.ctx = ctx
            if seen != sees and watcher.group is not None:
                self._leave(watcher)
                self._begin(watcher, self._join(watcher))
        return True

    def _join(self, watcher: Watcher) -> Group:
        viewer = viewer_of(watcher.ctx)
        key = (viewer.domain, viewer.rank, viewer.legacy, watcher.ctx.epoch)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(viewer, watcher.ctx.epoch)
            self._by_domain.setdefault(viewer.domain, {})[group] = None
        self._seen_now(group, tuple(group.dirty))
        group.add(watcher)
        watcher.group = group
        if watcher.names is None:
            self._star_groups[group] = None
        for name in watcher.names or ():
            self._by_name.setdefault(name, {})[group] = None
        return group

    def _leave(self, watcher: Watcher) -> None:
        group = watcher.group
        if group is None:
            return
        watcher.group = None
        watcher.catching_up = None
        watcher.waits_for_sync = False
        group.remove(watcher)
        if not group.stars:
            self._star_groups.pop(group, None)
        for name in watcher.names or ():
            groups = self._by_name.get(name)
            if groups is not None and name not in group.by_name:
                groups.pop(group, None)
                if not groups:
                    del self._by_name[name]
        if not group.watchers:
            viewer = group.viewer
            self._groups.pop((viewer.domain, viewer.rank, viewer.legacy, group.epoch), None)
            self._ready.pop(group, None)
            peers = self._by_domain.get(viewer.domain, {})
            peers.pop(group, None)
            if not peers:
                self._by_domain.pop(viewer.domain, None)

    def _begin(self, watcher: Watcher, group: Group) -> None:
        """Send a snapshot: at once if it is small, otherwise its beginning now and the rest as the client takes it."""
        names = watcher.names
        if names is None:
            names = [service.name for _, service in visible_services(self._view, group.viewer)]
        self._send_in_parts(watcher, group, "snapshot", deque(sorted(names)))

    def _resume(self, watcher: Watcher, group: Group, since: HubSeq) -> None:
        names = changed_since(self._view, group.viewer, watcher.names, since)
        events: list[tuple[str, bytes]] = []
        for name in names:
            events.extend(("delta", data) for data in resumed(self._view, self._wire, group.viewer, name, since))
        self._finish(watcher, group, events)

    def _send_in_parts(self, watcher: Watcher, group: Group, event: str, names: deque[str]) -> None:
        begun = self._clock.monotonic_ms()
        first: list[str] = []
        rendered: list[bytes] = []
        while names and self._clock.monotonic_ms() - begun < SLICE_MS:
            first.append(names.popleft())
            rendered.append(self._wire.snapshot(group.viewer, first[-1:])[len(b'{"services":{') : -2])
        data = b'{"services":{' + b",".join(rendered) + b"}}"
        if not names:
            self._finish(watcher, group, [(event, data)])
            return
        watcher.catching_up = names
        self._deliver(watcher, group, frame_of([(event, data)], ""), None)
        self._catching_up[watcher] = None
        asyncio.get_running_loop().call_soon(self._catch_up, watcher)

    def _catch_up(self, watcher: Watcher) -> None:
        group = watcher.group
        if group is None or watcher not in self._catching_up:
            return
        loop = asyncio.get_running_loop()
        if watcher.sink.buffered > CATCH_UP_BUFFER_MAX:
            loop.call_later(CATCH_UP_RETRY_S, self._catch_up, watcher)
            return
        begun = self._clock.monotonic_ms()
        events: list[tuple[str, bytes]] = []
        names = watcher.catching_up or deque()
        size = 0
        while names and size < CATCH_UP_BUFFER_MAX and self._clock.monotonic_ms() - begun < SLICE_MS:
            name = names.popleft()
            self._seen_now(group, (name,))
            if visible(self._view, group.viewer, name) is not None:
                events.append(("delta", self._wire.full(group.viewer, name)))
                size += len(events[-1][1])
        if names:
            if events:
                self._deliver(watcher, group, frame_of(events, ""), None)
            loop.call_soon(self._catch_up, watcher)
            return
        watcher.catching_up = None
        self._catching_up.pop(watcher, None)
        if group.dirty:
            # Its group is about to be told of more: the position it may resume from comes after that.
            if events:
                self._deliver(watcher, group, frame_of(events, ""), None)
            watcher.waits_for_sync = True
            return
        self._finish(watcher, group, events)

    def _finish(self, watcher: Watcher, group: Group, events: list[tuple[str, bytes]]) -> None:
        at = self._at(group)
        position = self._position(group, at)
        frames = [frame_of(events, position).data] if events else []
        frames.append(frame_of([("sync", b"{}")], position).data)
        self._deliver(watcher, group, Frame(b"".join(frames)), at)

    def _deliver(self, watcher: Watcher, group: Group, frame: Frame, at: dict[DomainId, int] | None) -> None:
        if self._write(watcher, group, frame) and at is not None:
            watcher.position = at

    def _at(self, group: Group) -> dict[DomainId, int]:
        at = {SHARED: self._positions.position(SHARED)}
        if group.viewer.domain != SHARED:
            at[group.viewer.domain] = self._positions.position(group.viewer.domain)
        return at

    def _position(self, group: Group, at: Mapping[DomainId, int]) -> str:
        own = 0 if group.viewer.domain == SHARED else at[group.viewer.domain]
        return StreamId(HubSeq(self._positions.incarnation, own, at[SHARED]), group.epoch).format()

    def _usable(self, group: Group, last_id: str) -> HubSeq | None:
        """Return the position to resume from; None when the client has to start from a snapshot."""
        if not last_id:
            return None
        try:
            since = parse_stream_id(last_id)
        except HubError:
            return None
        if since.epoch != group.epoch or since.seq.incarnation != self._positions.incarnation:
            return None
        return since.seq if is_usable(self._view, group.viewer, since.seq, self._positions) else None

    async def _send_loads(self) -> None:
        changed, self._loads_changed = self._loads_changed, set()
        now = begun = self._clock.monotonic_ms()
        for domain, name in changed:
            service = self._view.service(domain, name)
            data = None if service is None else self._wire.loads(domain, service, now)
            if data is None:
                continue
            frame = frame_of([("load", data)], "")
            for watcher in self._load_watchers(domain, name):
                if watcher.group is not None:
                    self._write(watcher, watcher.group, frame)
                if self._clock.monotonic_ms() - begun >= SLICE_MS:
                    await asyncio.sleep(0)
                    begun = self._clock.monotonic_ms()

    def _load_watchers(self, domain: DomainId, name: str) -> Iterable[Watcher]:
        found: list[Watcher] = []
        for group in self._interested(domain, name):
            seen = visible(self._view, group.viewer, name)
            if seen is not None and seen[0] == domain:
                found.extend(watcher for watcher in group.interested(name) if watcher.load)
        return found
