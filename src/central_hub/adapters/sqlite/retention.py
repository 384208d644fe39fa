"""Letting go of what is old: records behind a snapshot, first results and names; each call is one short transaction."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# apsw's stubs leave the columns of a row open.

from __future__ import annotations

from itertools import takewhile
from typing import Final

import apsw

from central_hub.kernel.expiring import Expired, Gap, Standing, Terms, chosen, joined

RETIRE_SLICE: Final = 1_000


def retire(connection: apsw.Connection, sql: dict[str, str], behind_pos: int, before_ms: int, bytes_max: int) -> int:
    """Drop some of the oldest records, as `SqliteLog.retain` says; returns how many."""
    rows = list(connection.execute(sql["retire_scan"], (behind_pos, RETIRE_SLICE)))
    if held_bytes(connection) <= bytes_max:
        # Times go back when a clock is set: what goes is a prefix of the log, so that every
        # chain keeps a clean cut, and it ends before the first record that is to stay.
        rows = list(takewhile(lambda row: row[4] < before_ms, rows))
    if rows:
        anchors = {domain: (domain, seq, digest) for _, domain, seq, digest, _ in rows}
        connection.executemany(sql["put_anchor"], list(anchors.values()))
        connection.executemany(sql["drop_gaps_behind"], [(domain, seq) for domain, seq, _ in anchors.values()])
        connection.execute(sql["retire"], (rows[-1][0],))
    return len(rows)


def expire(
    connection: apsw.Connection, sql: dict[str, str], domain: str, after_seq: int, behind_pos: int, terms: Terms
) -> Expired:
    """Drop some records of one domain, as `SqliteLog.expire` says."""
    rows = connection.execute(sql["expire_scan"], (domain, after_seq, behind_pos, RETIRE_SLICE))
    done, runs = chosen((Standing(*row) for row in rows), terms)
    if not runs:
        return done
    found = list(connection.execute(sql["anchor"], (domain,)))
    near = connection.execute(sql["gaps_near"], (domain, runs[0].first, runs[-1].last))
    known = [Gap(*row) for row in near]
    begun, rest = joined(found[0][0] if found else 0, known, runs)
    connection.executemany(sql["drop_gap"], [(domain, gap.first) for gap in known])
    connection.executemany(sql["put_gap"], [(domain, gap.first, gap.last, gap.prev_hash, gap.hash) for gap in rest])
    if begun is not None:
        connection.execute(sql["put_anchor"], (domain, begun.last, begun.hash))
    connection.executemany(sql["expire"], [(domain, run.first, run.last) for run in runs])
    return done


def forget(connection: apsw.Connection, statement: str, before_ms: int) -> int:
    """Drop some of what was kept before a time; returns how much."""
    connection.execute(statement, (before_ms, RETIRE_SLICE))
    return connection.changes()


def held_bytes(connection: apsw.Connection) -> int:
    """Return the bytes that the store's pages hold."""
    pages, free, size = (int(connection.pragma(name)) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size
