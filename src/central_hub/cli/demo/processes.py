"""The demo's processes: started, killed, started again, and never left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LOG_TAIL_LINES: Final = 12
STOP_GRACE_S: Final = 6.0
"""Time a process has between SIGTERM and SIGKILL."""
PR_SET_PDEATHSIG: Final = 1  # Linux, prctl(2)
POLL_S: Final = 0.02


@dataclass(slots=True)
class Child:
    """One process of the demo: how to start it, and whether it runs.

    `environment` is all it gets. Its output goes to a file, so that a screen full of live figures stays one.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, 0 when it was never started."""
        return self.process.pid if self.process else 0

    def start(self) -> None:
        """Start it in a session of its own: a Ctrl-C in the terminal is for the demo alone."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # our own interpreter and arguments
                [sys.executable, *self.arguments],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it where it stands (SIGKILL) and reap it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def tail(self) -> str:
        """Return the last lines it wrote."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def stop_all(children: Iterable[Child], *, grace_s: float = STOP_GRACE_S) -> list[str]:
    """Ask all of them to end, then kill those that do not.

    Returns:
        Names of those that had to be killed.
    """
    running = [child for child in children if child.running]
    for child in running:
        child.terminate()
    until = time.monotonic() + grace_s
    while time.monotonic() < until and any(child.running for child in running):
        time.sleep(POLL_S)
    late = [child for child in running if child.running]
    for child in late:
        child.kill()
    for child in running:
        if child.process is not None:
            child.process.wait()
    return [child.name for child in late]


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone (Linux only)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # it went before we asked
        sys.exit(1)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody listens on now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
