"""Watchers, and the groups of them that see alike and share rendered bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from central_hub.edge.streams import Sink
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.registry.visibility import Viewer


@dataclass(slots=True)
class Dirty:
    """What changed under a name since its group was last told.

    `before` holds every domain (None for nowhere) that the name was seen in by a watcher of the
    group: then, and when one joined in the meantime.
    """

    before: set[DomainId | None]
    instance_ids: dict[DomainId, set[str]] = field(default_factory=dict[DomainId, set[str]])


class Watcher:
    """One open stream. `names` is None for everything visible."""

    __slots__ = ("catching_up", "checked", "ctx", "group", "load", "names", "position", "sink", "waits_for_sync")

    def __init__(self, ctx: TenantContext, names: frozenset[str] | None, sink: Sink, *, load: bool) -> None:
        self.ctx = ctx
        self.names = names
        self.sink = sink
        self.load = load
        self.group: Group | None = None
        self.checked = 0
        self.position: dict[DomainId, int] = {}
        self.catching_up: deque[str] | None = None
        self.waits_for_sync = False


class Group:
    """Watchers that see alike."""

    __slots__ = ("by_name", "dirty", "epoch", "stars", "viewer", "watchers")

    def __init__(self, viewer: Viewer, epoch: int) -> None:
        self.viewer = viewer
        self.epoch = epoch
        self.watchers: dict[Watcher, None] = {}
        self.by_name: dict[str, dict[Watcher, None]] = {}
        self.stars: dict[Watcher, None] = {}
        self.dirty: dict[str, Dirty] = {}

    def interested(self, name: str) -> Iterator[Watcher]:
        """Iterate over those who watch a name."""
        yield from self.by_name.get(name, ())
        yield from self.stars

    def add(self, watcher: Watcher) -> None:
        """Take a watcher in."""
        self.watchers[watcher] = None
        if watcher.names is None:
            self.stars[watcher] = None
        for name in watcher.names or ():
            self.by_name.setdefault(name, {})[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        """Let a watcher go."""
        self.watchers.pop(watcher, None)
        self.stars.pop(watcher, None)
        for name in watcher.names or ():
            watching = self.by_name.get(name, {})
            watching.pop(watcher, None)
            if not watching:
                self.by_name.pop(name, None)
