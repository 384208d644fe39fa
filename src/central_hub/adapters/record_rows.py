"""Records as rows of the log table, and back: the same columns in the same order in every store.

Many rows go into one statement where they can: every step of a statement hands the interpreter
over once, and under load getting it back costs more than the insert.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from central_hub.kernel.expiring import ROW_BYTES, Weighed
from central_hub.kernel.records import STREAM_SEPARATOR, Actor, Category, Record

ROWS_A_STATEMENT: Final = 32
ACTORS_KEPT_MAX: Final = 1_024
COLUMNS: Final = 14

Row = tuple[Any, ...]  # Any: the columns' types differ


def insert_many(insert_one: str) -> str:
    """Return the statement that inserts `ROWS_A_STATEMENT` rows, from the one that inserts one."""
    head, _, _ = insert_one.rpartition("VALUES")
    row = "(" + ", ".join("?" * COLUMNS) + ")"
    return f"{head}VALUES " + ", ".join([row] * ROWS_A_STATEMENT)


class Rows:
    """Makes rows of records; remembers the actors it has encoded."""

    def __init__(self) -> None:
        self._actors: dict[Actor, bytes] = {}

    def of(self, records: Sequence[Record]) -> list[Row]:
        """Return one row a record."""
        actors = self._actors
        if len(actors) > ACTORS_KEPT_MAX:
            actors.clear()
        rows: list[Row] = []
        for one in records:
            actor = actors.get(one.actor)
            if actor is None:
                actor = actors[one.actor] = msgspec.msgpack.encode(one.actor)
            rows.append(
                (
                    one.pos, one.domain, one.domain_seq, STREAM_SEPARATOR.join(one.streams), one.category.value,
                    one.type, one.schema_rev, one.id, one.time_ms, actor, one.key_id, one.prev_hash, one.hash,
                    one.data,
                )
            )  # fmt: skip
        return rows


def decoded(rows: Iterable[Row]) -> tuple[list[Record], bool]:
    """Return the records of rows up to the first that does not decode, and whether there is one."""
    records: list[Record] = []
    try:
        for row in rows:
            records.append(_record(row))
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError):
        return records, True
    return records, False


def without_gap(records: list[Record]) -> list[Record]:
    """Return the records of a domain up to the first gap between them: whoever goes on from there meets it."""
    if not records or records[-1].domain_seq - records[0].domain_seq == len(records) - 1:
        return records
    first = records[0].domain_seq
    return records[: next(at for at, one in enumerate(records) if one.domain_seq != first + at)]


def _record(row: Row) -> Record:
    return Record(
        pos=row[0],
        domain=row[1],
        domain_seq=row[2],
        streams=tuple(row[3].split(STREAM_SEPARATOR)),
        category=Category(row[4]),
        type=row[5],
        schema_rev=row[6],
        id=row[7],
        time_ms=row[8],
        actor=msgspec.msgpack.decode(row[9], type=Actor),
        key_id=row[10],
        prev_hash=row[11],
        hash=row[12],
        data=row[13],
    )


def weighed(rows: Iterable[Row]) -> Weighed:
    """Return what rows of `weigh` say: domain, last position, events, bytes of their data."""
    upto, event_bytes = 0, dict[str, int]()
    for domain, pos, events, size in rows:
        upto = max(upto, pos)
        if events:
            event_bytes[domain] = size + events * ROW_BYTES
    return Weighed(upto_pos=upto, event_bytes=event_bytes)
