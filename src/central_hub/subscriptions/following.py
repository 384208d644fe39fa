"""Following subscriptions: who begins and ends, who asks for a few, what changes about them meanwhile.

Nothing is done for a subscription that nobody follows: what happens waits in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from central_hub.events.reading import EventReading
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.subscriptions.book import LineBook
from central_hub.subscriptions.consumers import Consumer, Given, Pulling, Taker
from central_hub.subscriptions.crowd import Crowd
from central_hub.subscriptions.giving import Giving
from central_hub.subscriptions.lapses import Lapses
from central_hub.subscriptions.lines import Line
from central_hub.subscriptions.model import FACTS, SCOPE_CONSUME, Subscription
from central_hub.subscriptions.ports import Access
from central_hub.subscriptions.rules import subscription_missing
from central_hub.subscriptions.view import SubscriptionsView
from central_hub.tenants.model import TenantShredded

MORE_S: Final = 0.01
"""How long a request that has its first events waits for those that are being read."""
READ_S: Final = 5.0
"""How long a request that would not wait does wait for the log to be read."""
SWEEP_S: Final = 5.0

_ABOUT_US: Final = frozenset(fact.__name__ for fact in FACTS)


class Following:
    """Lets consumers follow subscriptions.

    Args:
        view: the subscriptions.
        book: their lines.
        crowd: who follows them.
        giving: gives out events.
        lapses: keeps their time.
        reading: the log as events.
        access: whether a consumer still may.
    """

    def __init__(
        self,
        view: SubscriptionsView,
        book: LineBook,
        crowd: Crowd,
        giving: Giving,
        lapses: Lapses,
        reading: EventReading,
        access: Access,
    ) -> None:
        self._view = view
        self._book = book
        self._crowd = crowd
        self._giving = giving
        self._lapses = lapses
        self._reading = reading
        self._access = access

    async def opened(self, domain: DomainId, subscription: Subscription) -> Line:
        """Return a line that one may follow.

        Raises:
            HubError: `too_many_consumers` (429), `position_gone` (410), `owned_elsewhere` (307), `store_unavailable`.
        """
        line = await self._book.opened(domain, subscription)
        if line.gone is not None:
            raise line.gone
        self._crowd.check(line)
        return line

    def attach(self, ctx: TenantContext, line: Line, taker: Taker, room: int) -> Consumer:
        """Begin to give a line's events to a consumer that may hold `room` of them."""
        consumer = Consumer(ctx, line, taker, room)
        self._crowd.add(consumer, self._reading.head(line.domain))
        self._lapses.arm(line)
        self._giving.offer(line)
        return consumer

    def detach(self, consumer: Consumer) -> None:
        """Give a consumer nothing more; what it holds it may still acknowledge, until that comes to its time."""
        if self._crowd.remove(consumer) and not self._crowd.follows(consumer.line):
            self._giving.leave(consumer.line)

    async def pull(
        self, ctx: TenantContext, domain: DomainId, subscription: Subscription, *, limit: int, seconds: float
    ) -> Sequence[Given]:
        """Take up to `limit` events; waits up to `seconds` for the first.

        Raises:
            HubError: as `opened`; `subscription_not_found`, `subscription_moved` when it ends meanwhile.
        """
        line = await self.opened(domain, subscription)
        pulling = Pulling(limit)
        consumer = self.attach(ctx, line, pulling, limit)
        try:
            await self._collect(pulling, line, seconds)
        finally:
            self.detach(consumer)
        if pulling.refused is not None and not pulling.given:
            raise pulling.refused
        return pulling.given

    async def _collect(self, pulling: Pulling, line: Line, seconds: float) -> None:
        now_s = asyncio.get_running_loop().time
        ends_s = now_s() + seconds
        read_by_s = now_s() + READ_S
        while pulling.refused is None and pulling.can_take():
            behind = self._giving.is_behind(line)
            if pulling.given:
                if not behind:
                    return
                wait_s = MORE_S
            else:
                wait_s = ends_s - now_s()
                if behind:  # nobody says when what was read turns out to be nothing for it
                    wait_s = min(MORE_S, max(wait_s, read_by_s - now_s()))
            if wait_s <= 0:
                return
            pulling.changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await pulling.changed.wait()
            except TimeoutError:
                if pulling.given:
                    return

    def applied(self, batch: Sequence[Applied]) -> None:
        """Take note of what became true; a listener of the runner."""
        changed: dict[DomainId, None] = {}
        moved: dict[DomainId, None] = {}
        for one in batch:
            if one.type in _ABOUT_US:
                changed[one.domain] = None
            elif isinstance(one.fact, TenantShredded):
                changed[DomainId(one.fact.tenant_id)] = None
            recent = self._crowd.recent.get(one.domain)
            if recent is not None:
                recent.add(one.domain_seq, self._reading.told(one))
                moved[one.domain] = None
        for domain in changed:
            self._sync(domain)
        for domain in moved:
            for line in self._book.lines(domain):
                self._giving.offer(line)

    async def run(self) -> None:
        """End consumers that may no more, now and then, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for line in self._crowd.lines():
                self._look_at(line)
                await asyncio.sleep(0)

    def access_changed(self, domain: DomainId) -> None:
        """Look at once at who still may follow a domain's subscriptions."""
        for line in self._book.lines(domain):
            self._look_at(line)

    def ownership_changed(self) -> None:
        """Let go of what is another hub's now; its consumers come again, and find out where."""
        for line in self._book.let_go():
            self._end(line, _moved("Another hub gives out this tenant's events now."))

    def close_all(self) -> None:
        """End every consumer in order: the hub is going away."""
        for line in self._crowd.lines():
            self._end(line, None)

    def _sync(self, domain: DomainId) -> None:
        """Take over what the view says of a domain's subscriptions."""
        for line in self._book.lines(domain):
            now = self._view.subscription(domain, line.subscription.id)
            if now is None:
                self._book.drop(domain, line.subscription.id)
                self._end(line, subscription_missing())
            elif now.era != line.subscription.era:
                self._book.anew(line, now)
                self._end(line, _moved("The subscription goes on from elsewhere."))
            else:
                line.follow(now)
                self._book.take_letters(line)
                self._lapses.arm(line)
                self._giving.offer(line)

    def _end(self, line: Line, reason: HubError | None) -> None:
        for consumer in self._crowd.of(line):
            self.detach(consumer)
            consumer.taker.end(reason)
        self._lapses.forget(line)

    def _look_at(self, line: Line) -> None:
        for consumer in self._crowd.of(line):
            try:
                ctx = self._access.current(consumer.ctx)
                if line.domain != PLATFORM:
                    ctx.require(SCOPE_CONSUME)
            except HubError as refused:
                self.detach(consumer)
                consumer.taker.end(refused)
            else:
                consumer.ctx = ctx


def _moved(message: str) -> HubError:
    return HubError(
        "subscription_moved", Kind.CONFLICT, message, next_step="Look at the subscription, and follow it again."
    )
