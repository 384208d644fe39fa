"""The lines of subscriptions that somebody follows, or did: opened when first asked for, from the place that was kept.

One hub has a tenant's lines. When another takes over, they are let go here, and opened there from what was kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from central_hub.kernel.clock import Clock
from central_hub.kernel.cursors import Cursor
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ownership import Ownership
from central_hub.kernel.runner import Runner
from central_hub.subscriptions.keeping import PlaceKeeper
from central_hub.subscriptions.lines import Line, Pending
from central_hub.subscriptions.model import WORK, Subscription
from central_hub.subscriptions.view import SubscriptionsView

RETRY_S: Final = 1


class LineBook:
    """Holds the lines.

    Args:
        view: the subscriptions.
        keeper: keeps their places.
        runner: where domains stand.
        ownership: which tenants' lines are this hub's.
        clock: wall time for dead letters, monotonic for waits.
    """

    def __init__(
        self, view: SubscriptionsView, keeper: PlaceKeeper, runner: Runner, ownership: Ownership, clock: Clock
    ) -> None:
        self._view = view
        self._keeper = keeper
        self._runner = runner
        self._ownership = ownership
        self._clock = clock
        self._lines: dict[DomainId, dict[str, Line]] = {}
        self._kept: dict[str, Cursor] = {}
        self._stale = True
        self._loading = asyncio.Lock()

    async def prime(self) -> None:
        """Read the places that are kept, and forget those of subscriptions that are gone.

        Raises:
            HubError: `store_unavailable`.
        """
        await self._load()
        for one in list(self._kept.values()):
            if self._view.subscription(one.domain, one.consumer) is None:
                self._keeper.drop(one.consumer)
                del self._kept[one.consumer]

    def check_owned(self, domain: DomainId) -> None:
        """Refuse what is another hub's to do.

        Raises:
            HubError: `owned_elsewhere` (307), `not_owned` (503).
        """
        if self._ownership.owns(WORK, domain):
            return
        self._stale = True  # what is kept by now is another hub's word
        base_url = self._ownership.owner(WORK, domain)
        if base_url is None:
            raise HubError(
                "not_owned", Kind.UNAVAILABLE, "No hub gives out this tenant's events at this moment.",
                next_step="Try again; another hub is taking over.", retry_after_s=RETRY_S,
            )  # fmt: skip
        raise HubError(
            "owned_elsewhere", Kind.ELSEWHERE, "Another hub gives out this tenant's events.",
            next_step=f"Ask {base_url}.", fields={"hub": base_url},
        )  # fmt: skip

    async def opened(self, domain: DomainId, subscription: Subscription) -> Line:
        """Return a subscription's line, from where it stood.

        Raises:
            HubError: `store_unavailable`; `owned_elsewhere`, `not_owned`.
        """
        self.check_owned(domain)
        while self._stale:
            await self._load()
            self.check_owned(domain)
        line = self._lines.get(domain, {}).get(subscription.id)
        if line is None:
            line = self._made(domain, subscription, self._kept.pop(subscription.id, None))
            self._lines.setdefault(domain, {})[subscription.id] = line
        return line

    def line(self, domain: DomainId, subscription_id: str) -> Line | None:
        """Return a line that is open."""
        return self._lines.get(domain, {}).get(subscription_id)

    def lines(self, domain: DomainId) -> tuple[Line, ...]:
        """Return a domain's open lines."""
        return tuple(self._lines.get(domain, {}).values())

    def every(self) -> Iterator[Line]:
        """Yield every open line."""
        for lines in self._lines.values():
            yield from lines.values()

    def shown(self, domain: DomainId, subscription: Subscription) -> Line:
        """Return where a subscription stands, to be looked at only."""
        line = self.line(domain, subscription.id)
        return line or self._made(domain, subscription, self._kept.get(subscription.id))

    def drop(self, domain: DomainId, subscription_id: str) -> Line | None:
        """Forget the place of a subscription that is gone."""
        self._keeper.drop(subscription_id)
        self._kept.pop(subscription_id, None)
        return self._closed(domain, subscription_id)

    def anew(self, line: Line, subscription: Subscription) -> Line:
        """Open a line again that goes on from elsewhere."""
        made = self._lines[line.domain][subscription.id] = self._made(line.domain, subscription, None)
        self._keeper.forget(line)
        self._keeper.moved(made)
        return made

    def let_go(self) -> list[Line]:
        """Close the lines that are another hub's now; returns them. What is kept is read again before any is opened."""
        self._stale = True
        lost = [line for line in self.every() if not self._ownership.owns(WORK, line.domain)]
        for line in lost:
            self._keeper.forget(line)
            self._closed(line.domain, line.subscription.id)
        return lost

    async def _load(self) -> None:
        async with self._loading:
            if self._stale:
                self._stale = False
                try:
                    self._kept = await self._keeper.load()
                except BaseException:
                    self._stale = True
                    raise

    def _made(self, domain: DomainId, subscription: Subscription, kept: Cursor | None) -> Line:
        line = Line(domain, subscription, kept, self._runner.position(domain))
        letters = self._view.letters(domain, subscription.id)
        for seq in [seq for seq in line.pending if seq in letters]:
            line.settle(line.pending[seq])  # given up, and the hub ended before that was kept
        self.take_letters(line)
        return line

    def take_letters(self, line: Line) -> None:
        """Take in the dead letters that are to be delivered again, and leave out those that are none any more."""
        letters = self._view.letters(line.domain, line.subscription.id)
        for seq in [seq for seq in line.letters if seq not in letters or not letters[seq].replay_at_ms]:
            line.settle(line.letters[seq])
        now_ms, wall_ms = self._clock.monotonic_ms(), self._clock.now_ms()
        for letter in letters.values():
            if letter.replay_at_ms and letter.seq not in line.letters:
                line.letters[letter.seq] = pending = Pending(letter.seq, is_letter=True)
                line.wait(pending, now_ms + max(0, letter.replay_at_ms - wall_ms))

    def _closed(self, domain: DomainId, subscription_id: str) -> Line | None:
        lines = self._lines.get(domain, {})
        line = lines.pop(subscription_id, None)
        if not lines:
            self._lines.pop(domain, None)
        return line
