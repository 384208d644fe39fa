"""Opening the store's file: the lock, the two connections and their settings, the tables."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# apsw's stubs leave the columns of a row open; what leaves this module is typed.

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Generator
from pathlib import Path
from typing import IO, Final

import apsw

from central_hub.adapters.sqlite import queries
from central_hub.kernel.errors import HubError, Kind

MIGRATIONS: Final = (("schema.sql", "schema"), ("told.sql", "told"), ("gaps.sql", "gaps"))
"""What each version adds to the one before, forward only: file and name of the statements."""
SCHEMA_VERSION: Final = len(MIGRATIONS)
BUSY_TIMEOUT_MS: Final = 100
CACHE_KIB: Final = 16_384


def locked(path: Path) -> IO[bytes]:
    """Take the lock of a store for as long as the returned file is open.

    Raises:
        HubError: `store_in_use` when another process holds it.
    """
    lock = path.with_suffix(".lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise HubError(
            "store_in_use",
            Kind.UNAVAILABLE,
            f"Another process holds the store ({path.parent}).",
            next_step="Stop the other hub, or give this one a directory of its own with --data.",
        ) from None
    return lock


def writing_connection(path: Path, vfs: str | None, incarnation: str) -> apsw.Connection:
    """Open the connection that writes; a new file gets its tables and its incarnation.

    Raises:
        HubError: `store_too_new` when a later version wrote the file.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs)
    try:
        _configure(connection)
        _migrate(connection, incarnation)
    except BaseException:
        connection.close()
        raise
    return connection


def reading_connection(path: Path, vfs: str | None) -> apsw.Connection:
    """Open a connection that cannot write."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    _configure(connection)
    connection.pragma("query_only", True)
    return connection


@contextlib.contextmanager
def overwriting(connection: apsw.Connection) -> Generator[None]:
    """Have what is deleted or replaced overwritten, not just unlinked."""
    connection.pragma("secure_delete", True)
    try:
        yield
    finally:
        connection.pragma("secure_delete", False)


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("mmap_size", 0)
    connection.pragma("cache_size", -CACHE_KIB)
    connection.wal_autocheckpoint(0)


def _migrate(connection: apsw.Connection, incarnation: str) -> None:
    sql = queries.load("queries.sql")
    version = 0
    if list(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'")):
        said = list(connection.execute(sql["schema_version"]))
        if not said:
            raise apsw.CorruptError("the store has tables and does not say of which version")
        version = int(said[0][0])
    if version > SCHEMA_VERSION:
        raise HubError(
            "store_too_new",
            Kind.UNAVAILABLE,
            f"The store has schema {version}; this hub knows {SCHEMA_VERSION}.",
            next_step="Start a hub at least as new as the one that wrote it.",
        )
    if version == SCHEMA_VERSION:
        return
    with connection:
        for file, name in MIGRATIONS[version:]:
            connection.execute(queries.load(file)[name])
        connection.execute(sql["put_meta"], ("schema_version", str(SCHEMA_VERSION)))
        if not version:
            connection.execute(sql["put_meta"], ("incarnation", incarnation))
