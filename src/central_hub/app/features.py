"""The features on top of discovery, as one: operations, what is counted, what runs, how they start and end."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Self

from central_hub.app.breaking import Breaking, breaking
from central_hub.app.configuring import Configuring, configuring
from central_hub.app.flagging import Flagging, flagging
from central_hub.app.hooking import Hooking, hooking
from central_hub.app.limiting import collector_of, quotas_of, rows_of
from central_hub.app.parts import Core, Discovery, Quotas
from central_hub.app.relaying import Relaying, relaying
from central_hub.app.rolling_out import RollingOut, follower_book, rolling_out
from central_hub.app.routing import Routing, routing
from central_hub.app.safekeeping import Safekeeping, safekeeping
from central_hub.app.sharing import Sharing, sharing
from central_hub.app.subscribing import Subscribing, subscribing
from central_hub.app.telling import Telling, telling
from central_hub.edge.operations import Operation
from central_hub.kernel.messaging import Sender
from central_hub.monitoring.metrics import Collector
from central_hub.plans.model import FACTS as PLANS_FACTS
from central_hub.tenants.model import VIEW_FACTS as TENANTS_VIEW_FACTS

Work = Coroutine[Any, Any, None]  # Any: what a coroutine is sent and yields


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What stands on registry, tenants and plans."""

    quotas: Quotas
    safekeeping: Safekeeping
    configuring: Configuring
    rolling_out: RollingOut
    flagging: Flagging
    hooking: Hooking
    telling: Telling
    routing: Routing
    relaying: Relaying
    subscribing: Subscribing
    sharing: Sharing
    breaking: Breaking

    @classmethod
    def of(cls, core: Core, discovery: Discovery, sender: Sender | None) -> Self:
        """Wire them, lower ones first.

        Args:
            core: what everything stands on.
            discovery: what they ask about services.
            sender: takes messages to webhooks, over the network by default.
        """
        followers = follower_book(core, discovery)
        quotas, keeping, config = quotas_of(core), safekeeping(core), configuring(core, followers)
        told = telling(core)
        flags = flagging(core, (*TENANTS_VIEW_FACTS, *PLANS_FACTS))
        return cls(
            quotas=quotas,
            safekeeping=keeping,
            configuring=config,
            rolling_out=rolling_out(core, discovery, config, followers),
            flagging=flags,
            hooking=hooking(core, config, flags, told.reading, sender=sender),
            telling=told,
            routing=routing(core, discovery),
            relaying=relaying(core, told),
            subscribing=subscribing(core, told.reading),
            sharing=sharing(core, discovery, quotas),
            breaking=breaking(core),
        )

    def operations(self, core: Core, version: str) -> tuple[Operation, ...]:
        """Return their rows of the table."""
        return (
            *rows_of(self.quotas, core),
            *self.flagging.operations(),
            *self.configuring.operations(),
            *self.rolling_out.operations(),
            *self.safekeeping.operations(),
            *self.hooking.operations(),
            *self.telling.operations(version),
            *self.routing.operations(),
            *self.relaying.operations(),
            *self.subscribing.operations(),
            *self.sharing.operations(),
            *self.breaking.operations(),
        )

    def collectors(self, core: Core) -> Sequence[Collector]:
        """Return the collectors of what they count."""
        return (
            self.flagging.collector(),
            self.configuring.collector(),
            self.rolling_out.collector(core),
            self.safekeeping.collector(),
            self.hooking.collector(),
            self.telling.collector(),
            self.routing.collector(),
            self.relaying.collector(),
            self.subscribing.collector(),
            self.sharing.collector,
            self.breaking.collector(core),
            collector_of(self.quotas),
        )

    def work(self) -> Sequence[Work]:
        """Return what runs in the background as long as the hub does."""
        return (
            self.quotas.endings.run(),
            self.safekeeping.rotation.run(),
            self.flagging.streams.run(),
            self.configuring.announcements.run(),
            self.rolling_out.stepping.run(),
            self.rolling_out.passing.run(),
            self.hooking.noticing.run(),
            self.hooking.deliveries.run(),
            self.telling.streams.run(),
            self.telling.retention.run(),
            self.relaying.following.run(),
            self.subscribing.following.run(),
            self.subscribing.lapses.run(),
            self.subscribing.keeper.run(),
            self.sharing.passing.run(),
            self.sharing.keys.run(),
            self.breaking.shared.run(),
        )

    def listen(self, core: Core) -> None:
        """Have those told of what becomes true that were not yet; their order matters."""
        core.runner.listen(self.flagging.streams.applied)
        core.runner.listen(self.rolling_out.applied)  # before configuration, which tells everyone what is in force
        core.runner.listen(self.configuring.applied)
        core.runner.listen(self.routing.keeper.applied)

    async def prime(self) -> None:
        """Take in what the rebuilt views hold, before serving."""
        await self.quotas.endings.prime()
        await self.hooking.deliveries.prime()
        await self.subscribing.book.prime()
        self.routing.keeper.prime()

    async def flush(self) -> None:
        """Keep how far followers of the log have come.

        Raises:
            HubError: `store_unavailable`.
        """
        await self.subscribing.flush()
        await self.hooking.deliveries.flush()
        await self.relaying.following.flush()

    def close_streams(self) -> None:
        """End every open stream in order: the hub is going away."""
        self.flagging.streams.close_all()
        self.telling.streams.close_all()
        self.subscribing.following.close_all()
