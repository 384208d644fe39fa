"""The hub's hold on its store: three connections to one server, made together and given up together.

One writes, one reads, one watches. The one that writes holds the lock that makes its hub the only
one, or one of those that share the store; with the session it goes, so a hub that was cut off cannot
write any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from central_hub.adapters.postgres.address import Address
from central_hub.adapters.postgres.connection import LOST, Connection, Refused, Row, connect, reason_of
from central_hub.adapters.postgres.judging import Sql, judge_role, judge_server
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.placing import store_unavailable

EVERY_DOMAIN: Final = "*"
"""What a transaction says that is about all domains: a replay, retention, the hub's own secrets."""
CHANNEL: Final = "central_hub"
"""Where commits are hinted at; the head is the truth."""
SIGNALS_CHANNEL: Final = "central_hub_signals"
"""Where hubs that share the store speak to each other."""

Take = Callable[[str], None]


class Standing:
    """What is known of a store's history: where it ended, with which record, under which name, and where that was."""

    __slots__ = ("incarnation", "last_id", "place", "pos")

    def __init__(self, *, pos: int, last_id: str | None, incarnation: str, place: str) -> None:
        self.pos = pos
        self.last_id = last_id
        self.incarnation = incarnation
        self.place = place


class Session:
    """Three connections to one server."""

    def __init__(self, host: str, write: Connection, read: Connection, watch: Connection) -> None:
        self.host = host
        self.write = write
        self.read = read
        self.watch = watch
        self.reading = asyncio.Lock()
        self.writing = asyncio.Lock()
        self.hinted = asyncio.Event()
        self.warnings: list[str] = []
        self.here = ""

    @property
    def pid(self) -> int:
        """The server's process that writes for this hub."""
        return self.write.get_server_pid()

    def hint(self, connection: object, pid: int, *_: object) -> None:
        """Take note that somebody committed; what this hub said itself is no news."""
        if pid != self.watch.get_server_pid():
            self.hinted.set()

    async def share(self, sql: Sql, take: Take) -> None:
        """Share the store: keep out hubs that do not, hold nobody up, and hear what the others say.

        Raises:
            HubError: `store_in_use` when a hub has the store for itself.
        """
        if not await self.write.fetchval(sql["take_shared_lock"]):
            raise _in_use("A hub that does not share the store holds it.", "Start that hub with --advertise too.")

        def heard(connection: object, pid: int, channel: str, payload: str) -> None:
            if pid != self.watch.get_server_pid():
                take(payload)

        await self.write.execute(sql["impatient"])
        await self.watch.execute(sql["unhurried"])
        await self.watch.add_listener(SIGNALS_CHANNEL, heard)

    def end(self) -> None:
        """Give the connections up at once, whatever they are doing."""
        for each in (self.write, self.read, self.watch):
            with contextlib.suppress(*LOST):
                each.terminate()

    async def close(self) -> None:
        """Close the connections in order."""
        for each in (self.watch, self.read, self.write):
            with contextlib.suppress(*LOST, Refused):
                await each.close(timeout=1.0)
        self.end()


async def open_session(host: str, sql: Sql, *, exclusive: bool, own_pid: int = 0, take: Take | None = None) -> Session:
    """Connect three times to a host and judge it.

    Args:
        host: an address of `Address.hosts`.
        sql: the queries.
        exclusive: take the lock of the one hub.
        own_pid: the server's process of this hub's last session, which is ended if it still holds the lock.
        take: given what other hubs say, where the store is shared.

    Raises:
        HubError: `unsafe_store`, `unsafe_store_role`, `store_not_prepared`, `store_in_use`, …
        Exception: one of `LOST` or `Refused`.
    """
    made: list[Connection] = []
    try:
        for _ in range(3):
            made.append(await connect(host))
        session = Session(host, *made)
        for each in made:
            await judge_server(each, sql)
        await judge_role(session.write, sql)
        if exclusive:
            await _take_lock(session.write, sql, own_pid)
        if take is not None:
            await session.share(sql, take)
        session.here = await session.write.fetchval(sql["here"])
        session.write.add_log_listener(lambda _, message: session.warnings.append(str(message)))
        await session.watch.add_listener(CHANNEL, session.hint)
    except BaseException:
        for each in made:
            each.terminate()
        raise
    return session


async def open_any(
    address: Address,
    sql: Sql,
    *,
    exclusive: bool,
    own_pid: int = 0,
    known: Standing | None = None,
    take: Take | None = None,
) -> tuple[Session, Standing]:
    """Open a session with a host that takes writes: one whose history goes on from what is known before any other.

    Returns:
        The session, and how the store stands there.

    Raises:
        HubError: `store_unavailable` when no host takes writes, or the refusal of the one that does.
    """
    reasons: list[str] = []
    refusal: HubError | None = None
    other: tuple[Session, Standing] | None = None
    for host, name in zip(address.hosts, address.names, strict=True):
        try:
            session = await open_session(host, sql, exclusive=exclusive, own_pid=own_pid, take=take)
        except HubError as refused:
            refusal = refused
            continue
        except (*LOST, Refused, ValueError) as error:
            reasons.append(f"{name}: {reason_of(error)}")
            continue
        try:
            standing = await stand(session.read, sql, known)
        except (*LOST, Refused) as error:
            session.end()
            reasons.append(f"{name}: {reason_of(error)}")
            continue
        if known is None or goes_on(known, standing):
            if other is not None:
                other[0].end()
            return session, standing
        if other is None:
            other = session, standing
        else:
            session.end()
    if other is not None:
        return other
    raise refusal or store_unavailable("; ".join(reasons))


async def stand(connection: Connection, sql: Sql, known: Standing | None) -> Standing:
    """Return how the store stands, with the id of the record where what is known ended."""
    row = await connection.fetchrow(sql["standing"])
    if row is None:
        return Standing(pos=0, last_id=None, incarnation="", place="")
    at = row["pos"] if known is None else known.pos
    rows = await scoped(connection, sql, EVERY_DOMAIN, sql["id_at"], at)
    return Standing(
        pos=row["pos"], last_id=rows[0]["id"] if rows else None, incarnation=row["incarnation"], place=row["place"]
    )


def goes_on(known: Standing, now: Standing) -> bool:
    """Say whether the history that a store has now goes on from the one that was known."""
    return now.incarnation == known.incarnation and now.pos >= known.pos and now.last_id == known.last_id


async def scoped(connection: Connection, sql: Sql, domains: str, query: str, *values: object) -> list[Row]:
    """Run one query that is about some domains, `*` for all; returns its rows."""
    async with connection.transaction():
        await connection.execute(sql["scope"], domains)
        return await connection.fetch(query, *values)


async def _take_lock(connection: Connection, sql: Sql, own_pid: int) -> None:
    if await connection.fetchval(sql["take_hub_lock"]):
        return
    holder = await connection.fetchval(sql["who_holds"])
    if own_pid and holder == own_pid:
        # The server has not missed the connection that this hub gave up.
        await connection.execute(sql["end_session"], own_pid)
        raise store_unavailable("this hub's last session is being ended")
    raise _in_use(
        "Another hub holds the store.", "Stop the other hub, or give this one a database of its own with --store."
    )


def _in_use(message: str, next_step: str) -> HubError:
    return HubError("store_in_use", Kind.UNAVAILABLE, message, next_step=next_step)
