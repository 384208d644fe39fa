"""Waiting a moment for what another hub wrote: it is on its way, and nobody is told of it here before it is applied."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

CAUGHT_UP_S: Final = 1.0
"""Longest wait for what another hub wrote; it takes milliseconds unless the store is away."""
LOOK_S: Final = 0.003


async def come_true(true: Callable[[], bool], within_s: float) -> bool:
    """Wait until something is true, `within_s` at most; say whether it is."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    while not true():
        if loop.time() >= until_s:
            return False
        await asyncio.sleep(LOOK_S)
    return True
