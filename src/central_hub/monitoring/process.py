"""What the hub's own process uses: CPU, memory, disk, open files; and how long a step held the event loop.

Read from the kernel when somebody asks. Where a figure cannot be had it is 0, never an error.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from central_hub.monitoring.metrics import Family, counter, gauge

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
LAG_EVERY_S: Final = 0.01
LAG_WINDOW_S: Final = 60.0


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the process. CPU is the share of one core since the last look."""

    cpu_seconds: float
    cpu_share: float
    memory_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int
    open_files: int
    uptime_s: float
    longest_step_ms: float


class LoopWatch:
    """Measures how late a timer runs, which is how long some step held the event loop.

    Args:
        every_s: how often it looks; steps shorter than this may go unseen.
    """

    def __init__(self, every_s: float = LAG_EVERY_S) -> None:
        self._every_s = every_s
        self._windows = [0.0, 0.0]
        self._turned = monotonic()
        self.longest_s = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            before = monotonic()
            await asyncio.sleep(self._every_s)
            now = monotonic()
            self.note(max(0.0, now - before - self._every_s), now)

    def note(self, lag_s: float, now: float) -> None:
        """Take one measurement."""
        if now - self._turned >= LAG_WINDOW_S:
            self._windows = [0.0, self._windows[0]]
            self._turned = now
        self._windows[0] = max(self._windows[0], lag_s)
        self.longest_s = max(self.longest_s, lag_s)

    @property
    def recent_s(self) -> float:
        """The longest step of the last one to two minutes."""
        return max(self._windows)


class ProcessStats:
    """Looks at this process.

    Args:
        data: a directory on the disk that matters.
        loop: the event loop's watch.
    """

    def __init__(self, data: Path, loop: LoopWatch) -> None:
        self._data = data
        self._loop = loop
        self._started = monotonic()
        self._last = (self._started, _cpu_seconds())

    def figures(self) -> ProcessFigures:
        """Look once."""
        now, cpu = monotonic(), _cpu_seconds()
        then, before = self._last
        if now - then >= 1.0:
            self._last = (now, cpu)
        free, total = _disk(self._data)
        return ProcessFigures(
            cpu_seconds=round(cpu, 3),
            cpu_share=round((cpu - before) / max(now - then, 0.001), 3),
            memory_bytes=_memory_bytes(),
            disk_free_bytes=free,
            disk_total_bytes=total,
            open_files=_open_files(),
            uptime_s=round(now - self._started, 1),
            longest_step_ms=round(self._loop.recent_s * 1_000, 2),
        )

    def collect(self) -> Iterable[Family]:
        """Yield the process's metrics under their customary names."""
        figures = self.figures()
        yield counter("process_cpu_seconds_total", "CPU time used by the process.", figures.cpu_seconds)
        yield gauge("process_resident_memory_bytes", "Memory held by the process.", figures.memory_bytes)
        yield gauge("process_open_fds", "Open file descriptors.", figures.open_files)
        yield gauge("central_hub_uptime_seconds", "Time since the start.", figures.uptime_s)
        yield gauge("central_hub_disk_free_bytes", "Free space beside the store.", figures.disk_free_bytes)
        yield gauge(
            "central_hub_event_loop_longest_step_seconds",
            "Longest step that held the event loop in the last one to two minutes.",
            self._loop.recent_s,
        )


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory_bytes() -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


def _open_files() -> int:
    with suppress(OSError):
        return len(os.listdir("/proc/self/fd"))
    return 0


def _disk(path: Path) -> tuple[int, int]:
    with suppress(OSError):
        usage = shutil.disk_usage(path)
        return usage.free, usage.total
    return 0, 0
