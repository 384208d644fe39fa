"""Keeping hold of the store: watching it, giving it up when it does not answer, finding it again.

The watching connection asks for the head every `LOOK_S`, at once when another hub hints at a
commit. What does not answer for `ANSWER_S` is away: its connections are given up, so that
whoever waits is answered, and until it is back every write is refused on the spot. Found again,
its history is held against what is known; if it does not go on from there, acknowledged records
were lost (a lagging replica was promoted, a backup restored): the history gets another name and
the hub is told to begin anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from central_hub.adapters.postgres.address import Address
from central_hub.adapters.postgres.connection import LOST, Refused, Row, reason_of
from central_hub.adapters.postgres.judging import Sql
from central_hub.adapters.postgres.members import Members
from central_hub.adapters.postgres.session import Session, Standing, goes_on, open_any
from central_hub.adapters.postgres.signalling import SealedSignals
from central_hub.kernel.errors import HubError
from central_hub.kernel.placing import store_unavailable

LOOK_S: Final = 0.1
"""Seconds between two looks at the head when nobody hints."""
ANSWER_S: Final = 0.8
"""Seconds without an answer after which the store counts as away."""
APART_S: Final = 0.005
"""Seconds at least between two looks, however many hints there are: they are gathered."""
ATTEND_S: Final = 3.0
"""Seconds that the roster's business may take between two looks; a batch that holds the head is waited for."""
RETRY_S: Final = 0.25
"""Seconds between two tries to find it again."""

_log = structlog.get_logger("central_hub.store")


class Hold:
    """Holds a session, and finds another when it is lost.

    Args:
        address: where the store is.
        sql: the queries.
        exclusive: whether this hub wants to be the only one.
        mint: makes the name of a new history.
        members: keeps this hub on the roster, where the store is shared.
        signals: what hubs that share it say to each other.
    """

    def __init__(
        self,
        address: Address,
        sql: Sql,
        *,
        exclusive: bool,
        mint: Callable[[], str],
        members: Members | None = None,
        signals: SealedSignals | None = None,
    ) -> None:
        self._address = address
        self._sql = sql
        self._exclusive = exclusive
        self._mint = mint
        self.members = members
        self.signals = signals
        self._take_signal = None if signals is None else signals.take
        self._session: Session | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._pid = 0
        self._answered_s = 0.0
        self._to_tell = False
        self._told_pos = 0
        self.known = Standing(pos=0, last_id=None, incarnation="", place="")
        self.on_moved: Callable[[], None] | None = None
        self.on_rewound: Callable[[], None] | None = None
        self.closed = False
        self.away = ""
        self.rewound = ""
        self.losses = 0

    async def begin(self) -> Session:
        """Find the store for the first time; a history that was moved since it was last seen gets another name.

        Raises:
            HubError: whatever keeps the store from being used.
        """
        session, standing = await open_any(self._address, self._sql, exclusive=self._exclusive, take=self._take_signal)
        try:
            if not standing.place:
                await session.write.execute(self._sql["make_head"], self._mint(), session.here)
            elif standing.place != session.here and await self._knows_best(session):
                await self._rename(session, standing.incarnation)
                _log.warning("store.history_moved", last_seen=standing.place, now=session.here)
            row = await session.write.fetchrow(self._sql["standing"])
            assert row is not None
            self.known = Standing(
                pos=row["pos"], last_id=standing.last_id, incarnation=row["incarnation"], place=row["place"]
            )
        except (*LOST, Refused) as error:
            session.end()
            raise store_unavailable(reason_of(error)) from error
        self._take(session)
        return session

    async def _knows_best(self, session: Session) -> bool:
        """Say whether nobody else has the store open, who would have seen how the history moved."""
        if self._exclusive or self.members is None:
            return self._exclusive
        return not await session.write.fetchval(self._sql["others_hold"])

    def keep(self) -> None:
        """Watch the store from now on."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def here(self) -> Session:
        """Return the session.

        Raises:
            HubError: `store_unavailable`, at once, while there is none.
        """
        if self._session is None:
            raise store_unavailable(self.away or "closed")
        return self._session

    @property
    def stale_s(self) -> float:
        """Seconds since the store last said where its log ends."""
        return max(0.0, asyncio.get_running_loop().time() - self._answered_s)

    def lose(self, session: Session, reason: str) -> None:
        """Give a session up; whoever waits on it is answered."""
        if self._session is not session:
            return
        self._session = None
        self.away = reason
        self.losses += 1
        session.end()
        session.hinted.set()
        _log.warning("store.lost", reason=reason)

    def committed(self, session: Session) -> None:
        """Hint at a commit to the other hubs, if there may be any."""
        if not self._exclusive:
            self._to_tell = True
            session.hinted.set()

    async def close(self) -> None:
        """Let go."""
        self.closed = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))
        session, self._session = self._session, None
        self.away = "closed"
        if session is not None:
            await session.close()

    async def _keep(self) -> None:
        while True:
            session = self._session
            if session is None:
                await self._find()
                await asyncio.sleep(0 if self._session is not None else RETRY_S)
                continue
            row = await self._ask(session)
            if row is not None:
                self._noted(row["pos"], row["incarnation"])
                if not await self._attend(session, row["roster"]):
                    continue
                await asyncio.sleep(APART_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await session.hinted.wait()
                session.hinted.clear()

    async def _ask(self, session: Session) -> Row | None:
        """Ask for the head, hinting at a commit of this hub's on the way; None when the session is lost.

        The hint is a transaction of its own: one that is told of while others commit holds them up. An answer is not
        cut short that is on its way when this process stood still.
        """
        name = "tell" if self._to_tell else "head"
        self._to_tell = False
        asking = asyncio.ensure_future(session.watch.fetchrow(self._sql[name]))
        asking.add_done_callback(_heard)  # also where this hub lets go of the store meanwhile
        for _ in range(2):
            await asyncio.wait((asking,), timeout=ANSWER_S / 2)
            if asking.done():
                break
        else:
            self.lose(session, f"no answer for {ANSWER_S} s")
            asking.cancel()
            await asyncio.wait((asking,), timeout=ANSWER_S)
            return None
        try:
            row = asking.result()
        except (*LOST, Refused) as error:
            self.lose(session, reason_of(error))
            return None
        if row is None:
            self.lose(session, "the head is gone")
            return None
        self._answered_s = asyncio.get_running_loop().time()
        return row

    async def _attend(self, session: Session, roster: int) -> bool:
        """Let signals travel and see to the roster; says whether the session is still there."""
        if self.members is None:
            return True
        try:
            async with asyncio.timeout(ATTEND_S):
                if self.signals is not None:
                    for packet in self.signals.packets():
                        await session.watch.execute(self._sql["signal"], packet)
                await self.members.attend(session, roster)
        except (*LOST, Refused) as error:
            self.lose(session, reason_of(error))
            return False
        return True

    def hint(self) -> None:
        """Have the store looked at now."""
        if self._session is not None:
            self._session.hinted.set()

    def _noted(self, pos: int, incarnation: str) -> None:
        if incarnation != self.known.incarnation:
            self._begin_anew(f"the history is called {incarnation} now")
        elif pos > max(self.known.pos, self._told_pos) and self.on_moved is not None:
            self._told_pos = pos
            self.on_moved()

    async def _find(self) -> None:
        try:
            session, now = await open_any(
                self._address, self._sql, exclusive=self._exclusive, own_pid=self._pid, known=self.known,
                take=self._take_signal,
            )  # fmt: skip
        except HubError as refused:
            self.away = reason_of(refused)
            return
        try:
            await self._settle(session, now)
        except (*LOST, Refused) as error:
            session.end()
            self.away = reason_of(error)
            return
        self._take(session)
        _log.info("store.found", place=session.here)
        if self.on_moved is not None:
            self.on_moved()

    async def _settle(self, session: Session, now: Standing) -> None:
        if not goes_on(self.known, now):
            if now.incarnation == self.known.incarnation:
                await self._rename(session, now.incarnation)
            lost = f"it ended at {self.known.pos} and goes on from {now.pos}"
            self._begin_anew(f"acknowledged history was lost: {lost}")
        elif now.place != session.here:
            await session.write.execute(self._sql["put_place"], session.here)

    async def _rename(self, session: Session, incarnation: str) -> None:
        """Give the history another name unless somebody else did; snapshots in the same store are of it still."""
        name = self._mint()
        async with session.write.transaction():
            await session.write.execute(self._sql["scope"], "*")
            renamed = await session.write.execute(self._sql["put_incarnation"], incarnation, name, session.here)
            if renamed.endswith(" 1"):
                await session.write.execute(self._sql["rename_snapshots"], incarnation, name)

    def _begin_anew(self, reason: str) -> None:
        if self.rewound:
            return
        self.rewound = reason
        _log.error("store.history_rewound", reason=reason)
        if self.on_rewound is not None:
            self.on_rewound()

    def _take(self, session: Session) -> None:
        self._session = session
        self._pid = session.pid
        self._answered_s = asyncio.get_running_loop().time()
        self.away = ""


def _heard(asking: asyncio.Future[Row | None]) -> None:
    """Take an answer that nobody waits for any more."""
    if not asking.cancelled():
        asking.exception()
