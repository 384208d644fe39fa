"""The tables of the embedded store, row by row; see `adapters.ground`."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# apsw's stubs leave the columns of a row open; what leaves this module is typed.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final, TypeVar

import apsw

from central_hub.adapters.ground import Extent, Row
from central_hub.adapters.sqlite import queries
from central_hub.adapters.sqlite.opening import locked, writing_connection
from central_hub.kernel.placing import store_unavailable

COLUMNS: Final = {"log": 14, "results": 5, "told": 3, "heads": 3, "anchors": 3, "data_keys": 3, "gaps": 5}

T = TypeVar("T")


class SqliteGround:
    """Opens or creates the file, and holds the lock that a hub would hold.

    Args:
        path: the database file; its directory must exist.
        incarnation: the id a new log gets.
    """

    def __init__(self, path: Path, incarnation: str) -> None:
        self._sql = queries.load("queries.sql") | queries.load("ground.sql")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hub-ground")
        self._lock: IO[bytes] = locked(path)
        try:
            self._connection = self._thread.submit(writing_connection, path, None, incarnation).result()
        except BaseException:
            self._lock.close()
            raise

    async def extent(self) -> Extent:
        """Return how much there is."""
        pos = await self._rows("head")
        counts = (await self._rows("extent"))[0]
        incarnation = (await self._rows("incarnation"))[0][0]
        return Extent(
            pos=pos[0][0] if pos else 0, incarnation=incarnation, records=counts[0], results=counts[1],
            told=counts[4], domains=counts[2], data_keys=counts[3],
        )  # fmt: skip

    async def records(self, after: int, limit: int) -> list[Row]:
        """Return rows of the log; see the port."""
        return await self._rows("read", (after, limit))

    async def results(self, after: tuple[str, str, str], limit: int) -> list[Row]:
        """Return first results; see the port."""
        return await self._rows("results_after", (*after, limit))

    async def told(self, after: tuple[str, str], limit: int) -> list[Row]:
        """Return names of records that are written once; see the port."""
        return await self._rows("told_after", (*after, limit))

    async def small(self, table: str) -> list[Row]:
        """Return the rows of a small table; see the port."""
        return await self._rows(
            {"heads": "heads", "anchors": "anchors", "data_keys": "data_keys", "gaps": "gaps"}[table]
        )

    async def begin(self) -> None:
        """Begin to put rows."""
        await self._run(lambda: self._connection.execute("BEGIN IMMEDIATE"))

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        """Put rows; see the port."""
        marks = ", ".join("?" * COLUMNS[table])
        statement = f"INSERT INTO {table} VALUES ({marks})"  # noqa: S608 - names of our own
        await self._run(lambda: self._connection.executemany(statement, list(rows)))

    async def finish(self, pos: int, incarnation: str) -> None:
        """Say where the log ends, and commit."""

        def work() -> None:
            self._connection.execute(self._sql["put_head"], ("", pos, b""))
            self._connection.execute(self._sql["put_meta"], ("incarnation", incarnation))
            self._connection.execute("COMMIT")

        await self._run(work)

    async def rename(self, incarnation: str) -> None:
        """Give the history another name."""
        await self._run(lambda: self._connection.execute(self._sql["put_meta"], ("incarnation", incarnation)))

    async def close(self) -> None:
        """Let go of the file."""

        def work() -> None:
            if not self._connection.get_autocommit():
                self._connection.execute("ROLLBACK")
            self._connection.close()

        await self._run(work)
        self._thread.shutdown()
        self._lock.close()

    async def _rows(self, name: str, values: Row = ()) -> list[Row]:
        return await self._run(lambda: list(self._connection.execute(self._sql[name], values)))

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except apsw.Error as error:
            raise store_unavailable(str(error)) from error
