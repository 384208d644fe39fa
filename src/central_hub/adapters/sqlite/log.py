"""The log on SQLite.

One thread writes and checkpoints, on one connection; another reads on its own. A batch is one
transaction and one fsync (WAL, `synchronous=FULL`).

When the disk is full the batch is refused with `storage_full` and the next one is tried afresh.
When the file fails in any other way, what was being committed is `outcome_unknown` and every
later write is refused with `store_unavailable` until the store is opened again: a failed fsync
says nothing about what is on the disk, and trying again would only look as if it did. Reads of
the views go on meanwhile. Refusals and failures are counted.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# apsw's stubs leave the columns of a row open; what leaves this module is typed.

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import apsw

from central_hub.adapters.record_rows import ROWS_A_STATEMENT, Row, Rows, decoded, insert_many, weighed, without_gap
from central_hub.adapters.sqlite import queries
from central_hub.adapters.sqlite.opening import locked, overwriting, reading_connection, writing_connection
from central_hub.adapters.sqlite.retention import expire, forget, retire
from central_hub.adapters.verifying import Chain
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.expiring import Expired, Terms, Weighed
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import (
    ChainCheck,
    DomainHead,
    ForeignWrites,
    Placement,
    outcome_unknown,
    storage_full,
    store_unavailable,
)
from central_hub.kernel.ports import Append, Head, Idempotency, Verdict
from central_hub.kernel.records import STREAM_SEPARATOR, Category, Record

CHECKPOINT_PAGES: Final = 8_192
"""Pages in the write-ahead log (32 MiB) after which the writer checkpoints, between batches."""
RESERVED_FOR_FACTS_BYTES: Final = 256 * 1024 * 1024
"""Free space under which events and audit are refused and facts are still taken."""

RESERVED_BYTES: Final = 16 * 1024 * 1024
"""Free space under which facts are refused too, so that SQLite itself can still work."""

SPACE_CHECK_EVERY: Final = 64
LOG_BYTES_MAX: Final = 16 * 1024 * 1024 * 1024
"""What the store may hold before records behind the snapshot go although they are young."""

RESULTS_MAX: Final = 1_000_000
"""First results kept; past this the oldest are forgotten although they are young."""


T = TypeVar("T")
FreeBytes = Callable[[Path], int]


def free_bytes(path: Path) -> int:
    """Return the bytes a process may still write to the file system under `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


class SqliteLog:
    """The `Log` port on one SQLite file.

    Open it with `SqliteLog.open`; it belongs to one process, which a lock file ensures.
    """

    def __init__(
        self,
        path: Path,
        *,
        vfs: str | None = None,
        free: FreeBytes = free_bytes,
        checkpoint_pages: int = CHECKPOINT_PAGES,
    ) -> None:
        self._path = path
        self._vfs = vfs
        self._free = free
        self._checkpoint_pages = checkpoint_pages
        self._sql = queries.load("queries.sql")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="hub-log-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="hub-log-reader")
        self._lock: IO[bytes] | None = None
        self._foreign = ForeignWrites()
        self._heads: dict[DomainId, DomainHead] = {}
        self._wal_pages = 0
        self._since_space_check = SPACE_CHECK_EVERY
        self._free_now = 0
        self._row_maker = Rows()
        self._insert_many = insert_many(self._sql["insert_record"])
        self._closed = False
        self._writing: apsw.Connection | None = None
        self._reading: apsw.Connection | None = None
        self._failed = ""
        self._pos = 0
        self.incarnation = ""
        self.refused = 0
        self.failures = 0

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        incarnation: str,
        exclusive: bool = True,
        vfs: str | None = None,
        free: FreeBytes = free_bytes,
        checkpoint_pages: int = CHECKPOINT_PAGES,
    ) -> SqliteLog:
        """Open or create the file.

        Args:
            path: the database file; its directory must exist.
            incarnation: the id a new log gets; an existing one keeps its own.
            exclusive: take the lock file, so that no second process opens the same store.
            vfs: an apsw VFS to open through (fault injection).
            free: tells the free bytes of a file system.
            checkpoint_pages: pages of write-ahead log after which the writer checkpoints.

        Raises:
            HubError: `store_in_use`, `store_too_new`, or `store_unavailable` if it cannot be opened.
        """
        log = cls(path, vfs=vfs, free=free, checkpoint_pages=checkpoint_pages)
        try:
            await log._in(log._writer, lambda: log._open(incarnation, exclusive=exclusive))
        except HubError:
            await log.close()
            raise
        except (apsw.Error, OSError) as error:
            await log.close()
            raise store_unavailable(f"{path}: {error}") from error
        return log

    @property
    def healthy(self) -> bool:
        """Whether writes are taken; once False it stays so until the store is opened again."""
        return not self._failed

    async def append(self, batch: Sequence[Append]) -> list[Verdict]:
        """Make a batch durable; see the port."""
        verdicts = await self._in(self._writer, lambda: self._append(batch))
        if self._wal_pages >= self._checkpoint_pages:
            self._wal_pages = 0
            # Queued behind what was answered: the caller does not wait for it, the next batch does.
            self._writer.submit(self._checkpoint)
        return verdicts

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return records after a position; see the port."""
        return await self._in(self._reader, lambda: self._select("read", (after, limit)))

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        """Return one domain's records after a position; see the port."""
        asked = (domain, after_seq, limit)
        return without_gap(await self._in(self._reader, lambda: self._select("read_domain", asked)))

    async def head(self) -> Head:
        """Return the end of the log."""
        rows = await self._in(self._reader, lambda: self._ask("head"))
        return Head(pos=rows[0][0] if rows else 0, incarnation=self.incarnation)

    async def lookup(self, key: Idempotency) -> bytes | None:
        """Return a first result; see the port."""
        rows = await self._in(self._reader, lambda: self._ask("result", (key.domain, key.source, key.id)))
        return rows[0][0] if rows else None

    async def verify(self, domain: DomainId) -> ChainCheck:
        """Verify one domain's hash chain, from where retention cut it to its head."""
        return await Chain(domain, self._ask_of, self._heads.get).verify()

    async def retain(
        self,
        *,
        behind_pos: int,
        before_ms: int,
        results_before_ms: int,
        told_before_ms: int = 0,
        bytes_max: int = LOG_BYTES_MAX,
    ) -> int:
        """Drop records that are behind a snapshot and older than the retention, oldest first.

        Args:
            behind_pos: position of a snapshot that is durable; nothing after it goes.
            before_ms: records written earlier may go, Unix epoch milliseconds.
            results_before_ms: first results kept before this are forgotten, and the oldest past `RESULTS_MAX`.
            told_before_ms: names of records that are written once are forgotten when they are older.
            bytes_max: while the store holds more than this, younger records behind the snapshot go too.

        Returns:
            How many records were dropped.
        """
        dropped = 0
        while True:
            count = await self._in(self._writer, lambda: self._retire(behind_pos, before_ms, bytes_max))
            dropped += count
            if count == 0:
                break
        surplus = await self._in(self._reader, lambda: self._ask("results_behind", (RESULTS_MAX,)))
        forget_before_ms = max(results_before_ms, surplus[0][0] if surplus else 0)
        while await self._in(self._writer, lambda: self._forget("drop_results", forget_before_ms)):
            pass
        while await self._in(self._writer, lambda: self._forget("drop_told", told_before_ms)):
            pass
        return dropped

    async def expire(self, domain: DomainId, *, after_seq: int, behind_pos: int, terms: Terms) -> Expired:
        """Drop some of the oldest records of one domain in one step; its chain stays whole over the gap.

        Args:
            after_seq, behind_pos: where to begin to look; position of a durable snapshot, after which nothing goes.

        Returns:
            What left, and how far was looked; the same again from there until that is 0.
        """
        return await self._in(self._writer, lambda: self._expire(domain, after_seq, behind_pos, terms))

    async def horizon(self, domain: DomainId) -> int:
        """Return the last position of a domain at which a record has left, 0 for none."""
        return (await self._in(self._reader, lambda: self._ask("horizon", (domain,))))[0][0]

    async def weigh(self, after_pos: int, limit: int) -> Weighed:
        """Return what events among the next `limit` records take, by domain."""
        return weighed(await self._in(self._reader, lambda: self._ask("weigh", (after_pos, limit))))

    async def load_keys(self) -> list[tuple[str, str, bytes]]:
        """Return every wrapped data key as (domain, key id, wrapped)."""
        return await self._in(self._reader, lambda: self._ask("data_keys"))

    async def put_key(self, domain: str, key_id: str, wrapped: bytes) -> None:
        """Keep a wrapped data key durably."""
        await self._in(self._writer, lambda: self._write("put_data_key", [(domain, key_id, wrapped)]))

    async def replace_keys(self, wrapped: Sequence[tuple[str, str, bytes]]) -> None:
        """Keep wrapped data keys otherwise, all in one step; one that was destroyed stays so."""
        await self._in(self._writer, lambda: self._write("replace_data_key", wrapped))

    async def forget_replaced(self) -> None:
        """Empty the write-ahead log, which still has pages with what was replaced."""
        await self._in(self._writer, lambda: self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE))

    async def drop_keys(self, domain: str, *, mark: str = "") -> None:
        """Destroy a domain's data keys: what was sealed under them is unreadable from then on."""
        await self._in(self._writer, lambda: self._forget_keys(domain, mark))

    async def close(self) -> None:
        """Finish what was accepted, checkpoint and let go of the file; closing twice is once."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._reader, self._close_reader)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._close)
        self._reader.shutdown()
        self._writer.shutdown()

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._closed:
            raise store_unavailable("closed")
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    async def _ask_of(self, _: DomainId, name: str, values: tuple[object, ...]) -> list[Any]:  # Any: as below
        return await self._in(self._reader, lambda: self._ask(name, values))

    def _open(self, incarnation: str, *, exclusive: bool) -> None:
        if exclusive:
            self._lock = locked(self._path)
        self._writing = writing_connection(self._path, self._vfs, incarnation)
        self._writing.set_wal_hook(self._note_wal)
        self._reading = reading_connection(self._path, self._vfs)
        self.incarnation = str(self._rows(self._connection, "incarnation")[0][0])
        self._learn()

    @property
    def _connection(self) -> apsw.Connection:
        assert self._writing is not None
        return self._writing

    def _learn(self) -> None:
        """Take over positions from the file; records of others become foreign."""
        rows = self._rows(self._connection, "head")
        self._pos = rows[0][0] if rows else 0
        self._heads = {domain: (seq, bytes(digest)) for domain, seq, digest in self._rows(self._connection, "heads")}

    def _append(self, batch: Sequence[Append]) -> list[Verdict]:
        if self._failed:
            self.refused += 1
            raise store_unavailable(self._failed)
        self._check_space(batch)
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except (apsw.BusyError, apsw.FullError) as error:
            self.refused += 1
            raise store_unavailable(str(error)) from error
        except apsw.Error as error:
            self._fail(error)
            raise store_unavailable(str(error)) from error
        try:
            self._note_foreign()
            placement = Placement(self._pos, self._heads.get)
            verdicts = placement.judge(batch, self._foreign, self._known_result, self._was_told)
            self._store(placement)
        except apsw.FullError as error:
            self._roll_back()
            self._since_space_check = SPACE_CHECK_EVERY
            self.refused += 1
            raise storage_full(str(error)) from error
        except apsw.Error as error:
            self._roll_back()
            self._fail(error)
            raise store_unavailable(str(error)) from error
        except BaseException:  # a record that cannot be stored must not leave its transaction open
            self._roll_back()
            raise
        self._commit()
        self._pos = placement.pos
        self._heads.update(placement.heads)
        return verdicts

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except apsw.FullError as error:
            self._roll_back()
            self.refused += 1
            raise storage_full(str(error)) from error
        except apsw.Error as error:
            self._roll_back()
            self._fail(error)
            raise outcome_unknown(str(error)) from error

    def _store(self, placement: Placement) -> None:
        connection = self._connection
        if placement.records:
            rows = self._row_maker.of(placement.records)
            whole = len(rows) - len(rows) % ROWS_A_STATEMENT
            for start in range(0, whole, ROWS_A_STATEMENT):
                flat = tuple(chain.from_iterable(rows[start : start + ROWS_A_STATEMENT]))
                connection.execute(self._insert_many, flat)
            if whole < len(rows):
                connection.executemany(self._sql["insert_record"], rows[whole:])
            heads = [(domain, seq, digest) for domain, (seq, digest) in placement.heads.items()]
            connection.executemany(self._sql["put_head"], [*heads, ("", placement.pos, b"")])
        if placement.results:
            at = placement.records[-1].time_ms if placement.records else 0
            connection.executemany(
                self._sql["put_result"],
                [(key.domain, key.source, key.id, at, result) for key, result in placement.results.items()],
            )
        if placement.told:
            at = placement.records[-1].time_ms
            connection.executemany(self._sql["put_told"], [(domain, name, at) for domain, name in placement.told])

    def _note_foreign(self) -> None:
        rows = self._rows(self._connection, "head")
        if not rows or rows[0][0] == self._pos:
            return
        for pos, domain, seq, streams, digest in self._rows(self._connection, "written_by_others", (self._pos,)):
            self._foreign.note(pos, domain, streams.split(STREAM_SEPARATOR))
            self._heads[domain] = (seq, bytes(digest))
            self._pos = pos

    def _known_result(self, key: Idempotency) -> bytes | None:
        rows = self._rows(self._connection, "result", (key.domain, key.source, key.id))
        return rows[0][0] if rows else None

    def _was_told(self, domain: DomainId, name: str) -> bool:
        return bool(self._rows(self._connection, "told", (domain, name)))

    def _check_space(self, batch: Sequence[Append]) -> None:
        self._since_space_check += 1
        if self._since_space_check >= SPACE_CHECK_EVERY:
            self._since_space_check = 0
            try:
                self._free_now = self._free(self._path.parent)
            except OSError as error:
                self._since_space_check = SPACE_CHECK_EVERY
                self.refused += 1
                raise store_unavailable(f"free space: {error}") from error
        if self._free_now >= RESERVED_FOR_FACTS_BYTES:
            return
        self._since_space_check = SPACE_CHECK_EVERY  # while it is tight, look every time
        only_facts = all(record.category is Category.FACT for append in batch for record in append.records)
        if self._free_now < RESERVED_BYTES or not only_facts:
            self.refused += 1
            raise storage_full(f"{self._free_now} bytes free")

    def _retire(self, behind_pos: int, before_ms: int, bytes_max: int) -> int:
        with self._transaction():
            return retire(self._connection, self._sql, behind_pos, before_ms, bytes_max)

    def _expire(self, domain: DomainId, after_seq: int, behind_pos: int, terms: Terms) -> Expired:
        with self._transaction():
            return expire(self._connection, self._sql, domain, after_seq, behind_pos, terms)

    def _forget(self, name: str, before_ms: int) -> int:
        with self._transaction():
            return forget(self._connection, self._sql[name], before_ms)

    def _forget_keys(self, domain: str, mark: str) -> None:
        with overwriting(self._connection), self._transaction():
            self._connection.execute(self._sql["drop_data_keys"], (domain,))
            if mark:
                self._connection.execute(self._sql["put_data_key"], (domain, mark, b""))
        self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)  # the write-ahead log still has the page

    def _write(self, name: str, rows: Sequence[Row]) -> None:
        with overwriting(self._connection), self._transaction():
            self._connection.executemany(self._sql[name], rows)

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        if self._failed:
            self.refused += 1
            raise store_unavailable(self._failed)
        try:
            with self._connection:
                yield
        except apsw.FullError as error:
            self.refused += 1
            raise storage_full(str(error)) from error
        except apsw.Error as error:
            self._fail(error)
            raise outcome_unknown(str(error)) from error

    def _rows(self, connection: apsw.Connection, name: str, values: Row = ()) -> list[Any]:  # Any: as above
        return list(connection.execute(self._sql[name], values))

    def _ask(self, name: str, values: Row = ()) -> list[Any]:  # Any: the columns' types differ
        try:
            assert self._reading is not None
            return self._rows(self._reading, name, values)
        except apsw.Error as error:
            raise store_unavailable(str(error)) from error

    def _select(self, name: str, values: Row) -> list[Record]:
        records, broken = decoded(self._ask(name, values))
        if broken:
            raise HubError(
                "unreadable_record",
                Kind.INTERNAL,
                "A stored record does not decode: its row was altered.",
                next_step="Verify the domain's chain; restore from a backup.",
            )
        return records

    def _note_wal(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> None:
        if self._failed:
            return
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.FullError:
            self.refused += 1  # the write-ahead log keeps growing instead; the next one tries again
        except apsw.BusyError:
            self._wal_pages = 0  # a reader holds it; after as many pages again it is tried again
        except apsw.Error as error:
            self._fail(error)

    def _fail(self, error: apsw.Error) -> None:
        self.failures += 1
        self._failed = f"{type(error).__name__}: {error}"

    def _roll_back(self) -> None:
        with contextlib.suppress(apsw.Error):  # a failed COMMIT may have rolled back already
            self._connection.execute("ROLLBACK")

    def _close_reader(self) -> None:
        if self._reading is not None:
            with contextlib.suppress(apsw.Error):  # reading changed nothing
                self._reading.close()

    def _close(self) -> None:
        if self._writing is not None:
            if self._failed:
                # What the disk says of itself after a failure is not to be built on: leave the
                # write-ahead log as it is for the next opening to judge.
                self._writing.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            with contextlib.suppress(apsw.Error):  # the last close checkpoints; on a full disk it cannot
                self._writing.close()
        self._failed = self._failed or "closed"
        if self._lock is not None:
            self._lock.close()
            self._lock = None
