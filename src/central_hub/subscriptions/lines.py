"""One subscription's place in its domain's log: what is given out, what waits, what is done. Synchronous.

Everything up to `through` has been given out at least once, or is not wanted. Of that, what is not settled yet is
`pending`: given out and waiting for its acknowledgement, or waiting to be given out again. So the place that is kept
is `through` and those few positions; an event that was acknowledged does not come again, in whatever order.

Beyond `through`, wanted events wait in `ready`, up to a few; the rest stays in the log.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

import msgspec

from central_hub.events.reading import Told
from central_hub.kernel.cursors import Cursor
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.subscriptions.model import READY_BYTES_MAX, READY_MAX, Subscription, subject_of
from central_hub.subscriptions.rules import Matcher


class Pending:
    """An event that is not settled: given out until `due_ms`, or waiting until then to be given out again."""

    __slots__ = ("attempts", "due_ms", "holder", "is_letter", "out", "seq")

    def __init__(self, seq: int, *, attempts: int = 0, due_ms: float = 0.0, is_letter: bool = False) -> None:
        self.seq = seq
        self.attempts = attempts
        self.due_ms = due_ms
        self.is_letter = is_letter
        self.out = False
        self.holder: object = None


class Place(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a line, beside the position up to which all is done."""

    era: int
    through: int
    pending: tuple[tuple[int, int], ...] = ()
    """Positions that are not settled, each with how often it was given out."""


class Line:
    """What is known of one subscription beyond its record; soft, but for its place.

    Args:
        domain: whose log it follows.
        subscription: the subscription.
        kept: its kept place, None for one that never had any.
        position: where the domain's log ends; a place beyond it is of another history.
    """

    __slots__ = (
        "again", "domain", "fetching", "gone", "letters", "matcher", "pending", "read_to", "ready", "ready_bytes",
        "saved", "subscription", "through", "timers",
    )  # fmt: skip

    def __init__(self, domain: DomainId, subscription: Subscription, kept: Cursor | None, position: int) -> None:
        self.domain = domain
        self.subscription = subscription
        self.matcher = Matcher(subscription.filter, own=subject_of(subscription.name))
        self.through = min(subscription.from_seq, position)
        self.pending: dict[int, Pending] = {}
        self.letters: dict[int, Pending] = {}
        self.ready: deque[Told] = deque()
        self.ready_bytes = 0
        self.again: deque[Pending] = deque()
        """What is to be given out again as soon as somebody takes it."""
        self.timers: list[tuple[float, int]] = []
        self.fetching = False
        self.gone: HubError | None = None
        """Why nobody can go on from its place, while that is so."""
        self.saved: Place | None = None
        self._believe(kept, position)
        self.read_to = self.through

    def _believe(self, kept: Cursor | None, position: int) -> None:
        place = None if kept is None else msgspec.msgpack.decode(kept.state, type=Place)
        if place is None or place.era != self.subscription.era or place.through > position:
            return
        self.through = place.through
        self.saved = place
        for seq, attempts in place.pending:
            self.pending[seq] = pending = Pending(seq, attempts=attempts)
            self.again.append(pending)

    @property
    def done(self) -> int:
        """The position up to which every event is settled."""
        return next(iter(self.pending)) - 1 if self.pending else self.through

    @property
    def in_flight(self) -> int:
        """How many events are not settled, dead letters that come again included."""
        return len(self.pending) + len(self.letters)

    @property
    def has_room(self) -> bool:
        """Whether a further event may be given out."""
        return self.in_flight < self.subscription.terms.max_in_flight

    @property
    def may_read(self) -> bool:
        """Whether there is room for more events in memory."""
        return len(self.ready) < READY_MAX and self.ready_bytes < READY_BYTES_MAX

    def find(self, seq: int) -> Pending | None:
        """Return what is not settled at a position."""
        return self.pending.get(seq) or self.letters.get(seq)

    def offer(self, seq: int, told: Told | None) -> None:
        """Take the record that follows what was read; `told` is None for one that is no event."""
        self.read_to = seq
        if told is not None and self.matcher.wants(told, told.subject):
            self.ready.append(told)
            self.ready_bytes += len(told.body)
        elif not self.ready:
            self.through = seq

    def read(self, events: tuple[Told, ...], read_to: int) -> None:
        """Take what was read from the log after what was read before."""
        for told in events:
            if told.seq > self.read_to and self.matcher.wants(told, told.subject):
                self.ready.append(told)
                self.ready_bytes += len(told.body)
        self.read_to = max(self.read_to, read_to)
        if not self.ready:
            self.through = max(self.through, self.read_to)

    def give(self, now_ms: float) -> tuple[Pending, Told]:
        """Give out the next event for the first time; there is one, and room for it."""
        told = self.ready.popleft()
        self.ready_bytes -= len(told.body)
        self.pending[told.seq] = pending = Pending(told.seq)
        self.through = told.seq if self.ready else max(told.seq, self.read_to)
        self.lend(pending, now_ms)
        return pending, told

    def lend(self, pending: Pending, now_ms: float) -> None:
        """Give out what is not settled, once more."""
        pending.attempts += 1
        pending.out = True
        self.until(pending, now_ms + self.subscription.terms.ack_wait_s * 1_000)

    def until(self, pending: Pending, due_ms: float) -> None:
        """Have something looked at again at a time."""
        pending.due_ms = due_ms
        heapq.heappush(self.timers, (due_ms, pending.seq))

    def wait(self, pending: Pending, due_ms: float) -> None:
        """Have something given out again, at a time."""
        pending.out = False
        pending.holder = None
        self.until(pending, due_ms)

    def settle(self, pending: Pending) -> None:
        """Be done with something."""
        (self.letters if pending.is_letter else self.pending).pop(pending.seq, None)
        pending.out = False

    def due(self, now_ms: float) -> Iterator[Pending]:
        """Yield what has come to its time: given out and not acknowledged, or to be given out again."""
        while self.timers and self.timers[0][0] <= now_ms:
            due_ms, seq = heapq.heappop(self.timers)
            pending = self.find(seq)
            if pending is not None and pending.due_ms == due_ms:
                yield pending

    @property
    def next_ms(self) -> float | None:
        """When something comes to its time, on the monotonic clock."""
        return self.timers[0][0] if self.timers else None

    def follow(self, subscription: Subscription) -> None:
        """Take over what the subscription is now; its place stays."""
        if subscription.filter != self.subscription.filter:
            self.matcher = Matcher(subscription.filter, own=subject_of(subscription.name))
            self.stop()
        self.subscription = subscription

    def stop(self) -> None:
        """Let go of what waits in memory; what was given out stays given out."""
        self.ready.clear()
        self.ready_bytes = 0
        self.read_to = self.through

    def place(self) -> Place:
        """Return what is to be kept."""
        unsettled = tuple((one.seq, one.attempts) for one in self.pending.values())
        return Place(self.subscription.era, self.through, unsettled)

    def cursor(self) -> Cursor | None:
        """Return the cursor to keep; None while the kept one says the same."""
        place = self.place()
        if place == self.saved:
            return None
        self.saved = place
        return Cursor(
            consumer=self.subscription.id, domain=self.domain, seq=self.done, state=msgspec.msgpack.encode(place)
        )
