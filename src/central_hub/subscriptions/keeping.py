"""Keeps how far subscriptions have come: what moved, now and then, or at once where somebody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from central_hub.kernel.cursors import Cursor, Cursors
from central_hub.kernel.errors import HubError
from central_hub.subscriptions.lines import Line, Place
from central_hub.subscriptions.model import CURSOR_EVERY_S, ID_PREFIX

SLICE: Final = 128
"""Places that are written down before others have their turn."""

_log = structlog.get_logger("central_hub.subscriptions")


class PlaceKeeper:
    """Remembers whose place is to be kept.

    Args:
        cursors: where places are kept.
    """

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors
        self._moved: dict[Line, None] = {}
        self._dropped: dict[str, None] = {}
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()

    async def load(self) -> dict[str, Cursor]:
        """Return the places of subscriptions that are kept, by id.

        Raises:
            HubError: `store_unavailable`.
        """
        return {one.consumer: one for one in await self._cursors.load() if one.consumer.startswith(ID_PREFIX)}

    def moved(self, line: Line) -> None:
        """Have a place kept."""
        self._moved[line] = None
        self._something.set()

    def forget(self, line: Line) -> None:
        """Have a place kept no more by this hub, and what is kept of it left alone."""
        self._moved.pop(line, None)

    def drop(self, subscription_id: str) -> None:
        """Have the place of a subscription that is gone forgotten."""
        self._dropped[subscription_id] = None
        self._something.set()

    async def run(self) -> None:
        """Keep what moves until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            try:
                await self.keep()
            except HubError as error:
                _log.warning("subscriptions.places_not_kept", code=error.code)
            await asyncio.sleep(CURSOR_EVERY_S)

    async def keep(self, others: Iterable[Line] = ()) -> None:
        """Return once every place that has moved until now is kept.

        Those who ask at one time share one write, and those who ask meanwhile share the next.

        Args:
            others: further lines to look at.

        Raises:
            HubError: `store_unavailable`; what moved is kept next time.
        """
        async with self._writing:
            await self._keep(others)

    async def _keep(self, others: Iterable[Line]) -> None:
        self._moved.update(dict.fromkeys(others))
        moved, self._moved = self._moved, {}
        dropped, self._dropped = self._dropped, {}
        before: dict[Line, Place | None] = {}
        cursors: list[Cursor] = []
        try:
            for at, line in enumerate(moved, 1):
                if not at % SLICE:
                    await asyncio.sleep(0)
                saved, cursor = line.saved, line.cursor()
                if cursor is not None and line.subscription.id not in dropped:
                    before[line] = saved
                    cursors.append(cursor)
            if cursors or dropped:
                await self._cursors.save(cursors, dropped=tuple(dropped))
        except BaseException:
            for line, saved in before.items():
                line.saved = saved
            self._moved.update(moved)
            self._dropped.update(dropped)
            self._something.set()
            raise
