"""What the log suite runs on: the stores behind one face, and commands to give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
import msgspec

from central_hub.adapters.memory import MemoryLog
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.sqlite.log import SqliteLog
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import ChainCheck
from central_hub.kernel.ports import Append, Idempotency, StreamKey, Unplaced
from central_hub.kernel.records import Actor, Category, Record
from tests.postgres import Database

ACME: Final = DomainId("acme")
OTHER: Final = DomainId("other")
ACTOR: Final = Actor(principal="key-1", kind="service", origin="10.0.0.1", correlation="c-1")
INCARNATION: Final = "history-1"


class Noted(Fact, frozen=True, kw_only=True):
    """Something to write as another hub."""

    text: str


class PlainSealer:
    """Seals nothing: sealing is tested with the key ring."""

    def seal(self, domain: DomainId, plain: bytes, associated: bytes) -> tuple[str, bytes]:
        return "k", plain

    def open(self, domain: DomainId, key_id: str, sealed: bytes, associated: bytes) -> bytes:
        return sealed

    def is_shredded(self, domain: DomainId) -> bool:
        return False

    async def ensure(self, domain: DomainId) -> None:
        return None

    async def refresh(self) -> None:
        return None


class House(Protocol):
    """A store under test."""

    @property
    def log(self) -> SqliteLog | MemoryLog | PostgresLog: ...

    async def open(self) -> None: ...

    async def reopen(self) -> None: ...

    async def foreign(self, domain: DomainId, *streams: str) -> None: ...

    async def foreign_many(self, count: int) -> None: ...

    def alter(self, domain: DomainId, seq: int, /, **columns: Any) -> None: ...

    def remove(self, domain: DomainId, seq: int) -> None: ...

    async def close(self) -> None: ...


class MemoryHouse:
    """The memory log; it has no file, so reopening keeps the object."""

    def __init__(self, directory: Path) -> None:
        self.log = MemoryLog(incarnation=INCARNATION)

    async def open(self) -> None:
        return None

    async def reopen(self) -> None:
        return None

    async def foreign(self, domain: DomainId, *streams: str) -> None:
        self.log.write_as_another_hub(PlainSealer(), domain, Noted(text="theirs"), streams)

    async def foreign_many(self, count: int) -> None:
        for number in range(count):
            await self.foreign(ACME, f"far/{number}")

    def alter(self, domain: DomainId, seq: int, /, **columns: Any) -> None:
        index = self._index(domain, seq)
        self.log.records[index] = msgspec.structs.replace(self.log.records[index], **columns)

    def remove(self, domain: DomainId, seq: int) -> None:
        del self.log.records[self._index(domain, seq)]

    async def close(self) -> None:
        await self.log.close()

    def _index(self, domain: DomainId, seq: int) -> int:
        return next(i for i, r in enumerate(self.log.records) if r.domain == domain and r.domain_seq == seq)


class SqliteHouse:
    """The SQLite log in a directory of its own; a second, unlocked one plays another hub."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "hub.db"
        self.log: SqliteLog

    async def open(self) -> None:
        self.log = await SqliteLog.open(self.path, incarnation=INCARNATION)

    async def reopen(self) -> None:
        await self.log.close()
        # The history's name is the file's, not what the opener would have called a new one.
        self.log = await SqliteLog.open(self.path, incarnation="not-this")

    async def foreign(self, domain: DomainId, *streams: str) -> None:
        theirs = await SqliteLog.open(self.path, incarnation="-", exclusive=False)
        try:
            await theirs.append([command(record(domain, *streams, data=b"theirs"))])
        finally:
            await theirs.close()

    async def foreign_many(self, count: int) -> None:
        theirs = await SqliteLog.open(self.path, incarnation="-", exclusive=False)
        await theirs.append([command(*(record(ACME, f"far/{number}") for number in range(count)))])
        await theirs.close()

    def alter(self, domain: DomainId, seq: int, /, **columns: Any) -> None:
        for name, value in columns.items():
            stored = value
            if name == "streams":
                stored = "\n".join(value)
            elif isinstance(value, Actor):
                stored = msgspec.msgpack.encode(value)
            elif isinstance(value, Category):
                stored = value.value
            self._write(f"UPDATE log SET {name} = ? WHERE domain = ? AND domain_seq = ?", (stored, domain, seq))

    def remove(self, domain: DomainId, seq: int) -> None:
        self._write("DELETE FROM log WHERE domain = ? AND domain_seq = ?", (domain, seq))

    async def close(self) -> None:
        await self.log.close()

    def _write(self, sql: str, values: Sequence[Any]) -> None:
        connection = apsw.Connection(str(self.path))
        try:
            connection.execute(sql, tuple(values))
            assert connection.changes() == 1
        finally:
            connection.close()


class PostgresHouse:
    """The PostgreSQL log in a database of its own; a second one that does not ask to be alone plays another hub."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.log: PostgresLog

    async def open(self) -> None:
        self.log = await PostgresLog.open(self.database.address, mint=lambda: INCARNATION)

    async def reopen(self) -> None:
        await self.log.close()
        self.log = await PostgresLog.open(self.database.address, mint=lambda: "not-this")

    async def foreign(self, domain: DomainId, *streams: str) -> None:
        await self._foreign(command(record(domain, *streams, data=b"theirs")))

    async def foreign_many(self, count: int) -> None:
        await self._foreign(command(*(record(ACME, f"far/{number}") for number in range(count))))

    async def _foreign(self, append: Append) -> None:
        theirs = await PostgresLog.open(self.database.address, mint=lambda: "-", exclusive=False)
        try:
            await theirs.append([append])
        finally:
            await theirs.close()

    def alter(self, domain: DomainId, seq: int, /, **columns: Any) -> None:
        for name, value in columns.items():
            stored = value
            if name == "streams":
                stored = "\n".join(value)
            elif isinstance(value, Actor):
                stored = msgspec.msgpack.encode(value)
            literal = f"'\\x{stored.hex()}'::bytea" if isinstance(stored, bytes) else f"'{stored}'"
            where = f"domain = '{domain}' AND domain_seq = {seq}"
            self._write(f"UPDATE central_hub.log SET {name} = {literal} WHERE {where} RETURNING 1")

    def remove(self, domain: DomainId, seq: int) -> None:
        self._write(f"DELETE FROM central_hub.log WHERE domain = '{domain}' AND domain_seq = {seq} RETURNING 1")

    async def close(self) -> None:
        await self.log.close()

    def _write(self, statement: str) -> None:
        assert self.database.sql(statement) == "1"


STORES: Final = ("memory", "postgres", "sqlite")


def record(
    domain: DomainId = ACME,
    *streams: str,
    data: bytes = b"sealed",
    category: Category = Category.FACT,
    time_ms: int = 1_000,
    id: str = "",  # noqa: A002 - the record's own word
    once: str = "",
) -> Unplaced:
    """A record on its way to the store."""
    return Unplaced(
        domain=domain,
        streams=streams or ("thing/1",),
        category=category,
        type="Noted",
        id=id or f"id-{data.hex()}",
        time_ms=time_ms,
        actor=ACTOR,
        key_id="k1",
        data=data,
        once=once,
    )


def command(
    *records: Unplaced,
    reads: Sequence[StreamKey] = (),
    decided_at: int = 0,
    key: Idempotency | None = None,
    result: bytes = b"",
) -> Append:
    """A command's records, with what it read."""
    return Append(
        records=records or (record(),),
        reads=frozenset(reads),
        decided_at=decided_at,
        idempotency=key,
        result=result,
    )


def key(name: str, domain: DomainId = ACME, source: str = "s") -> Idempotency:
    """An idempotency key."""
    return Idempotency(domain=domain, source=source, id=name)


async def everything(log: SqliteLog | MemoryLog | PostgresLog) -> list[Record]:
    """Every stored record, read in pages."""
    found: list[Record] = []
    while page := await log.read(found[-1].pos if found else 0, 100):
        found.extend(page)
    return found


def whole(check: ChainCheck) -> bool:
    """Whether a chain held."""
    return check.broken_at is None
