"""What consumers say of deliveries: done, not done, give me longer, take it back.

An answer means that it is kept: what was acknowledged does not come again, whatever becomes of the hub's process.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from central_hub.kernel.ids import DomainId
from central_hub.subscriptions.book import LineBook
from central_hub.subscriptions.keeping import PlaceKeeper
from central_hub.subscriptions.lapses import Lapses
from central_hub.subscriptions.lines import Line, Pending
from central_hub.subscriptions.model import Cause, Subscription
from central_hub.subscriptions.outcomes import Outcomes
from central_hub.subscriptions.rules import read_delivery
from central_hub.subscriptions.view import SubscriptionsView


class NotDone(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was not handled: when it comes again, or that it need not.

    `delay_s` is None for what the subscription's terms say.
    """

    id: str
    delay_s: float | None = None
    reject: bool = False
    reason: str = ""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer says, of deliveries by their ids."""

    ack: Sequence[str] = ()
    nack: Sequence[NotDone] = ()
    extend: Sequence[str] = ()
    release: Sequence[str] = ()


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it. `unknown` are ids that this subscription has no such delivery of, or has no more."""

    acked: int
    nacked: int
    extended: int
    released: int
    unknown: list[str]


class Settling:
    """Takes what consumers say.

    Args:
        book: the lines.
        lapses: keeps the time of what is given out.
        keeper: keeps places.
        outcomes: ends dead letters.
        view: the dead letters.
    """

    def __init__(
        self,
        book: LineBook,
        lapses: Lapses,
        keeper: PlaceKeeper,
        outcomes: Outcomes,
        view: SubscriptionsView,
    ) -> None:
        self._book = book
        self._lapses = lapses
        self._keeper = keeper
        self._outcomes = outcomes
        self._view = view
        self.acked = 0
        self.nacked = 0

    async def settle(self, domain: DomainId, subscription: Subscription, said: Said, incarnation: str) -> Settled:
        """Take what a consumer says; what it says of deliveries that are not there changes nothing.

        An acknowledgement counts whichever delivery of the event it is for, until the event is given up. Everything
        else counts for the latest delivery only: an earlier one is nobody's any more.

        Args:
            domain: whose subscription it is.
            subscription: the subscription.
            said: about which deliveries.
            incarnation: which history positions belong to.

        Raises:
            HubError: `store_unavailable`, `owned_elsewhere`, `not_owned`; saying it again changes nothing.
        """
        line = await self._book.opened(domain, subscription)
        unknown: list[str] = []
        acked = self._ack(line, said.ack, incarnation, unknown)
        letters = [seq for seq in acked if seq in self._view.letters(domain, subscription.id)]
        nacked = extended = released = 0
        for one in said.nack:
            pending = self._latest(line, one.id, incarnation)
            if pending is None:
                unknown.append(one.id)
                continue
            cause = Cause.REJECTED if one.reject else Cause.NOT_ACKNOWLEDGED
            self._lapses.failed(line, pending, cause=cause, delay_s=one.delay_s, detail=one.reason)
            nacked += 1
        for text in said.extend:
            pending = self._latest(line, text, incarnation)
            if pending is None:
                unknown.append(text)
            else:
                self._lapses.extended(line, pending)
                extended += 1
        for text in said.release:
            pending = self._latest(line, text, incarnation)
            if pending is None:
                unknown.append(text)
            else:
                self._lapses.released(line, pending)
                released += 1
        self.acked += len(acked)
        self.nacked += nacked
        if letters:
            await self._outcomes.end(domain, subscription.id, letters, Cause.ACKNOWLEDGED)
        if acked or nacked or released:
            self._keeper.moved(line)
            await self._keeper.keep()
        return Settled(acked=len(acked), nacked=nacked, extended=extended, released=released, unknown=unknown)

    def _ack(self, line: Line, ids: Sequence[str], incarnation: str, unknown: list[str]) -> list[int]:
        acked: list[int] = []
        for text in ids:
            found = read_delivery(text, incarnation)
            seq = 0 if found is None else found[0]
            pending = line.find(seq)
            if pending is not None and pending.attempts:
                self._lapses.settled(line, pending)
                acked.append(seq)
            elif pending is None and line.subscription.from_seq < seq <= line.through:
                acked.append(seq)  # settled before: saying it again changes nothing
            else:
                unknown.append(text)
        return acked

    def _latest(self, line: Line, text: str, incarnation: str) -> Pending | None:
        seq, attempt = read_delivery(text, incarnation) or (0, 0)
        pending = line.find(seq)
        return pending if pending is not None and pending.out and pending.attempts == attempt else None
