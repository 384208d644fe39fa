"""A disk whose every write is on record, so that a power cut can be tried at any moment of a run.

`RecordingVfs` passes everything on to real files and keeps a journal of what the store did to
them. `files_after_cut` then says what a disk could hold had the power failed at one point of that
journal: what was synced is there; of what was written since, each piece is there, is not, or is
torn at a sector, in any order, as a seed has it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import apsw

SECTOR_BYTES: Final = 512
IGNORED_SUFFIXES: Final = ("-shm",)
SYNC_DIRECTORY_SUFFIXES: Final = ("-wal", "-journal")


class Kind(StrEnum):
    """What happened to a file."""

    CREATE = "create"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, in order."""

    kind: Kind
    file: str
    offset: int = 0
    data: bytes = b""


class Journal:
    """Everything the store did to its files, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        """Add what happened."""
        with self._lock:
            self.events.append(event)

    def __len__(self) -> int:
        return len(self.events)


class RecordingFile(apsw.VFSFile):
    """A file that notes what changes it."""

    def __init__(self, vfs: str, filename: Any, flags: list[int], journal: Journal) -> None:  # Any: apsw.URIFilename
        self._journal = journal
        path = filename if isinstance(filename, str) else filename.filename() if filename is not None else ""
        self._name = Path(path).name
        self._quiet = not path or self._name.endswith(IGNORED_SUFFIXES)
        is_new = bool(path) and not Path(path).exists()
        super().__init__(vfs, filename, flags)
        if is_new:
            self._note(Kind.CREATE)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        super().xWrite(data, offset)
        self._note(Kind.WRITE, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        super().xTruncate(newsize)
        self._note(Kind.TRUNCATE, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._note(Kind.SYNC)

    def _note(self, kind: Kind, offset: int = 0, data: bytes = b"") -> None:
        if not self._quiet:
            self._journal.note(Event(kind, self._name, offset, data))


class RecordingVfs(apsw.VFS):
    """The system's files, with a journal."""

    def __init__(self, name: str, journal: Journal) -> None:
        self._journal = journal
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> RecordingFile:  # noqa: N802 - SQLite's name
        return RecordingFile("", name, flags, self._journal)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's
        super().xDelete(filename, syncdir)
        name = Path(filename).name
        if not name.endswith(IGNORED_SUFFIXES):
            self._journal.note(Event(Kind.DELETE, name, int(syncdir)))


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)
    exists: bool = True
    named: bool = False  # its name is durable
    before: bytes | None = None  # what the name durably leads to, while its deletion is not durable


class Disk:
    """What is durable and what is not, after a prefix of a journal.

    Names are durable once their directory was synced, which SQLite's unix files do at the first
    sync of a journal or write-ahead log they created, and at a deletion that asks for it.
    """

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def play(self, events: Iterable[Event]) -> None:
        """Let events happen."""
        for event in events:
            file = self._files.setdefault(event.file, _File())
            if event.kind is Kind.CREATE:
                self._files[event.file] = _File(before=file.before)
            elif event.kind is Kind.SYNC:
                for one in file.pending:
                    _apply(file.durable, one)
                file.pending.clear()
                if not file.named and event.file.endswith(SYNC_DIRECTORY_SUFFIXES):
                    self._sync_directory()
            elif event.kind is Kind.DELETE:
                before = bytes(file.durable) if file.named else file.before
                self._files[event.file] = _File(exists=False, before=before)
                if event.offset:
                    self._sync_directory()
            else:
                file.pending.append(event)

    def cut(self, draw: random.Random) -> dict[str, bytes]:
        """Cut the power: return what a disk could hold now."""
        manner = draw.choice((_none, _prefix, _torn, _subset, _reordered, _all))
        files: dict[str, bytes] = {}
        for name in sorted(self._files):
            file = self._files[name]
            if not file.named and draw.random() < 0.5:  # the directory still says what it said
                if file.before is not None:
                    files[name] = file.before
            elif file.exists:
                image = bytearray(file.durable)
                for event in manner(list(file.pending), draw):
                    _apply(image, event)
                files[name] = bytes(image)
        return files

    def _sync_directory(self) -> None:
        for file in self._files.values():
            file.named = file.exists
            file.before = None


def _apply(image: bytearray, event: Event) -> None:
    if event.kind is Kind.TRUNCATE:
        if event.offset < len(image):
            del image[event.offset :]
        else:
            image.extend(bytes(event.offset - len(image)))
    elif event.kind is Kind.WRITE:
        if event.offset > len(image):
            image.extend(bytes(event.offset - len(image)))
        image[event.offset : event.offset + len(event.data)] = event.data


def _none(pending: list[Event], draw: random.Random) -> list[Event]:
    return []


def _all(pending: list[Event], draw: random.Random) -> list[Event]:
    return pending


def _prefix(pending: list[Event], draw: random.Random) -> list[Event]:
    return pending[: draw.randint(0, len(pending))]


def _torn(pending: list[Event], draw: random.Random) -> list[Event]:
    kept = _prefix(pending, draw)
    if kept and kept[-1].kind is Kind.WRITE:
        kept[-1:] = _sectors(kept[-1], draw)
    return kept


def _subset(pending: list[Event], draw: random.Random) -> list[Event]:
    share = draw.random()
    pieces: list[Event] = []
    for event in pending:
        if event.kind is Kind.WRITE and draw.random() < 0.2:
            pieces.extend(_sectors(event, draw))
        elif draw.random() < share:
            pieces.append(event)
    return pieces


def _reordered(pending: list[Event], draw: random.Random) -> list[Event]:
    kept = _subset(pending, draw)
    draw.shuffle(kept)
    return kept


def _sectors(event: Event, draw: random.Random) -> list[Event]:
    """The pieces of a write that reached the disk, cut where sectors end."""
    pieces: list[Event] = []
    at = 0
    while at < len(event.data):
        size = SECTOR_BYTES - (event.offset + at) % SECTOR_BYTES
        if draw.random() < 0.5:
            pieces.append(Event(Kind.WRITE, event.file, event.offset + at, event.data[at : at + size]))
        at += size
    return pieces
