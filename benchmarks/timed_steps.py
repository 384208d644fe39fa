"""A hub that notes how long each step of its event loop takes; `benchmarks/steps.py` runs it.

A step is one callback, which for a task is the stretch between two awaits that wait. What counts
is the processor time of the thread, so that being set aside by the machine is not taken for
work. Runs on asyncio's own loop, whose handles can be timed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio import events
from time import thread_time
from typing import Any, Final

from central_hub.cli.main import main
from central_hub.edge import server

NOTED_FROM_MS: Final = 0.5
REPORT: Final = "STEPS_REPORT"


def where(callback: Any) -> str:  # Any: whatever a loop can call
    """Say what a callback is about to go on with: a task's innermost functions, or its own name."""
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return getattr(callback, "__qualname__", type(callback).__name__)
    names: list[str] = []
    current: Any = task.get_coro()
    while current is not None and hasattr(current, "cr_code"):
        names.append(current.cr_code.co_qualname)
        current = current.cr_await
    return " > ".join(names[-3:])


def time_steps(path: str) -> None:
    """Have every step that takes `NOTED_FROM_MS` or more written to a file, as it ends."""
    report = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  # as long as the process
    run = events.Handle._run

    def timed(handle: events.Handle) -> None:
        callback = handle._callback  # type: ignore[attr-defined]
        name = where(callback)
        begun = thread_time()
        run(handle)
        took_ms = (thread_time() - begun) * 1_000
        if took_ms >= NOTED_FROM_MS:
            report.write(f"{took_ms:.3f} {name}\n")

    events.Handle._run = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    time_steps(os.environ[REPORT])
    server.loop_factory = lambda: None  # asyncio's own
    sys.argv[0] = "central-hub"
    main()
