"""This hub's place on the roster of those that share the store.

Everything here happens between two looks at the head, on the connection that watches: joining, beating, taking off
who is silent, leaving. Changes of the roster are made behind the head's lock, like batches; what a hub writes names
its epoch, so a batch of one that was taken off is undone as a whole. When the store is away nobody joins, beats or is
taken off, and every hub owns nothing a little later; with the first answer they go on as they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from central_hub.adapters.postgres.connection import Connection
from central_hub.adapters.postgres.judging import Sql
from central_hub.adapters.postgres.session import EVERY_DOMAIN, Session
from central_hub.kernel.placing import store_unavailable
from central_hub.kernel.roster import BEAT_MS, SILENT_MS, Member, RosterOwnership

JOIN_S: Final = 10.0
"""Seconds in which a hub must have joined, or its start has failed."""
LEAVE_S: Final = 2.0
CHANGE_LOCK: Final = "SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '2s'"

_log = structlog.get_logger("central_hub.store")


class Joining(msgspec.Struct, frozen=True, kw_only=True):
    """As whom a hub joins: the URL at which others reach it, this run of it, the version it is."""

    node: str
    process: str
    version: str


class Members:
    """Keeps this hub on the roster.

    Args:
        joining: as whom.
        sql: the queries.
        now_ms: a clock that never goes back and goes on while the machine sleeps, milliseconds.
    """

    def __init__(self, joining: Joining, sql: Sql, now_ms: Callable[[], float]) -> None:
        self._joining = joining
        self._sql = sql
        self._now_ms = now_ms
        self.ownership = RosterOwnership(joining.node, now_ms)
        self.pos: Callable[[], int] = lambda: 0
        self.epoch = 0
        self.refused = ""
        self.taken_off = 0
        self._fence: tuple[str | None, int | None] = (None, None)
        self._wanted = False
        self._beats = 0
        self._beaten_ms = 0.0
        self._usurper: tuple[str, int, float] | None = None
        self._settled = asyncio.Event()

    @property
    def fence(self) -> tuple[str | None, int | None]:
        """What a batch is held against: this hub and the epoch it joined with; nothing before it first joined."""
        return self._fence

    def has_others(self) -> bool:
        """Say whether there are other members."""
        return len(self.ownership.members) > 1

    async def join(self, hinted: Callable[[], None]) -> None:
        """Join; returns when this hub is on the roster.

        Raises:
            HubError: `store_unavailable` when that took longer than `JOIN_S`.
        """
        self._wanted = True
        await self._until(hinted, JOIN_S)

    async def leave(self, hinted: Callable[[], None]) -> None:
        """Leave, so that others take over at once; without the store they do when this hub has been silent."""
        self._wanted = False
        self.ownership.lost()
        await self._until(hinted, LEAVE_S)

    async def _until(self, hinted: Callable[[], None], seconds: float) -> None:
        self._settled.clear()
        hinted()
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            raise store_unavailable("the roster of hubs did not change in time") from None

    async def attend(self, session: Session, roster: int) -> None:
        """Do what is due; called after every look at the head.

        Args:
            session: whose watching connection is free now.
            roster: the version that the look found.

        Raises:
            Exception: one of `LOST` or `Refused`: the session is to be given up.
        """
        if not self._wanted:
            if self.epoch:
                await self._take_off(session.watch, self._joining.node, self.epoch, None)
                self.epoch = 0
            self._settled.set()
            return
        if not self.epoch and not await self._join(session.watch):
            return
        ownership = self.ownership
        due = self._now_ms() - self._beaten_ms >= BEAT_MS
        if due or roster != ownership.version or not ownership.settled:
            await self._beat(session.watch)
            for silent in ownership.silent() if self.epoch else ():
                if await self._take_off(session.watch, silent.node, silent.epoch, silent.beats):
                    self.taken_off += 1
                    _log.warning("cluster.member_taken_off", node=silent.node, epoch=silent.epoch)

    async def _beat(self, watch: Connection) -> None:
        seen, asked_ms = self.ownership.version, self._now_ms()
        self._beats += 1
        self._beaten_ms = asked_ms
        rows = await watch.fetch(
            self._sql["beat"], self._joining.node, self.epoch, self._beats, seen, self.pos()
        )  # fmt: skip
        if not rows[0]["is_member"]:
            _log.warning("cluster.taken_off", node=self._joining.node, epoch=self.epoch)
            self.epoch = 0
            self.ownership.lost()
            return
        members = [
            Member(
                node=row["node"], epoch=row["epoch"], process=row["process"], version=row["version"],
                beats=row["beats"], seen=seen if row["node"] == self._joining.node else row["seen"], pos=row["pos"],
            )
            for row in rows
        ]  # fmt: skip
        self.ownership.confirmed(asked_ms, rows[0]["roster"], members)

    async def _join(self, watch: Connection) -> bool:
        node, process = self._joining.node, self._joining.process
        found = await watch.fetchrow(self._sql["member"], node)
        replaced = found is not None and found["process"] != process
        if replaced and found is not None and self._fence[0] is not None and not self._is_dead(found):
            return False
        async with watch.transaction():
            await watch.execute(CHANGE_LOCK)
            await watch.fetchrow(self._sql["lock_head"], EVERY_DOMAIN)
            row = await watch.fetchrow(self._sql["next_roster"])
            assert row is not None
            epoch = row["roster"]
            await watch.execute(self._sql["put_member"], node, epoch, process, self._joining.version, self.pos())
        self.epoch, self._fence, self._beats, self.refused = epoch, (node, epoch), 0, ""
        self.ownership.joined(replaced=replaced)
        self._settled.set()
        _log.info("cluster.joined", node=node, epoch=epoch, replaced=replaced)
        return True

    def _is_dead(self, found: Any) -> bool:  # Any: a row
        """Say whether whoever joined in this hub's place meanwhile, under the same URL, has gone silent."""
        process, beats = found["process"], found["beats"]
        now_ms = self._now_ms()
        known = self._usurper
        if known is None or known[:2] != (process, beats):
            self._usurper = (process, beats, now_ms)
            if not self.refused:
                _log.error("cluster.replaced", node=self._joining.node, by=process)
            self.refused = "another hub has joined under this one's URL (--advertise)"
            return False
        return now_ms - known[2] >= SILENT_MS

    async def _take_off(self, watch: Connection, node: str, epoch: int, beats: int | None) -> bool:
        async with watch.transaction():
            await watch.execute(CHANGE_LOCK)
            await watch.fetchrow(self._sql["lock_head"], EVERY_DOMAIN)
            dropped = await watch.execute(self._sql["drop_member"], node, epoch, beats)
            if not dropped.endswith(" 1"):
                return False
            await watch.fetchrow(self._sql["next_roster"])
        return True
