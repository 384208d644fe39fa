"""The log on PostgreSQL.

A batch is one transaction: it locks the head's row, is judged behind that lock command by
command, and is written with one statement. Whoever appends next waits for the commit, so
positions are given in the order in which records become visible.

When the store is away every write is refused with `store_unavailable` at once, until it is found
again. A batch whose commit was sent and not answered is `outcome_unknown`; what became of it
shows when the store is back. When its disk is full the batch is refused with `storage_full`.
Refusals and losses are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from central_hub.adapters.clock import since_boot_ms
from central_hub.adapters.named_queries import named, text_of
from central_hub.adapters.postgres.address import Address
from central_hub.adapters.postgres.batches import HERE_MAX, columns_of, domains_of, records_of
from central_hub.adapters.postgres.connection import (
    FULL,
    LOST,
    READ_ONLY,
    UNFIT,
    Connection,
    Refused,
    Row,
    connect,
    reason_of,
)
from central_hub.adapters.postgres.hold import Hold
from central_hub.adapters.postgres.members import Joining, Members
from central_hub.adapters.postgres.migrations import PACKAGE
from central_hub.adapters.postgres.retention import expire, forget_results, forget_told, retire
from central_hub.adapters.postgres.session import EVERY_DOMAIN, Session, scoped
from central_hub.adapters.postgres.signalling import SealedSignals
from central_hub.adapters.record_rows import Rows, weighed, without_gap
from central_hub.adapters.verifying import Chain
from central_hub.kernel.errors import HubError
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
from central_hub.kernel.records import STREAM_SEPARATOR, Record

READ_S: Final = 10.0
APPEND_S: Final = 10.0
TAKEN_OFF: Final = "this hub was taken off the roster; it joins again"
ERRAND_S: Final = 120.0
ERRANDS_MAX: Final = 3
"""Connections beside the session's own at the same time; who wants another waits."""


class PostgresLog:
    """The `Log` port on PostgreSQL; open it with `PostgresLog.open`."""

    def __init__(self, hold: Hold, sql: dict[str, str]) -> None:
        self._hold = hold
        self._sql = sql
        self._foreign = ForeignWrites()
        self._heads: dict[DomainId, DomainHead] = {}
        self._row_maker = Rows()
        self._errands = asyncio.Semaphore(ERRANDS_MAX)
        self.refused = 0

    @classmethod
    async def open(
        cls, address: Address, *, mint: Callable[[], str], exclusive: bool = True, joining: Joining | None = None
    ) -> PostgresLog:
        """Open the store.

        Args:
            address: where it is.
            mint: makes the id of a new history; an existing one keeps its own.
            exclusive: be the only hub that writes to it.
            joining: share it with others, as this one.

        Raises:
            HubError: `store_unavailable`, `store_in_use`, `store_not_prepared`, `store_too_new`, `store_altered`,
                `unsafe_store`, `unsafe_store_role`.
        """
        sql = named(text_of(PACKAGE, "queries.sql"))
        members = None if joining is None else Members(joining, sql, since_boot_ms)
        hold = Hold(
            address, sql, exclusive=exclusive and members is None, mint=mint, members=members,
            signals=None if joining is None or members is None else SealedSignals(joining.process, members.has_others),
        )  # fmt: skip
        session = await hold.begin()
        log = cls(hold, sql)
        try:
            rows = await scoped(session.read, sql, EVERY_DOMAIN, sql["heads"])
        except (*LOST, Refused) as error:
            await hold.close()
            raise store_unavailable(reason_of(error)) from error
        log._heads = {row[0]: (row[1], row[2]) for row in rows}
        hold.keep()
        return log

    @property
    def incarnation(self) -> str:
        """Which history it is."""
        return self._hold.known.incarnation

    @property
    def healthy(self) -> bool:
        """Whether writes are taken now."""
        return not self.unwell

    @property
    def unwell(self) -> str:
        """Why no writes are taken, empty while they are."""
        if self._hold.rewound:
            return f"the store's history changed ({self._hold.rewound}); the hub begins anew"
        if self.members is not None and self.members.refused:
            return self.members.refused
        return f"the store is away: {self._hold.away}" if self._hold.away else ""

    @property
    def members(self) -> Members | None:
        """This hub's place among those that share the store; None when it has it for itself."""
        return self._hold.members

    @property
    def signals(self) -> SealedSignals | None:
        """What they say to each other."""
        return self._hold.signals

    async def join(self, pos: Callable[[], int]) -> None:
        """Share in the work; call it when this hub can do some.

        Args:
            pos: says how far this hub has applied the log, for the others to see.

        Raises:
            HubError: `store_unavailable`.
        """
        if self.members is not None:
            self.members.pos = pos
            await self.members.join(self._hold.hint)

    async def leave(self) -> None:
        """Let the others have this hub's work at once.

        Raises:
            HubError: `store_unavailable`: they have it when this hub has been silent for a while.
        """
        if self.members is not None:
            await self.members.leave(self._hold.hint)

    @property
    def host(self) -> str:
        """The address of the host it is on now; it may hold a password.

        Raises:
            HubError: `store_unavailable` while it is away.
        """
        return self._hold.here().host

    @property
    def losses(self) -> int:
        """How often the store was lost."""
        return self._hold.losses

    @property
    def stale_ms(self) -> int:
        """Milliseconds since the store last said where its log ends; 0 while it answers."""
        return int(self._hold.stale_s * 1_000) if self._hold.away or self._hold.rewound else 0

    def follow(self, moved: Callable[[], None], rewound: Callable[[], None]) -> None:
        """Call `moved` when there may be records this hub has not read, `rewound` when its views must be made anew."""
        self._hold.on_moved, self._hold.on_rewound = moved, rewound
        if self._hold.rewound:
            rewound()

    async def append(self, batch: Sequence[Append]) -> list[Verdict]:
        """Make a batch durable; see the port."""
        domains = domains_of(batch)
        session = self._session_for_writing()
        async with session.writing:
            sent = False

            def sending() -> None:
                nonlocal sent
                sent = True

            try:
                async with asyncio.timeout(APPEND_S):
                    return await self._append(session, batch, domains, sending)
            except FULL as error:
                await self._roll_back(session)
                self.refused += 1
                raise storage_full(reason_of(error)) from error
            except UNFIT as error:
                await self._roll_back(session)
                self.refused += 1
                raise store_unavailable(reason_of(error)) from error
            except (*LOST, *READ_ONLY) as error:
                self._hold.lose(session, reason_of(error))
                self.refused += 1
                raise (outcome_unknown if sent else store_unavailable)(reason_of(error)) from error
            except Refused as error:
                # Before the commit it was not written; what the commit itself says no to is not either.
                await self._roll_back(session)
                self.refused += 1
                raise store_unavailable(reason_of(error)) from error
            except BaseException:
                self._hold.lose(session, "a batch was broken off")
                raise

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return records after a position; see the port."""
        return await records_of(await self._ask(EVERY_DOMAIN, "read", after, limit))

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        """Return one domain's records after a position; see the port."""
        return without_gap(await records_of(await self._ask(domain, "read_domain", domain, after_seq, limit)))

    async def head(self) -> Head:
        """Return the end of the log."""
        rows = await self._ask("", "head")
        return Head(pos=rows[0]["pos"], incarnation=rows[0]["incarnation"])

    async def lookup(self, key: Idempotency) -> bytes | None:
        """Return a first result; see the port."""
        rows = await self._ask(key.domain, "result", key.domain, key.source, key.id)
        return rows[0]["result"] if rows else None

    async def verify(self, domain: DomainId) -> ChainCheck:
        """Verify one domain's hash chain, from where retention cut it to its head."""
        return await Chain(domain, self._ask_of, self._heads.get).verify()

    async def retain(self, *, behind_pos: int, before_ms: int, results_before_ms: int, told_before_ms: int = 0) -> int:
        """Drop records that are behind a snapshot and older than the retention, oldest first.

        How much the database may hold is its operator's to watch: only age lets records go here.

        Args:
            behind_pos: position of a snapshot that is durable; nothing after it goes.
            before_ms: records written earlier may go, Unix epoch milliseconds.
            results_before_ms: first results kept before this are forgotten, and the oldest where there are very many.
            told_before_ms: names of records that are written once are forgotten when they are older.

        Returns:
            How many records were dropped.
        """
        async with self.errand() as connection:
            dropped = await retire(connection, self._sql, behind_pos, before_ms)
            await forget_results(connection, self._sql, results_before_ms)
            await forget_told(connection, self._sql, told_before_ms)
        return dropped

    async def expire(self, domain: DomainId, *, after_seq: int, behind_pos: int, terms: Terms) -> Expired:
        """Drop some of the oldest records of one domain in one step; its chain stays whole over the gap.

        Args:
            after_seq: where to begin to look.
            behind_pos: position of a snapshot that is durable; nothing after it goes.

        Returns:
            What left, and how far was looked; the same again from there until that is 0.
        """
        async with self.errand(domain) as connection:
            return await expire(connection, self._sql, domain, after_seq, behind_pos, terms)

    async def horizon(self, domain: DomainId) -> int:
        """Return the last position of a domain at which a record has left, 0 for none."""
        return (await self._ask(domain, "horizon", domain))[0][0]

    async def weigh(self, after_pos: int, limit: int) -> Weighed:
        """Return what events among the next `limit` records take, by domain."""
        return weighed(tuple(row) for row in await self._ask(EVERY_DOMAIN, "weigh", after_pos, limit))

    async def load_keys(self) -> list[tuple[str, str, bytes]]:
        """Return every wrapped data key as (domain, key id, wrapped), in the order they came in."""
        rows = await self._ask(EVERY_DOMAIN, "data_keys")
        return [(row["domain"], row["key_id"], row["wrapped"]) for row in rows]

    async def put_key(self, domain: str, key_id: str, wrapped: bytes) -> None:
        """Keep a wrapped data key durably."""
        async with self.errand(domain) as connection:
            await connection.execute(self._sql["put_data_key"], domain, key_id, wrapped)

    async def replace_keys(self, wrapped: Sequence[tuple[str, str, bytes]]) -> None:
        """Keep wrapped data keys otherwise, all in one step; one that was destroyed stays so."""
        async with self.errand(EVERY_DOMAIN) as connection:
            await connection.executemany(self._sql["replace_data_key"], wrapped)

    async def forget_replaced(self) -> None:
        """Leave the old pages to the server, which frees them when it vacuums, as its backups do when they expire."""

    async def drop_keys(self, domain: str, *, mark: str = "") -> None:
        """Destroy a domain's data keys: what was sealed under them is unreadable from then on.

        The server's files hold the old pages until it has vacuumed, its backups until they expire.
        """
        async with self.errand(domain) as connection:
            await connection.execute(self._sql["drop_data_keys"], domain)
            if mark:
                await connection.execute(self._sql["put_data_key"], domain, mark, b"")

    @contextlib.asynccontextmanager
    async def errand(self, domains: str = "") -> AsyncGenerator[Connection]:
        """Lend a connection of its own for something rare; in one transaction when it is about some domains.

        Raises:
            HubError: `store_unavailable`, `outcome_unknown`.
        """
        session = self._session_for_writing()
        sent = False
        connection: Connection | None = None
        try:
            async with asyncio.timeout(ERRAND_S), self._errands:
                connection = await connect(session.host)
                if not domains:
                    yield connection
                    return
                if self.members is not None:
                    await connection.execute(self._sql["impatient"])
                await connection.execute("BEGIN")
                await connection.execute(self._sql["scope"], domains)
                # Behind the head's lock like every write, so that a session that lost the store writes nothing late.
                await connection.fetchrow(self._sql["lock_head"], domains)
                self._hold.here()
                await self._check_roster(connection)
                yield connection
                sent = True
                await connection.execute("COMMIT")
        except (*LOST, *READ_ONLY, Refused) as error:
            raise (outcome_unknown if sent else store_unavailable)(reason_of(error)) from error
        finally:
            if connection is not None:
                with contextlib.suppress(*LOST, Refused):
                    await connection.close(timeout=1.0)

    @contextlib.asynccontextmanager
    async def aside(self, domains: str) -> AsyncGenerator[Connection]:
        """Lend the connection that reads, in one transaction about some domains, for what is small and no record.

        Raises:
            HubError: `store_unavailable`.
        """
        session = self._session_for_writing()
        try:
            async with asyncio.timeout(ERRAND_S), session.reading, session.read.transaction():
                await session.read.execute(self._sql["scope"], domains)
                await self._check_roster(session.read)
                yield session.read
        except (*LOST, *READ_ONLY) as error:
            self._hold.lose(session, reason_of(error))
            raise store_unavailable(reason_of(error)) from error
        except Refused as error:
            raise store_unavailable(reason_of(error)) from error

    async def close(self) -> None:
        """Let go of the store; closing twice is once."""
        if not self._hold.closed:
            await self._hold.close()

    def _session_for_writing(self) -> Session:
        if self._hold.rewound:
            self.refused += 1
            raise store_unavailable(self._hold.rewound)
        try:
            return self._hold.here()
        except HubError:
            self.refused += 1
            raise

    async def _append(
        self, session: Session, batch: Sequence[Append], domains: str, sending: Callable[[], None]
    ) -> list[Verdict]:
        connection, sql = session.write, self._sql
        records = sum(len(append.records) for append in batch)
        await connection.execute("BEGIN")
        row = await connection.fetchrow(sql["lock_head"], domains)
        assert row is not None
        if row["incarnation"] != self.incarnation:
            await self._roll_back(session)
            raise store_unavailable("the history was renamed")
        if row["pos"] != self._hold.known.pos:
            await self._note_foreign(connection, domains)
        known = await self._known_results(connection, batch)
        told = await self._known_told(connection, batch)
        placement = Placement(self._hold.known.pos, self._heads.get)

        def place() -> tuple[list[Verdict], list[object]]:
            verdicts = placement.judge(batch, self._foreign, known.get, lambda domain, once: (domain, once) in told)
            return verdicts, columns_of(placement, self._row_maker)

        verdicts, columns = place() if records <= HERE_MAX else await asyncio.to_thread(place)
        if not placement.records and not placement.results:
            await connection.execute("ROLLBACK")
            return verdicts
        done = await connection.execute(sql["append"], *columns, *self._fence())
        if not done.endswith(" 1"):
            await self._roll_back(session)
            self._hold.hint()
            raise store_unavailable(TAKEN_OFF)
        session.warnings.clear()
        sending()
        await connection.execute("COMMIT")
        if session.warnings:
            # A wait for a standby was cancelled: committed here, and perhaps nowhere else.
            raise outcome_unknown(session.warnings[0])
        self._heads.update(placement.heads)
        if placement.records:
            self._hold.known.pos, self._hold.known.last_id = placement.pos, placement.records[-1].id
            self._hold.committed(session)
        return verdicts

    async def _check_roster(self, connection: Connection) -> None:
        """Hold this hub's place on the roster until the transaction ends.

        Raises:
            HubError: `store_unavailable`: it was taken off; what it still wants to write is somebody else's by now.
        """
        fence = self._fence()
        if fence[0] is not None and not await connection.fetchval(self._sql["on_roster"], *fence):
            raise store_unavailable(TAKEN_OFF)

    def _fence(self) -> tuple[str | None, int | None]:
        return (None, None) if self.members is None else self.members.fence

    async def _note_foreign(self, connection: Connection, domains: str) -> None:
        """Take note of what others wrote, or this hub itself in a batch that was never confirmed."""
        known = self._hold.known
        await connection.execute(self._sql["scope"], EVERY_DOMAIN)
        for row in await connection.fetch(self._sql["written_by_others"], known.pos):
            self._foreign.note(row["pos"], row["domain"], row["streams"].split(STREAM_SEPARATOR))
            self._heads[row["domain"]] = (row["domain_seq"], row["hash"])
            known.pos, known.last_id = row["pos"], row["id"]
        await connection.execute(self._sql["scope"], domains)

    async def _known_results(self, connection: Connection, batch: Sequence[Append]) -> dict[Idempotency, bytes]:
        keys = [append.idempotency for append in batch if append.idempotency is not None]
        if not keys:
            return {}
        asked = ([key.domain for key in keys], [key.source for key in keys], [key.id for key in keys])
        rows = await connection.fetch(self._sql["known_results"], *asked)
        return {Idempotency(domain=row[0], source=row[1], id=row[2]): row[3] for row in rows}

    async def _known_told(self, connection: Connection, batch: Sequence[Append]) -> set[tuple[DomainId, str]]:
        names = [(record.domain, record.once) for append in batch for record in append.records if record.once]
        if not names:
            return set()
        return {(row[0], row[1]) for row in await connection.fetch(self._sql["known_told"], *zip(*names, strict=True))}

    async def _roll_back(self, session: Session) -> None:
        try:
            async with asyncio.timeout(READ_S):
                await session.write.execute("ROLLBACK")
        except (*LOST, Refused) as error:
            self._hold.lose(session, reason_of(error))

    async def _ask(self, domains: str, name: str, *values: object) -> list[Row]:
        session = self._hold.here()
        try:
            async with asyncio.timeout(READ_S), session.reading:
                return await scoped(session.read, self._sql, domains, self._sql[name], *values)
        except LOST as error:
            self._hold.lose(session, reason_of(error))
            raise store_unavailable(reason_of(error)) from error
        except Refused as error:
            raise store_unavailable(reason_of(error)) from error

    async def _ask_of(self, domain: DomainId, name: str, values: tuple[object, ...]) -> list[Row]:
        return await self._ask(domain, name, *values)
