"""Snapshots beside the log they were taken of, so that a hub on another machine starts from them.

One is written in parts in one transaction. One that does not check is passed over, loudly, for
the one before it; without any, the hub replays its log.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from typing import BinaryIO, Final

import msgspec
import structlog

from central_hub.adapters.postgres.connection import Connection
from central_hub.adapters.postgres.judging import Sql
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.postgres.session import EVERY_DOMAIN
from central_hub.adapters.snapshot_format import CorruptSnapshot, read_snapshot, write_snapshot
from central_hub.kernel.errors import HubError
from central_hub.kernel.ports import Sealer, Section

KEPT: Final = 2
PART_BYTES: Final = 1024 * 1024

_log = structlog.get_logger("central_hub.snapshots")


class PostgresSnapshots:
    """The `Snapshots` port on PostgreSQL.

    Args:
        log: the store that they are in.
        sql: its queries.
        sealer: seals each chunk under its domain's key.
    """

    def __init__(self, log: PostgresLog, sql: Sql, sealer: Sealer) -> None:
        self._log = log
        self._sql = sql
        self._sealer = sealer

    async def save(self, pos: int, incarnation: str, sections: Sequence[Section]) -> int:
        """Keep a snapshot durably, drop all but the newest `KEPT`; returns the oldest one's position."""
        with tempfile.TemporaryFile() as file:
            await asyncio.to_thread(write_snapshot, file, pos, incarnation, sections, self._sealer)
            size = file.tell()
            file.seek(0)
            # On a connection of its own and without the head's lock: nobody who writes waits for it.
            async with self._log.errand() as connection, connection.transaction():
                await connection.execute(self._sql["scope"], EVERY_DOMAIN)
                await connection.execute(self._sql["drop_snapshot"], pos)
                await connection.execute(self._sql["put_snapshot"], pos, incarnation, -(-size // PART_BYTES))
                part = 0
                while data := file.read(PART_BYTES):
                    await connection.execute(self._sql["put_snapshot_part"], pos, part, data)
                    part += 1
                kept = [row["pos"] for row in await connection.fetch(self._sql["snapshots"])]
                for old in kept[KEPT:]:
                    await connection.execute(self._sql["drop_snapshot"], old)
        # With one snapshot only there is nothing to fall back to but the whole log.
        return kept[KEPT - 1] if len(kept) >= KEPT else 0

    async def load(self) -> tuple[int, str, list[Section]] | None:
        """Return the newest snapshot that checks, or None."""
        async with self._log.errand() as connection, connection.transaction(readonly=True):
            await connection.execute(self._sql["scope"], EVERY_DOMAIN)
            for row in await connection.fetch(self._sql["snapshots"]):
                with tempfile.TemporaryFile() as file:
                    await self._fetch(connection, row["pos"], row["parts"], file)
                    try:
                        pos, _, sections = await asyncio.to_thread(read_snapshot, file, self._sealer)
                    except (CorruptSnapshot, msgspec.MsgspecError, HubError, ValueError) as error:
                        _log.warning("snapshots.passed_over", pos=row["pos"], reason=type(error).__name__)
                        continue
                # A history that got another name since is told by its row, not by what was written then.
                return pos, row["incarnation"], sections
        return None

    async def _fetch(self, connection: Connection, pos: int, parts: int, file: BinaryIO) -> None:
        for part in range(parts):
            data = await connection.fetchval(self._sql["snapshot_part"], pos, part)
            file.write(data or b"")
        file.flush()
        file.seek(0)
