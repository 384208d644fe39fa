"""A wired hub's life: rebuild, run, snapshot, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import structlog

from central_hub.adapters.clock import system_random
from central_hub.app.collecting import Collecting
from central_hub.app.features import Features
from central_hub.app.keeping import WORK_SNAPSHOTS
from central_hub.app.parts import Core, Discovery, Observing
from central_hub.app.staleness import Staleness
from central_hub.edge.asgi import Edge
from central_hub.edge.lane.answers import Lane
from central_hub.edge.operations import Table
from central_hub.edge.pipeline import Pipeline
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM
from central_hub.tenants.secrets import SECRET_RANDOM_BYTES, mint_bootstrap

SNAPSHOT_LOOK_S: Final = 5.0
"""Writing snapshots and letting go of what is behind them, as work of one of several hubs."""
DAY_MS: Final = 86_400_000
RESULTS_KEPT_MS: Final = DAY_MS
TOLD_KEPT_MS: Final = 7 * DAY_MS
"""How long a published event is known by its name, so that it is not told twice."""

_log = structlog.get_logger("central_hub.app")


@dataclass(slots=True, kw_only=True)
class Hub:
    """A wired hub: `start` it, serve its `edge`, `stop` it."""

    staleness: Staleness
    core: Core
    discovery: Discovery
    features: Features
    observing: Observing
    table: Table
    pipeline: Pipeline
    lane: Lane
    edge: Edge
    bootstrap_token: str = ""
    _snapshot_pos: int = 0
    _collecting: Collecting = field(default_factory=Collecting)
    _tasks: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        """Rebuild the views, start what runs in the background, and be ready."""
        await self.core.stores.sealer.ensure(PLATFORM)
        await self.core.runner.start(self.core.stores.snapshots)
        await self.core.life.finish()
        self.core.registry.ranks_changed()  # the file of plans may differ from the one a snapshot was taken with
        self._snapshot_pos = self.core.runner.pos
        await self.discovery.monitor.prime()
        self.discovery.scaling.prime()
        await self.features.prime()
        await self.core.trials.prime()
        self.open_for_an_hour()
        self._collecting.begin()
        group = await self._tasks.enter_async_context(asyncio.TaskGroup())
        background = [
            group.create_task(work)
            for work in (
                self.core.denials.run(),
                self.discovery.monitor.run(),
                self.core.trials.run(),
                *self.features.work(),
                self.discovery.watch.run(),
                self.discovery.first_lookups.run(),
                self.discovery.scaling.run(),
                self.observing.loop_watch.run(),
                self.staleness.run(),
                self._keep_snapshots(),
                self._collecting.run(),
            )
        ]
        committing = group.create_task(self.core.sequencer.run())
        group.create_task(self._load_framework())
        self._tasks.push_async_callback(self._end, background, committing)
        await self.core.stores.join(lambda: self.core.runner.pos)
        self.observing.readiness.started = True

    async def stop(self) -> None:
        """Make durable what was decided, snapshot, and let go of the stores."""
        self.stopping()
        await self._tasks.aclose()
        self.core.egress.close()
        await self.core.stores.cursors.close()
        await self.core.stores.log.close()

    def on_rewound(self, begin_anew: Callable[[], None]) -> None:
        """Follow what others write to the store; call `begin_anew` when acknowledged history was lost there."""
        self.core.stores.follow(self.core.sequencer.follow, begin_anew)

    def stopping(self) -> None:
        """Say that the hub is going away: not ready any more, streams end."""
        self.observing.readiness.draining = True
        self.discovery.watch.close_all()
        self.features.close_streams()

    async def _load_framework(self) -> None:
        await self.edge.load()

    async def _end(self, background: Sequence[asyncio.Task[None]], committing: asyncio.Task[None]) -> None:
        try:
            await self.core.denials.flush(before_ms=self.core.clock.now_ms())
        except HubError as error:
            _log.warning("app.denials_not_journaled", code=error.code)
        self.core.sequencer.close()
        await asyncio.wait((committing,))
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await self._keep_cursors()
        keeps_snapshots = self.core.ownership.owns(WORK_SNAPSHOTS, "")
        await self._leave()
        if keeps_snapshots:
            await self._snapshot()

    async def _leave(self) -> None:
        """Let the other hubs have this one's work, now that it has written all of its own."""
        try:
            await self.core.stores.leave()
        except HubError as error:
            _log.warning("app.roster_not_left", code=error.code)

    async def _keep_cursors(self) -> None:
        try:
            await self.features.flush()
        except HubError as error:
            _log.warning("app.cursors_not_kept", code=error.code)

    async def _keep_snapshots(self) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_LOOK_S)
            behind = self.core.runner.pos - self._snapshot_pos
            if behind >= self.core.settings.snapshot_every and self.core.ownership.owns(WORK_SNAPSHOTS, ""):
                await self._snapshot()

    async def _snapshot(self) -> None:
        """Write a snapshot and drop what retention lets go behind it; a failure costs start time only."""
        if self.core.runner.pos == self._snapshot_pos:
            return
        try:
            self._snapshot_pos = await self.core.runner.snapshot(self.core.stores.snapshots)
            now_ms = self.core.clock.now_ms()
            # By age records leave domain by domain (events.retention); here only where the store is too large.
            await self.core.stores.log.retain(
                behind_pos=self.core.runner.droppable_pos,
                before_ms=0,
                results_before_ms=now_ms - RESULTS_KEPT_MS,
                told_before_ms=now_ms - TOLD_KEPT_MS,
            )
        except (HubError, OSError) as error:
            _log.warning("app.snapshot_failed", reason=type(error).__name__)

    def open_for_an_hour(self) -> None:
        """Give the operator a first credential where no key can administer the platform."""
        if self.core.settings.open or self.core.tenants.administrators(self.core.clock.now_ms()):
            return
        given = self.core.settings.bootstrap_token
        token = given.get_secret_value() if given is not None else mint_bootstrap(system_random(SECRET_RANDOM_BYTES))
        self.core.authentication.begin_bootstrap(token)
        self.bootstrap_token = token
