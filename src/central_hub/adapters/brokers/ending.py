"""Ends what a client library began, whether or not the library lets itself be ended in time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

_left_behind: Final[set[asyncio.Task[Any]]] = set()
"""What did not end in time; held until it does."""


async def ended_within(seconds: float, work: Coroutine[Any, Any, object]) -> bool:  # Any: what is sent and yielded
    """Wait for the end of something, for a time; says whether it ended well.

    What does not end is told to once and left alone: some libraries do not heed it, and nobody may wait for them.
    """
    task = asyncio.get_running_loop().create_task(work)
    _left_behind.add(task)
    task.add_done_callback(_forget)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        return False
    return not task.cancelled() and task.exception() is None


def _forget(task: asyncio.Task[Any]) -> None:  # Any: as above
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # whatever it was, nothing is sent there any more
