"""Cursors of the log's followers, beside the log: a hub on another machine goes on where the last one was."""

from __future__ import annotations

from collections.abc import Sequence

from central_hub.adapters.postgres.judging import Sql
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.postgres.session import EVERY_DOMAIN
from central_hub.kernel.cursors import Cursor
from central_hub.kernel.ids import DomainId


class PostgresCursors:
    """The `Cursors` port; they are written without waiting for the disk.

    Args:
        log: the store that they are in.
        sql: its queries.
    """

    def __init__(self, log: PostgresLog, sql: Sql) -> None:
        self._log = log
        self._sql = sql

    async def load(self) -> list[Cursor]:
        """Return every cursor; see the port."""
        async with self._log.aside(EVERY_DOMAIN) as connection:
            rows = await connection.fetch(self._sql["cursors"])
        return [
            Cursor(consumer=row["consumer"], domain=DomainId(row["domain"]), seq=row["seq"], state=row["state"])
            for row in rows
        ]

    async def save(self, cursors: Sequence[Cursor], *, dropped: Sequence[str] = ()) -> None:
        """Keep cursors; see the port."""
        async with self._log.aside(EVERY_DOMAIN) as connection:
            await connection.execute(self._sql["lazily"])
            kept = [(one.consumer, one.domain, one.seq, one.state) for one in cursors]
            await connection.executemany(self._sql["put_cursor"], kept)
            await connection.executemany(self._sql["drop_cursor"], [(consumer,) for consumer in dropped])

    async def close(self) -> None:
        """They go with the log."""
