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
import fcntl
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import apsw
import msgspec

from central_hub.adapters.sqlite import queries
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import (
    ChainCheck,
    ChainVerifier,
    DomainHead,
    ForeignWrites,
    Placement,
    outcome_unknown,
    storage_full,
    store_unavailable,
)
from central_hub.kernel.ports import Append, Head, Idempotency, Verdict
from central_hub.kernel.records import GENESIS_HASH, STREAM_SEPARATOR, Actor, Category, Record

SCHEMA_VERSION: Final = 1
CHECKPOINT_PAGES: Final = 8_192
"""Pages in the write-ahead log (32 MiB) after which the writer checkpoints, between batches."""

BUSY_TIMEOUT_MS: Final = 100
RESERVED_FOR_FACTS_BYTES: Final = 256 * 1024 * 1024
"""Free space under which events and audit are refused and facts are still taken."""

RESERVED_BYTES: Final = 16 * 1024 * 1024
"""Free space under which facts are refused too, so that SQLite itself can still work."""

SPACE_CHECK_EVERY: Final = 64
RETIRE_SLICE: Final = 1_000
VERIFY_PAGE: Final = 1_000

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

    def __init__(self, path: Path, *, vfs: str | None = None, free: FreeBytes = free_bytes) -> None:
        self._path = path
        self._vfs = vfs
        self._free = free
        self._sql = queries.load("queries.sql")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="hub-log-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="hub-log-reader")
        self._lock: IO[bytes] | None = None
        self._foreign = ForeignWrites()
        self._heads: dict[DomainId, DomainHead] = {}
        self._wal_pages = 0
        self._since_space_check = SPACE_CHECK_EVERY
        self._free_now = 0
        self._actors: dict[Actor, bytes] = {}
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
    ) -> SqliteLog:
        """Open or create the file.

        Args:
            path: the database file; its directory must exist.
            incarnation: the id a new log gets; an existing one keeps its own.
            exclusive: take the lock file, so that no second process opens the same store.
            vfs: an apsw VFS to open through (fault injection).
            free: tells the free bytes of a file system.

        Raises:
            HubError: `store_in_use`, `store_too_new`, or `store_unavailable` if it cannot be opened.
        """
        log = cls(path, vfs=vfs, free=free)
        try:
            await log._in(log._writer, lambda: log._open(incarnation, exclusive=exclusive))
        except HubError:
            await log.close()
            raise
        except apsw.Error as error:
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
        if self._wal_pages >= CHECKPOINT_PAGES:
            self._wal_pages = 0
            # Queued behind what was answered: the caller does not wait for it, the next batch does.
            self._writer.submit(self._checkpoint)
        return verdicts

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return records after a position; see the port."""
        return await self._in(self._reader, lambda: self._select("read", (after, limit)))

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        """Return one domain's records after a position; see the port."""
        return await self._in(self._reader, lambda: self._select("read_domain", (domain, after_seq, limit)))

    async def head(self) -> Head:
        """Return the end of the log."""
        rows = await self._in(self._reader, lambda: self._rows(self._read_connection, "head"))
        return Head(pos=rows[0][0] if rows else 0, incarnation=self.incarnation)

    async def lookup(self, key: Idempotency) -> bytes | None:
        """Return a first result; see the port."""
        rows = await self._in(
            self._reader, lambda: self._rows(self._read_connection, "result", (key.domain, key.source, key.id))
        )
        return rows[0][0] if rows else None

    async def verify(self, domain: DomainId) -> ChainCheck:
        """Verify one domain's hash chain, from where retention cut it to its head."""
        anchors = await self._in(self._reader, lambda: self._rows(self._read_connection, "anchor", (domain,)))
        anchor: DomainHead = anchors[0] if anchors else (0, GENESIS_HASH)
        verifier = ChainVerifier(anchor)
        head = self._heads.get(domain)
        after = anchor[0]
        while True:
            records = await self.read_domain(domain, after, VERIFY_PAGE)
            if head is not None:
                records = [record for record in records if record.domain_seq <= head[0]]
            if not records:
                return verifier.finish(head)
            verifier.check(records)
            after = records[-1].domain_seq

    async def retain(self, *, behind_pos: int, before_ms: int, results_before_ms: int) -> int:
        """Drop records that are behind a snapshot and older than the retention.

        Args:
            behind_pos: position of a snapshot that is durable; nothing after it goes.
            before_ms: records written earlier may go, Unix epoch milliseconds.
            results_before_ms: first results kept before this are forgotten.

        Returns:
            How many records were dropped.
        """
        dropped = 0
        while True:
            count = await self._in(self._writer, lambda: self._retire(behind_pos, before_ms))
            dropped += count
            if count < RETIRE_SLICE:
                break
        await self._in(self._writer, lambda: self._write("drop_results", [(results_before_ms,)]))
        return dropped

    async def load_keys(self) -> list[tuple[str, str, bytes]]:
        """Return every wrapped data key as (domain, key id, wrapped)."""
        return await self._in(self._reader, lambda: self._rows(self._read_connection, "data_keys"))

    async def put_key(self, domain: str, key_id: str, wrapped: bytes) -> None:
        """Keep a wrapped data key durably."""
        await self._in(self._writer, lambda: self._write("put_data_key", [(domain, key_id, wrapped)]))

    async def drop_keys(self, domain: str) -> None:
        """Destroy a domain's data keys: what was sealed under them is unreadable from then on."""
        await self._in(self._writer, lambda: self._write("drop_data_keys", [(domain,)]))

    async def close(self) -> None:
        """Finish what was accepted, checkpoint and let go of the file."""
        await self._in(self._writer, self._close)
        self._reader.shutdown(wait=True)
        self._writer.shutdown(wait=True)

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    def _open(self, incarnation: str, *, exclusive: bool) -> None:
        if exclusive:
            self._lock = _locked(self._path.with_suffix(".lock"))
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        self._connection = apsw.Connection(str(self._path), flags=flags, vfs=self._vfs)
        self._configure(self._connection)
        self._connection.set_wal_hook(self._note_wal)
        self._migrate(incarnation)
        self._read_connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=self._vfs)
        self._configure(self._read_connection)
        self._read_connection.pragma("query_only", True)
        self.incarnation = str(self._rows(self._connection, "incarnation")[0][0])
        self._learn()

    def _configure(self, connection: apsw.Connection) -> None:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("mmap_size", 0)
        connection.pragma("cache_size", -16_384)
        connection.wal_autocheckpoint(0)

    def _migrate(self, incarnation: str) -> None:
        tables = list(self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'"))
        if not tables:
            with self._connection:
                self._connection.execute(queries.load("schema.sql")["schema"])
                self._connection.execute(self._sql["put_meta"], ("schema_version", str(SCHEMA_VERSION)))
                self._connection.execute(self._sql["put_meta"], ("incarnation", incarnation))
        version = int(self._rows(self._connection, "schema_version")[0][0])
        if version > SCHEMA_VERSION:
            raise HubError(
                "store_too_new",
                Kind.UNAVAILABLE,
                f"The store has schema {version}; this hub knows {SCHEMA_VERSION}.",
                next_step="Start a hub at least as new as the one that wrote it.",
            )

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
        except apsw.Error as error:
            self.refused += 1
            raise store_unavailable(str(error)) from error
        try:
            self._note_foreign()
            placement = Placement(self._pos, self._heads.get)
            verdicts = placement.judge(batch, self._foreign, self._known_result)
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
            actors = self._actors
            rows: list[tuple[Any, ...]] = []  # Any: the columns' types differ
            for one in placement.records:
                actor = actors.get(one.actor)
                if actor is None:
                    actor = self._actor(one.actor)
                rows.append(
                    (
                        one.pos, one.domain, one.domain_seq, STREAM_SEPARATOR.join(one.streams), one.category.value,
                        one.type, one.schema_rev, one.id, one.time_ms, actor, one.key_id, one.prev_hash, one.hash,
                        one.data,
                    )
                )  # fmt: skip
            connection.executemany(self._sql["insert_record"], rows)
            heads = [(domain, seq, digest) for domain, (seq, digest) in placement.heads.items()]
            connection.executemany(self._sql["put_head"], [*heads, ("", placement.pos, b"")])
        if placement.results:
            at = placement.records[-1].time_ms if placement.records else 0
            connection.executemany(
                self._sql["put_result"],
                [(key.domain, key.source, key.id, at, result) for key, result in placement.results.items()],
            )

    def _actor(self, actor: Actor) -> bytes:
        if len(self._actors) >= 1_024:
            self._actors.clear()
        encoded = self._actors[actor] = msgspec.msgpack.encode(actor)
        return encoded

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

    def _check_space(self, batch: Sequence[Append]) -> None:
        self._since_space_check += 1
        if self._since_space_check >= SPACE_CHECK_EVERY:
            self._since_space_check = 0
            self._free_now = self._free(self._path.parent)
        if self._free_now >= RESERVED_FOR_FACTS_BYTES:
            return
        self._since_space_check = SPACE_CHECK_EVERY  # while it is tight, look every time
        only_facts = all(record.category is Category.FACT for append in batch for record in append.records)
        if self._free_now < RESERVED_BYTES or not only_facts:
            self.refused += 1
            raise storage_full(f"{self._free_now} bytes free")

    def _retire(self, behind_pos: int, before_ms: int) -> int:
        if self._failed:
            raise store_unavailable(self._failed)
        rows = self._rows(self._connection, "retire_scan", (behind_pos, before_ms, RETIRE_SLICE))
        if rows:
            # Positions only grow with time up to clock steps: stop at the first gap, so that what
            # is dropped is a prefix of the log and every chain keeps a clean cut.
            first = rows[0][0]
            whole = [row for offset, row in enumerate(rows) if row[0] == first + offset]
            anchors = {domain: (domain, seq, digest) for _, domain, seq, digest in whole}
            with self._connection:
                self._connection.executemany(self._sql["put_anchor"], list(anchors.values()))
                self._connection.execute(self._sql["retire"], (whole[-1][0],))
            return len(whole)
        return 0

    def _write(self, name: str, rows: list[tuple[Any, ...]]) -> None:  # Any: the columns' types differ
        if self._failed:
            self.refused += 1
            raise store_unavailable(self._failed)
        try:
            with self._connection:
                self._connection.executemany(self._sql[name], rows)
        except apsw.FullError as error:
            self.refused += 1
            raise storage_full(str(error)) from error
        except apsw.Error as error:
            self._fail(error)
            raise outcome_unknown(str(error)) from error

    def _rows(self, connection: apsw.Connection, name: str, values: tuple[Any, ...] = ()) -> list[Any]:  # Any: columns
        return list(connection.execute(self._sql[name], values))

    def _select(self, name: str, values: tuple[Any, ...]) -> list[Record]:  # Any: the columns' types differ
        try:
            return [_record(row) for row in self._read_connection.execute(self._sql[name], values)]
        except apsw.Error as error:
            raise store_unavailable(str(error)) from error

    def _note_wal(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        if self._failed:
            return
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.FullError:
            self.refused += 1  # the write-ahead log keeps growing instead; the next one tries again
        except apsw.BusyError:
            self._wal_pages = 0
        except apsw.Error as error:
            self._fail(error)

    def _fail(self, error: apsw.Error) -> None:
        self.failures += 1
        self._failed = f"{type(error).__name__}: {error}"

    def _roll_back(self) -> None:
        with contextlib.suppress(apsw.Error):  # a failed COMMIT may have rolled back already
            self._connection.execute("ROLLBACK")

    def _close(self) -> None:
        self._failed = self._failed or "closed"
        for name in ("_read_connection", "_connection"):
            connection: apsw.Connection | None = getattr(self, name, None)
            if connection is not None:
                with contextlib.suppress(apsw.Error):  # the last close checkpoints; on a full disk it cannot
                    connection.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _record(row: tuple[Any, ...]) -> Record:  # Any: the columns' types differ
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


def _locked(path: Path) -> IO[bytes]:
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise HubError(
            "store_in_use",
            Kind.UNAVAILABLE,
            f"Another process holds the store ({path.parent}).",
            next_step="Stop the other hub, or give this one a directory of its own with --data.",
        ) from None
    return lock
