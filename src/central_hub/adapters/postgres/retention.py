"""Letting go of what is old: records behind a snapshot, first results; in slices that hold nobody up."""

from __future__ import annotations

from itertools import takewhile
from typing import Final

from central_hub.adapters.postgres.connection import Connection
from central_hub.adapters.postgres.judging import Sql
from central_hub.adapters.postgres.session import EVERY_DOMAIN, scoped
from central_hub.kernel.expiring import Expired, Gap, Standing, Terms, chosen, joined

RESULTS_MAX: Final = 1_000_000
"""First results kept; past this the oldest are forgotten although they are young."""
RETIRE_SLICE: Final = 1_000


async def retire(connection: Connection, sql: Sql, behind_pos: int, before_ms: int) -> int:
    """Drop old records up to a position, oldest first; returns how many."""
    dropped = 0
    while count := await _retire_some(connection, sql, behind_pos, before_ms):
        dropped += count
    return dropped


async def forget_results(connection: Connection, sql: Sql, before_ms: int) -> None:
    """Drop first results kept before a time, and the oldest past `RESULTS_MAX`."""
    surplus = await scoped(connection, sql, EVERY_DOMAIN, sql["results_behind"], RESULTS_MAX)
    await _forget(connection, sql, "drop_results", max(before_ms, surplus[0][0] if surplus else 0))


async def forget_told(connection: Connection, sql: Sql, before_ms: int) -> None:
    """Drop names of records that were written once before a time."""
    await _forget(connection, sql, "drop_told", before_ms)


async def _forget(connection: Connection, sql: Sql, name: str, before_ms: int) -> None:
    done = "DELETE 1"
    while not done.endswith(" 0"):
        async with connection.transaction():
            await connection.execute(sql["scope"], EVERY_DOMAIN)
            done = await connection.execute(sql[name], before_ms, RETIRE_SLICE)


async def _retire_some(connection: Connection, sql: Sql, behind_pos: int, before_ms: int) -> int:
    async with connection.transaction():
        await connection.execute(sql["scope"], EVERY_DOMAIN)
        rows = await connection.fetch(sql["retire_scan"], behind_pos, RETIRE_SLICE)
        # Times go back when a clock is set: what goes is a prefix of the log, so that every
        # chain keeps a clean cut, and it ends before the first record that is to stay.
        rows = list(takewhile(lambda row: row["time_ms"] < before_ms, rows))
        if rows:
            anchors = {row["domain"]: (row["domain"], row["domain_seq"], row["hash"]) for row in rows}
            await connection.executemany(sql["put_anchor"], list(anchors.values()))
            await connection.executemany(
                sql["drop_gaps_behind"], [(domain, seq) for domain, seq, _ in anchors.values()]
            )
            await connection.execute(sql["retire"], rows[-1]["pos"])
    return len(rows)


async def expire(
    connection: Connection, sql: Sql, domain: str, after_seq: int, behind_pos: int, terms: Terms
) -> Expired:
    """Drop some records of one domain, as `PostgresLog.expire` says; within a transaction."""
    rows = await connection.fetch(sql["expire_scan"], domain, after_seq, behind_pos, RETIRE_SLICE)
    done, runs = chosen((Standing(*row) for row in rows), terms)
    if not runs:
        return done
    found = await connection.fetch(sql["anchor"], domain)
    near = await connection.fetch(sql["gaps_near"], domain, runs[0].first, runs[-1].last)
    known = [Gap(*row) for row in near]
    begun, rest = joined(found[0][0] if found else 0, known, runs)
    await connection.executemany(sql["drop_gap"], [(domain, gap.first) for gap in known])
    await connection.executemany(
        sql["put_gap"], [(domain, gap.first, gap.last, gap.prev_hash, gap.hash) for gap in rest]
    )
    if begun is not None:
        await connection.execute(sql["put_anchor"], domain, begun.last, begun.hash)
    await connection.executemany(sql["expire"], [(domain, run.first, run.last) for run in runs])
    return done
