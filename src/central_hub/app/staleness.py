"""How old what readers get may be, while the store is away: told with every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from central_hub.edge.lane.entries import Epochs

TELL_EVERY_S: Final = 0.2


class Staleness:
    """Lets the lane write its callers' lines anew while they say how stale they are.

    Args:
        stale_ms: how long ago the store last confirmed where its log ends, 0 while it answers.
        epochs: what the lane's memory hangs on.
    """

    def __init__(self, stale_ms: Callable[[], int], epochs: Epochs) -> None:
        self._stale_ms = stale_ms
        self._epochs = epochs
        self._was = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(TELL_EVERY_S)

    def look(self) -> None:
        """Move the lane on when what it says has changed."""
        now = self._stale_ms()
        if now != self._was:
            self._was = now
            self._epochs.moved += 1
