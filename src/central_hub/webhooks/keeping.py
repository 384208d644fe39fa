"""Keeps how far endpoints have come: what moved, now and then, all in one step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from central_hub.kernel.cursors import Cursor, Cursors
from central_hub.kernel.ids import DomainId
from central_hub.webhooks.lines import Line, Saved
from central_hub.webhooks.model import WEBHOOK_ID_PREFIX


class CursorKeeper:
    """Remembers whose cursor is to be kept.

    Args:
        cursors: where they are kept.
        position: where a tenant's log ends.
    """

    def __init__(self, cursors: Cursors, position: Callable[[DomainId], int]) -> None:
        self._cursors = cursors
        self._position = position
        self._moved: dict[Line, None] = {}
        self._dropped: dict[str, None] = {}
        self._something = asyncio.Event()

    async def load(self) -> dict[str, Cursor]:
        """Return the cursors that are kept, by webhook.

        Raises:
            HubError: `store_unavailable`.
        """
        return {
            cursor.consumer: cursor
            for cursor in await self._cursors.load()
            if cursor.consumer.startswith(WEBHOOK_ID_PREFIX)  # others have theirs in the same place
        }

    def moved(self, line: Line) -> None:
        """Have a line's cursor kept."""
        self._moved[line] = None
        self._something.set()

    def forget(self, line: Line) -> None:
        """Keep nothing of a line that is another hub's now."""
        self._moved.pop(line, None)

    def drop(self, webhook_id: str) -> None:
        """Have the cursor of an endpoint that is gone forgotten."""
        self._dropped[webhook_id] = None
        self._something.set()

    async def wait(self, seconds: float) -> None:
        """Return when there is something to keep, or after a time."""
        try:
            async with asyncio.timeout(seconds):
                await self._something.wait()
        except TimeoutError:
            pass  # nothing moved

    async def keep(self, others: Iterable[Line] = ()) -> None:
        """Keep every cursor that moved.

        Args:
            others: further lines to look at: one that nothing is for moves with its tenant's log.

        Raises:
            HubError: `store_unavailable`; what moved is kept next time.
        """
        self._moved.update(dict.fromkeys(others))
        moved, self._moved = self._moved, {}
        dropped, self._dropped = self._dropped, {}
        self._something.clear()
        before: dict[Line, Saved] = {}
        cursors: list[Cursor] = []
        for line in moved:
            saved, cursor = line.saved, line.cursor(self._position(line.domain))
            if cursor is not None and line.webhook.id not in dropped:
                before[line] = saved
                cursors.append(cursor)
        if not cursors and not dropped:
            return
        try:
            await self._cursors.save(cursors, dropped=tuple(dropped))
        except BaseException:
            for line, saved in before.items():
                line.saved = saved
            self._moved.update(dict.fromkeys(before))
            self._dropped.update(dropped)
            self._something.set()
            raise
