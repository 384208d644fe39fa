"""A disk that fails on demand: a sync, a write or a read that errs, or no room left.

`FailingVfs` passes everything on to real files until it is told otherwise. Faults are told by
the end of the file's name, so the write-ahead log and the database can fail apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import apsw


class Call(StrEnum):
    """What SQLite asks of a file."""

    READ = "read"
    WRITE = "write"
    SYNC = "sync"


class Faults:
    """Which calls fail now, and how often one did.

    `set` makes every such call fail until `clear`; `after` first lets a number of them through.
    """

    def __init__(self) -> None:
        self._failing: dict[tuple[Call, str], tuple[type[apsw.Error], int]] = {}
        self.met = 0

    def set(self, call: Call, suffix: str, error: type[apsw.Error] = apsw.IOError, *, after: int = 0) -> None:
        """Let `call` on files whose name ends with `suffix` raise `error`, after so many good ones."""
        self._failing[(call, suffix)] = (error, after)

    def clear(self) -> None:
        """The disk works again."""
        self._failing.clear()

    def meet(self, call: Call, name: str) -> None:
        """Raise if this call is to fail."""
        for (failing, suffix), (error, after) in list(self._failing.items()):
            if failing is call and name.endswith(suffix):
                if after:
                    self._failing[(failing, suffix)] = (error, after - 1)
                    continue
                self.met += 1
                raise error(f"injected: {call} of {suffix}")


class FailingFile(apsw.VFSFile):
    """A file that fails when it is told to."""

    def __init__(self, filename: Any, flags: list[int], faults: Faults) -> None:  # Any: apsw.URIFilename
        path = filename if isinstance(filename, str) else filename.filename() if filename is not None else ""
        self._name = path
        self._faults = faults
        super().__init__("", filename, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        self._faults.meet(Call.READ, self._name)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._faults.meet(Call.WRITE, self._name)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._faults.meet(Call.SYNC, self._name)
        super().xSync(flags)


class FailingVfs(apsw.VFS):
    """The system's files, which fail when they are told to."""

    def __init__(self, name: str, faults: Faults) -> None:
        self._faults = faults
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> FailingFile:  # noqa: N802 - SQLite's name
        return FailingFile(name, flags, self._faults)


@contextmanager
def failing_disk(name: str) -> Iterator[Faults]:
    """Register a disk under `name` for `SqliteLog.open(vfs=name)`; nothing fails at first."""
    faults = Faults()
    vfs = FailingVfs(name, faults)
    try:
        yield faults
    finally:
        vfs.unregister()
