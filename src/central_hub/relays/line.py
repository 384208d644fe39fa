"""One relay's place in the log: what waits, what is done, how its broker has been answering. Synchronous.

A line is *live* when every record up to what is applied was looked at or waits in its queue; the runner's listener then
hands it records as they are applied. When the queue overflows, or after a start, it is not: then the log is read from
where it stands until it has caught up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from central_hub.kernel.brokers import Message, Trouble
from central_hub.kernel.cursors import Cursor
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.records import Applied
from central_hub.relays.model import QUEUE_MAX, Relay, consumer_of


class Failing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a broker has been failing; nothing while it answers."""

    failures: int = 0
    since_ms: int = 0
    trouble: Trouble | None = None
    detail: str = ""


class Line:
    """What is known of one relay beyond its record; soft, but for the cursor.

    Args:
        relay: the relay.
    """

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.loaded = False
        self.live = False
        self.connected = False
        self.scanned = relay.from_pos
        self.acked = 0
        self.saved = -1
        self.queue: deque[Applied] = deque()
        self.pending: deque[Message] = deque()
        self.times: deque[tuple[int, int]] = deque()
        self.failing = Failing()
        self.sent = self.repeated = self.missed = self.parked = 0
        self.taken = self.known = self.refused = 0

    @property
    def done(self) -> int:
        """The position up to which everything is in the broker, or is not for it."""
        return self.pending[0].pos - 1 if self.pending else self.scanned

    def begin(self, cursor: Cursor | None, pos: int) -> None:
        """Stand where the cursor says; one that is before the relay or beyond the log is of another history.

        Args:
            cursor: as it is kept, None for a relay that never had one.
            pos: where the log ends in the views.
        """
        self.let_go()
        self.scanned, self.acked, self.saved = min(self.relay.from_pos, pos), 0, -1
        if cursor is not None and self.relay.from_pos <= cursor.seq <= pos:
            self.scanned = self.saved = cursor.seq
            self.acked = msgspec.msgpack.decode(cursor.state, type=int) if cursor.state else 0
        self.live = self.scanned == pos
        self.loaded = True

    def let_go(self) -> None:
        """Forget what waits in memory; it is read again from where everything is done."""
        self.scanned = self.done
        self.queue.clear()
        self.pending.clear()
        self.times.clear()
        self.live = False

    def offer(self, batch: Sequence[Applied]) -> None:
        """Take what was applied."""
        if not self.live:
            return
        for applied in batch:
            if applied.pos <= self.scanned:
                continue
            if len(self.queue) >= QUEUE_MAX:
                self.live = False
                return
            self.queue.append(applied)

    def add(self, message: Message, time_ms: int) -> None:
        """Have a message wait to be handed over."""
        self.pending.append(message)
        self.times.append((message.pos, time_ms))

    def take(self, stored: int, repeated: int) -> None:
        """Be done with the messages that are first."""
        for _ in range(stored):
            self.acked = self.pending.popleft().pos
            self.times.popleft()
        self.sent += stored
        self.repeated += repeated

    def pass_over(self) -> None:
        """Be done with the message that is first, which the broker does not have."""
        self.pending.popleft()
        self.times.popleft()
        self.parked += 1

    def cursor(self) -> Cursor | None:
        """Return the cursor to keep, None while the kept one says the same."""
        if not self.loaded or self.done == self.saved:
            return None
        return Cursor(
            consumer=consumer_of(self.relay.id),
            domain=PLATFORM,
            seq=self.done,
            state=msgspec.msgpack.encode(self.acked),
        )

    def stand_at(self, pos: int) -> None:
        """Go on after what the broker has: less than it acknowledged, or more than the cursor knew."""
        self.let_go()
        self.scanned = self.acked = pos

    def lag_records(self, pos: int) -> int:
        """Return how many records of the log are not done."""
        return max(0, pos - self.done) if self.loaded else 0

    def lag_ms(self, now_ms: int) -> int:
        """Return the age of the oldest event that is known to wait, 0 when none does."""
        if self.times:
            return max(0, now_ms - self.times[0][1])
        return max(0, now_ms - self.queue[0].time_ms) if self.queue else 0
