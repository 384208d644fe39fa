"""What a hub keeps, opened together: log, keys, snapshots and its own secrets."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from central_hub.adapters.cursor_store import FileCursors, MemoryCursors
from central_hub.adapters.key_encryption import KeyEncryption, keys_in_file
from central_hub.adapters.keyring import KEY_BYTES, KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog, MemorySnapshots
from central_hub.adapters.secret_files import secret_file, sync_directory
from central_hub.adapters.snapshot_files import FileSnapshots
from central_hub.adapters.sqlite.log import RESERVED_BYTES, FreeBytes, SqliteLog, free_bytes
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.ports import Snapshots
from central_hub.kernel.roster import RosterOwnership
from central_hub.kernel.signals import Signals, Silence

if TYPE_CHECKING:  # its driver is an extra of its own
    from central_hub.adapters.postgres.cursors import PostgresCursors
    from central_hub.adapters.postgres.log import PostgresLog

DATABASE: Final = "hub.db"
MASTER_KEY: Final = "keys/master.key"
PEPPER: Final = "keys/pepper.key"
DECISION_KEY: Final = "keys/decisions.key"
SNAPSHOTS: Final = "snapshots"
CURSORS: Final = "cursors.db"
DIRECTORY_MODE: Final = 0o700


Follow = Callable[[Callable[[], None], Callable[[], None]], None]
"""Given what to call when there may be records that were not read, and when acknowledged history was lost."""


def _never() -> int:
    return 0


async def _nobody(pos: Callable[[], int] = _never) -> None:
    """There is nobody to share with."""


def _alone(moved: Callable[[], None], rewound: Callable[[], None]) -> None:
    """Nobody else writes to a store of one's own."""


@dataclass(slots=True)
class Stores:
    """Everything that outlives the process, and the secrets that must not be in the store itself.

    `unwell` says why the store takes no writes, empty while it does; `stale_ms` how long ago it last confirmed where
    its log ends, 0 while it answers; `losses` how often it was lost; `follow` is told whom to tell of others' writes.
    Where hubs share the store `roster` says who they are, and this one takes its share of the work between `join`,
    which is told what says how far this hub has applied the log, and `leave`.
    """

    log: SqliteLog | MemoryLog | PostgresLog
    sealer: KeyRing
    snapshots: Snapshots
    incarnation: str
    pepper: bytes
    decision_key: bytes
    directory: Path
    unwell: Callable[[], str]
    cursors: FileCursors | MemoryCursors | PostgresCursors = field(default_factory=MemoryCursors)
    stale_ms: Callable[[], int] = _never
    losses: Callable[[], int] = _never
    follow: Follow = _alone
    ownership: Ownership = field(default_factory=Alone)
    signals: Signals = field(default_factory=Silence)
    roster: RosterOwnership | None = None
    join: Callable[[Callable[[], int]], Awaitable[None]] = _nobody
    leave: Callable[[], Awaitable[None]] = _nobody


async def open_directory(
    directory: Path, *, incarnation: str, free: FreeBytes = free_bytes, keys: KeyEncryption | None = None
) -> Stores:
    """Open or create the embedded store of a directory.

    Args:
        directory: made with mode 0700 when it is not there.
        incarnation: the id a new log gets.
        free: tells the free bytes of a file system.
        keys: what wraps the data keys; a key in the directory by default.

    Raises:
        HubError: `data_unusable`, `store_in_use`, `store_too_new`, `key_file_exposed`, `key_file_invalid`,
            `wrong_master_key`, `key_provider_unavailable`, `key_provider_refused`.
    """
    try:
        return await _opened(directory, incarnation=incarnation, free=free, keys=keys)
    except OSError as error:
        raise _unusable(directory, f"{error.filename or directory}: {error.strerror or error}") from error
    except HubError as refused:
        if refused.code != "store_unavailable":
            raise
        raise _unusable(directory, refused.internal) from refused


async def _opened(directory: Path, *, incarnation: str, free: FreeBytes, keys: KeyEncryption | None) -> Stores:
    prepare_directory(directory)
    encryption, others = key_providers(directory, keys)
    pepper = secret_file(directory / PEPPER)
    decision_key = secret_file(directory / DECISION_KEY)
    log = await SqliteLog.open(directory / DATABASE, incarnation=incarnation, free=free)
    sealer = KeyRing(encryption, log, others=others)
    try:
        await sealer.load()
    except BaseException:
        await log.close()
        raise
    return Stores(
        log=log,
        sealer=sealer,
        snapshots=FileSnapshots(directory / SNAPSHOTS, sealer),
        incarnation=log.incarnation,
        pepper=pepper,
        decision_key=decision_key,
        directory=directory,
        unwell=lambda: _unwell(log, directory, free),
        cursors=FileCursors(directory / CURSORS, log.incarnation),
    )


def key_providers(directory: Path, keys: KeyEncryption | None) -> tuple[KeyEncryption, tuple[KeyEncryption, ...]]:
    """Return what wraps data keys, and what may have wrapped those that are kept.

    A directory that had a key of its own before keeps it until nothing is wrapped under it any more.
    """
    path = directory / MASTER_KEY
    if keys is None:
        return keys_in_file(path), ()
    return keys, (keys_in_file(path),) if path.exists() else ()


def in_memory(*, incarnation: str = "memory", log: MemoryLog | None = None) -> Stores:
    """Make stores that end with the process (tests, tools)."""
    return Stores(
        log=log or MemoryLog(incarnation=incarnation),
        sealer=KeyRing(os.urandom(KEY_BYTES), MemoryKeys()),
        snapshots=MemorySnapshots(),
        incarnation=incarnation,
        pepper=bytes(KEY_BYTES),
        decision_key=bytes(KEY_BYTES),
        directory=Path(),
        unwell=lambda: "",
    )


def _unwell(log: SqliteLog, directory: Path, free: FreeBytes) -> str:
    if not log.healthy:
        return "the store failed and takes no writes until the hub is restarted"
    try:
        full = free(directory) < RESERVED_BYTES
    except OSError as error:
        return f"the free space cannot be told: {error.strerror}"
    return "the disk is full and the store takes no writes until there is room" if full else ""


def _unusable(directory: Path, reason: str) -> HubError:
    return HubError(
        "data_unusable",
        Kind.INVALID,
        f"The data directory {directory} cannot be used: {reason}.",
        next_step="Name a directory that this user may write with --data; restore a damaged store from a backup.",
    )


def prepare_directory(directory: Path) -> None:
    """Make a data directory, durably, where there is none."""
    directory.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
    sync_directory(directory.absolute().parent)
