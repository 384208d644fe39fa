"""Applies what is durable to the views, in order, and tells listeners.

Also the start: snapshot, then tail. A step of replay is sliced, so that a long tail does not
hold the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Log, Sealer, Section, Snapshots, View
from central_hub.kernel.records import Applied, Category, Record, associated_data

REPLAY_SLICE: Final = 64
REPLAY_PAGE: Final = 2_048

Listener = Callable[[Sequence[Applied]], None]


class Runner:
    """Holds the views and their positions.

    Args:
        log: the store to read the tail from.
        sealer: opens what the store returns.
        types: what record types decode to.
        views: folded in this order for every fact.
    """

    def __init__(self, log: Log, sealer: Sealer, types: FactTypes, views: Sequence[View]) -> None:
        self._log = log
        self._sealer = sealer
        self._types = types
        self._views = {view.name: view for view in views}
        self._folds: dict[str, list[View]] = {}
        for view in views:
            for fact in view.facts:
                self._folds.setdefault(fact.__name__, []).append(view)
        self._positions: dict[DomainId, int] = {}
        self._listeners: list[Listener] = []
        self.pos = 0
        self.droppable_pos = 0
        self.incarnation = ""

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every applied batch; it must not block or raise."""
        self._listeners.append(listener)

    def position(self, domain: DomainId) -> int:
        """Return the last applied position of a domain, 0 when it has none."""
        return self._positions.get(domain, 0)

    def positions(self) -> dict[DomainId, int]:
        """Return the last applied position of every domain."""
        return dict(self._positions)

    def apply(self, batch: Sequence[Applied]) -> None:
        """Fold a contiguous batch into the views, then tell the listeners once."""
        for applied in batch:
            self._fold(applied)
        if batch:
            for listener in self._listeners:
                listener(batch)

    async def catch_up(self) -> None:
        """Read and apply everything after the last applied position."""
        while True:
            records = await self._log.read(self.pos, REPLAY_PAGE)
            if not records:
                return
            if records[0].pos != self.pos + 1:
                raise _history_missing(self.pos + 1, records[0].pos)
            for start in range(0, len(records), REPLAY_SLICE):
                part = records[start : start + REPLAY_SLICE]
                self.apply(await self._opened(part))
                for record in part:  # what could be ignored still moves the positions
                    self._positions[record.domain] = max(record.domain_seq, self.position(record.domain))
                self.pos = max(self.pos, part[-1].pos)
                await asyncio.sleep(0)

    async def _opened(self, part: Sequence[Record]) -> list[Applied]:
        """Open records in order; where one does not, its key may be one that another hub made meanwhile."""
        try:
            return [applied for record in part if (applied := self.opened(record)) is not None]
        except HubError as unreadable:
            if unreadable.code != "unreadable_record":
                raise
            await self._sealer.refresh()
        return [applied for record in part if (applied := self.opened(record)) is not None]

    def opened(self, record: Record) -> Applied | None:
        """Open and decode a stored record; None when it can be ignored, or its domain was shredded. Changes nothing."""
        if self._sealer.is_shredded(record.domain):
            return None
        fact = self._types.decode(record.type, self._open(record), record.schema_rev)
        if fact is None:
            return None
        return Applied(
            pos=record.pos,
            domain=record.domain,
            domain_seq=record.domain_seq,
            streams=record.streams,
            category=record.category,
            type=record.type,
            id=record.id,
            time_ms=record.time_ms,
            actor=record.actor,
            fact=fact,
        )

    def revision_of(self, type_name: str) -> int:
        """Return the revision that bodies of a type are written in."""
        return self._types.revision(type_name)

    async def start(self, snapshots: Snapshots) -> None:
        """Rebuild the views: newest usable snapshot, then the tail of the log.

        Raises:
            HubError: `history_missing` when the log no longer reaches back to the snapshot.
        """
        head = await self._log.head()
        self.incarnation = head.incarnation
        kept = await snapshots.load()
        if kept is not None and kept[1] == head.incarnation and kept[0] <= head.pos:
            await self._restore(kept[0], kept[2])
        await self.catch_up()
        if self.pos < head.pos:
            raise _history_missing(self.pos + 1, head.pos + 1)

    async def snapshot(self, snapshots: Snapshots) -> int:
        """Write a snapshot of all views; returns its position.

        `droppable_pos` is then the position behind which facts may be dropped: that of the oldest
        snapshot still kept, so that a start can fall back to it.

        Sections are taken domain by domain while writes go on: each carries its own position,
        and a start applies only what is newer than the section it belongs to.
        """
        pos = self.pos
        sections: list[Section] = []
        for domain in sorted(self._positions):
            # No await between these: all views of a domain are taken at one position.
            position = self._positions[domain]
            shredded = self._sealer.is_shredded(domain)
            copies = [(view, () if shredded else view.dump(domain)) for view in self._views.values()]
            await asyncio.sleep(0)
            for view, dumped in copies:
                chunks: list[bytes] = []
                for chunk in dumped:
                    chunks.append(msgspec.msgpack.encode(chunk))
                    await asyncio.sleep(0)
                sections.append(Section(view=view.name, domain=domain, domain_seq=position, chunks=tuple(chunks)))
        self.droppable_pos = await snapshots.save(pos, self.incarnation, sections)
        return pos

    async def _restore(self, pos: int, sections: Sequence[Section]) -> None:
        for section in sections:
            view = self._views.get(section.view)
            if view is None:
                raise HubError(
                    "unknown_snapshot_section",
                    Kind.INTERNAL,
                    f"The snapshot has a section '{section.view}' that this version does not know.",
                    next_step="Start a hub at least as new as the one that wrote it, or remove the snapshots.",
                )
            view.restore(section.domain, section.chunks)
            self._positions[section.domain] = max(section.domain_seq, self._positions.get(section.domain, 0))
            await asyncio.sleep(0)
        self.pos = pos

    def _fold(self, applied: Applied) -> None:
        if applied.domain_seq <= self._positions.get(applied.domain, 0):
            self.pos = max(self.pos, applied.pos)
            return
        if applied.category is Category.FACT:
            for view in self._folds.get(applied.type, ()):
                view.apply(applied)
        self._positions[applied.domain] = applied.domain_seq
        self.pos = max(self.pos, applied.pos)

    def _open(self, record: Record) -> bytes:
        return self._sealer.open(
            record.domain, record.key_id, record.data, associated_data(record.domain, record.id, record.type)
        )


def _history_missing(first: int, found: int) -> HubError:
    return HubError(
        "history_missing",
        Kind.INTERNAL,
        f"The log starts at position {found}; what was folded ends before position {first}.",
        next_step="Put the snapshots back, or restore the data directory from a backup.",
    )
