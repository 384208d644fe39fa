"""Subscriptions, wired: their places, who follows them, and what gives them events."""

from __future__ import annotations

from dataclasses import dataclass

from central_hub.app.parts import Core
from central_hub.edge.cross_origin import CrossOrigin, origins_of
from central_hub.edge.operations import Operation
from central_hub.events.reading import EventReading
from central_hub.monitoring.collectors import subscriptions_collector
from central_hub.monitoring.metrics import Collector
from central_hub.subscriptions.book import LineBook
from central_hub.subscriptions.crowd import Crowd
from central_hub.subscriptions.following import Following
from central_hub.subscriptions.giving import Giving
from central_hub.subscriptions.keeping import PlaceKeeper
from central_hub.subscriptions.lapses import Lapses
from central_hub.subscriptions.outcomes import Outcomes
from central_hub.subscriptions.routes import SubscriptionRoutes
from central_hub.subscriptions.routes import operations as subscriptions_operations
from central_hub.subscriptions.settling import Settling
from central_hub.subscriptions.starting import Starting
from central_hub.subscriptions.streams import Frames
from central_hub.subscriptions.usecases import Subscriptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribing:
    """What follows the log for those who subscribed."""

    subscriptions: Subscriptions
    book: LineBook
    keeper: PlaceKeeper
    crowd: Crowd
    giving: Giving
    lapses: Lapses
    following: Following
    settling: Settling
    routes: SubscriptionRoutes

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of subscriptions."""
        return subscriptions_operations(self.routes)

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return subscriptions_collector(self.crowd, self.giving, self.lapses, self.settling)

    async def flush(self) -> None:
        """Keep every place that moved; the hub is going away.

        Raises:
            HubError: `store_unavailable`.
        """
        await self.giving.end()
        await self.keeper.keep(self.book.every())


def subscribing(core: Core, reading: EventReading) -> Subscribing:
    """Wire subscriptions.

    Args:
        core: what everything stands on.
        reading: the log as events.
    """
    view = core.subscriptions
    origins = CrossOrigin(origins_of(core.settings.cross_origins))
    keeper, crowd = PlaceKeeper(core.stores.cursors), Crowd()
    book = LineBook(view, keeper, core.runner, core.ownership, core.clock)
    outcomes = Outcomes(view, core.sequencer, core.clock)
    lapses = Lapses(outcomes, keeper, core.clock)
    giving = Giving(crowd, lapses, keeper, reading, core.clock)
    following = Following(view, book, crowd, giving, lapses, reading, core.authentication)
    settling = Settling(book, lapses, keeper, outcomes, view)
    subscriptions = Subscriptions(view, core.sequencer, Starting(reading))
    core.runner.listen(following.applied)
    core.ownership.on_change(following.ownership_changed)
    return Subscribing(
        subscriptions=subscriptions,
        book=book,
        keeper=keeper,
        crowd=crowd,
        giving=giving,
        lapses=lapses,
        following=following,
        settling=settling,
        routes=SubscriptionRoutes(
            subscriptions=subscriptions, view=view, book=book, following=following, settling=settling,
            reading=reading, frames=Frames(), admits_origin=origins.admits,
            admit=lambda ctx: core.protection.admit(ctx, writes=True),
        ),
    )  # fmt: skip
