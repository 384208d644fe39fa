"""Garbage collection that does not hold the event loop.

Nearly everything a hub holds lives until a fact removes it, and goes by reference count. A full
collection would walk all of it to find nothing: a tenth of a second at 100,000 instances. So what
has survived the young generations is set aside, and only what is young is walked. Cycles that
outlive their youth (a long-lived connection's, say) are found by a rare full collection.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

YOUNG_OBJECTS: Final = 2_000
"""Allocations between two walks over the youngest generation: less than a millisecond each."""
YOUNG_WALKS: Final = 2
"""Walks over the youngest generation for each walk over the next."""
NEVER: Final = 1_000_000_000
SET_ASIDE_EVERY_S: Final = 0.1
FULL_EVERY_S: Final = 6 * 3_600.0
"""Longest time between two full collections."""
FULL_APART_S: Final = 600.0
"""Shortest time between two, when what was set aside grows."""
GROWN_BY: Final = 1.5
GROWN_OBJECTS: Final = 100_000


class Collecting:
    """Looks after the collector of this process; the collector's own settings come back at the end."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._full_at_s = 0.0
        self._full_count = 0

    def begin(self) -> None:
        """Set aside what the start built."""
        gc.collect()
        gc.freeze()
        self._full_count = gc.get_freeze_count()
        gc.set_threshold(YOUNG_OBJECTS, YOUNG_WALKS, NEVER)

    async def run(self) -> None:
        """Set aside what has lived, until cancelled."""
        loop = asyncio.get_running_loop()
        self._full_at_s = loop.time()
        try:
            while True:
                await asyncio.sleep(SET_ASIDE_EVERY_S)
                self.set_aside(loop.time())
        finally:
            gc.unfreeze()
            gc.set_threshold(*self._before)

    def set_aside(self, now_s: float) -> None:
        """Walk over what is young and set the rest aside; over everything when that is due."""
        if self._is_due(now_s):
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._full_at_s, self._full_count = now_s, gc.get_freeze_count()
        else:
            gc.collect(1)
            gc.freeze()

    def _is_due(self, now_s: float) -> bool:
        since_s = now_s - self._full_at_s
        if since_s < FULL_APART_S:
            return False
        return since_s >= FULL_EVERY_S or gc.get_freeze_count() > GROWN_BY * self._full_count + GROWN_OBJECTS
