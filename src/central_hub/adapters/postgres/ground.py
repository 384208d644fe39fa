"""The tables in PostgreSQL, row by row; see `adapters.ground`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Sequence

from central_hub.adapters.ground import Extent, Row
from central_hub.adapters.named_queries import named, text_of
from central_hub.adapters.postgres.address import Address
from central_hub.adapters.postgres.connection import LOST, Connection, Refused, connect, reason_of
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.postgres.migrations import PACKAGE
from central_hub.adapters.postgres.session import EVERY_DOMAIN
from central_hub.kernel.placing import store_unavailable


class PostgresGround:
    """Opened with `open`; holds the lock that a hub would hold."""

    def __init__(self, log: PostgresLog, connection: Connection, sql: dict[str, str]) -> None:
        self._log = log
        self._connection = connection
        self._sql = sql
        self._putting = False

    @classmethod
    async def open(cls, address: Address, *, mint: Callable[[], str]) -> PostgresGround:
        """Open the store as a hub would.

        Raises:
            HubError: as `PostgresLog.open`.
        """
        sql = named(text_of(PACKAGE, "queries.sql")) | named(text_of(PACKAGE, "ground.sql"))
        log = await PostgresLog.open(address, mint=mint)
        try:
            connection = await connect(log.host)
            await connection.execute("SET statement_timeout = '10min'")
        except (*LOST, Refused) as error:
            await log.close()
            raise store_unavailable(reason_of(error)) from error
        return cls(log, connection, sql)

    async def extent(self) -> Extent:
        """Return how much there is."""
        row = (await self._fetch("extent"))[0]
        return Extent(
            pos=row[0],
            incarnation=row[1],
            records=row[2],
            results=row[3],
            domains=row[4],
            data_keys=row[5],
            told=row[6],
        )

    async def records(self, after: int, limit: int) -> list[Row]:
        """Return rows of the log; see the port."""
        return await self._fetch("read", after, limit)

    async def results(self, after: tuple[str, str, str], limit: int) -> list[Row]:
        """Return first results; see the port."""
        return await self._fetch("results_after", *after, limit)

    async def told(self, after: tuple[str, str], limit: int) -> list[Row]:
        """Return names of records that are written once; see the port."""
        return await self._fetch("told_after", *after, limit)

    async def small(self, table: str) -> list[Row]:
        """Return the rows of a small table; see the port."""
        return await self._fetch(
            {"heads": "heads", "anchors": "anchors", "data_keys": "data_keys", "gaps": "gaps"}[table]
        )

    async def begin(self) -> None:
        """Begin to put rows."""
        with _judged():
            await self._connection.execute("BEGIN")
            await self._connection.execute(self._sql["scope"], EVERY_DOMAIN)
        self._putting = True

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        """Put rows; see the port."""
        if rows:
            with _judged():
                await self._connection.execute(self._sql[f"put_{table}"], *zip(*rows, strict=True))

    async def finish(self, pos: int, incarnation: str) -> None:
        """Say where the log ends, and commit."""
        with _judged():
            await self._connection.execute(self._sql["end_at"], pos, incarnation)
            await self._connection.execute("COMMIT")
        self._putting = False

    async def rename(self, incarnation: str) -> None:
        """Give the history another name, its snapshots with it."""
        with _judged():
            async with self._connection.transaction():
                await self._connection.execute(self._sql["scope"], EVERY_DOMAIN)
                await self._connection.execute(self._sql["rename"], incarnation)
                await self._connection.execute(self._sql["rename_all_snapshots"], incarnation)

    async def close(self) -> None:
        """Let go; what was begun is rolled back with the connection."""
        self._connection.terminate()
        await self._log.close()

    async def _fetch(self, name: str, *values: object) -> list[Row]:
        with _judged():
            async with self._scoped() as connection:
                return [tuple(row) for row in await connection.fetch(self._sql[name], *values)]

    @contextlib.asynccontextmanager
    async def _scoped(self) -> AsyncGenerator[Connection]:
        if self._putting:
            yield self._connection
            return
        async with self._connection.transaction():
            await self._connection.execute(self._sql["scope"], EVERY_DOMAIN)
            yield self._connection


@contextlib.contextmanager
def _judged() -> Generator[None]:
    try:
        yield
    except (*LOST, Refused) as error:
        raise store_unavailable(reason_of(error)) from error
