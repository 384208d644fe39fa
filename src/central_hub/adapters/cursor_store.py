"""Cursors of the log's followers, in a small SQLite file of their own.

They are no part of the log: they move with every delivery, and a lost one costs a delivery more. So they are written
without waiting for the disk (`synchronous=NORMAL`) and never stand in the way of a commit. When the file is damaged
or of another history it is put aside, and every follower begins where it was created.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# apsw's stubs leave the columns of a row open; what leaves this module is typed.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import apsw

from central_hub.kernel.cursors import Cursor
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import store_unavailable

BUSY_TIMEOUT_MS: Final = 1_000
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cursors (
  consumer    TEXT PRIMARY KEY,
  domain      TEXT    NOT NULL,
  seq         INTEGER NOT NULL,
  state       BLOB    NOT NULL,
  incarnation TEXT    NOT NULL
) WITHOUT ROWID;
"""
_LOAD: Final = "SELECT consumer, domain, seq, state FROM cursors WHERE incarnation = ?"
_SAVE: Final = (
    "INSERT INTO cursors (consumer, domain, seq, state, incarnation) VALUES (?, ?, ?, ?, ?) ON CONFLICT (consumer) "
    "DO UPDATE SET domain = excluded.domain, seq = excluded.seq, state = excluded.state, "
    "incarnation = excluded.incarnation"
)
_DROP: Final = "DELETE FROM cursors WHERE consumer = ?"

T = TypeVar("T")


class FileCursors:
    """The `Cursors` port on one file, opened at the first call.

    Args:
        path: the file; its directory must exist.
        incarnation: the history that positions belong to; cursors of another one are not shown.
    """

    def __init__(self, path: Path, incarnation: str) -> None:
        self._path = path
        self._incarnation = incarnation
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hub-cursors")
        self._connection: apsw.Connection | None = None

    async def load(self) -> list[Cursor]:
        """Return every cursor; see the port."""
        return await self._in_thread(self._load)

    async def save(self, cursors: Sequence[Cursor], *, dropped: Sequence[str] = ()) -> None:
        """Keep cursors; see the port."""
        await self._in_thread(lambda: self._save(cursors, dropped))

    async def close(self) -> None:
        """Let go of the file."""
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    def _load(self) -> list[Cursor]:
        try:
            rows = list(self._opened().execute(_LOAD, (self._incarnation,)))
        except (apsw.NotADBError, apsw.CorruptError):
            self._put_aside()
            rows = []
        return [
            Cursor(consumer=str(consumer), domain=DomainId(str(domain)), seq=int(seq), state=bytes(state))
            for consumer, domain, seq, state in rows
        ]

    def _save(self, cursors: Sequence[Cursor], dropped: Sequence[str]) -> None:
        connection = self._opened()
        with connection:
            rows = [(one.consumer, one.domain, one.seq, one.state, self._incarnation) for one in cursors]
            connection.executemany(_SAVE, rows)
            connection.executemany(_DROP, [(consumer,) for consumer in dropped])

    def _opened(self) -> apsw.Connection:
        if self._connection is None:
            connection = apsw.Connection(str(self._path))
            try:
                connection.set_busy_timeout(BUSY_TIMEOUT_MS)
                connection.pragma("journal_mode", "wal")
                connection.pragma("synchronous", "normal")
                connection.execute(SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._path.chmod(0o600)
            self._connection = connection
        return self._connection

    def _put_aside(self) -> None:
        self._close()
        self._path.replace(self._path.with_suffix(".damaged"))

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(apsw.Error):  # on a full disk the last checkpoint cannot be made
                self._connection.close()
            self._connection = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (apsw.Error, OSError) as error:
            raise store_unavailable(f"cursors: {error}") from error


class MemoryCursors:
    """The `Cursors` port over a dict."""

    def __init__(self) -> None:
        self._kept: dict[str, Cursor] = {}

    async def load(self) -> list[Cursor]:
        """Return every cursor."""
        return list(self._kept.values())

    async def save(self, cursors: Sequence[Cursor], *, dropped: Sequence[str] = ()) -> None:
        """Keep cursors."""
        self._kept.update((one.consumer, one) for one in cursors)
        for consumer in dropped:
            self._kept.pop(consumer, None)

    async def close(self) -> None:
        """Keep what there is for whoever opens it again."""
