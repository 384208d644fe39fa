"""What comes to its time: events that nobody acknowledged, those that come again, and those that are given up.

An event that is given up is a dead letter in the log before anything else is done about it. While the store is away
it stays as it is, and is given up later.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError
from central_hub.subscriptions.consumers import Consumer
from central_hub.subscriptions.keeping import PlaceKeeper
from central_hub.subscriptions.lines import Line, Pending
from central_hub.subscriptions.model import Cause
from central_hub.subscriptions.outcomes import Outcomes
from central_hub.subscriptions.rules import is_given_up, wait_s

STORE_RETRY_MS: Final = 1_000.0
PARKED_AT_ONCE: Final = 64
"""Events that are given up together: they share a commit."""
NEVER_MS: Final = -1.0

_log = structlog.get_logger("central_hub.subscriptions")

Lapsed = tuple[Line, Pending, Cause, str]


class Lapses:
    """Keeps the time of what is given out.

    Args:
        outcomes: records what is given up.
        keeper: keeps places.
        clock: monotonic time.
    """

    def __init__(self, outcomes: Outcomes, keeper: PlaceKeeper, clock: Clock) -> None:
        self._outcomes = outcomes
        self._keeper = keeper
        self._clock = clock
        self._offer: Callable[[Line], None] = lambda _line: None
        self._timers: list[tuple[float, int, Line]] = []
        self._armed: dict[Line, float] = {}
        self._order = 0
        self._to_park: deque[Lapsed] = deque()
        self._wake = asyncio.Event()
        self.expired = 0
        self.parked = 0

    def on_ready(self, offer: Callable[[Line], None]) -> None:
        """Call `offer` with a line that may have something to give out again, or room for more."""
        self._offer = offer

    def arm(self, line: Line) -> None:
        """Have a line looked at when its next event comes to its time."""
        due_ms = line.next_ms
        if due_ms is None or self._armed.get(line, due_ms + 1) <= due_ms:
            return
        self._armed[line] = due_ms
        self._order += 1
        is_first = not self._timers or due_ms < self._timers[0][0]
        heapq.heappush(self._timers, (due_ms, self._order, line))
        if is_first:
            self._wake.set()

    def forget(self, line: Line) -> None:
        """Look at a line no more."""
        self._armed.pop(line, None)

    def failed(
        self, line: Line, pending: Pending, *, cause: Cause, delay_s: float | None = None, detail: str = ""
    ) -> None:
        """Have an event come again that was not acknowledged, or give it up."""
        let_loose(pending)
        terms = line.subscription.terms
        if cause in (Cause.REJECTED, Cause.EXPIRED) or is_given_up(terms, pending.attempts):
            self._give_up(line, pending, cause, detail)
        else:
            self._again_in(line, pending, wait_s(terms, pending.attempts) if delay_s is None else delay_s)
        self._changed(line)

    def released(self, line: Line, pending: Pending) -> None:
        """Have an event come again as if it had not been given out."""
        let_loose(pending)
        pending.attempts -= 1
        self._again_in(line, pending, 0)
        self._changed(line)

    def extended(self, line: Line, pending: Pending) -> None:
        """Give whoever holds an event as much time again."""
        line.until(pending, self._clock.monotonic_ms() + line.subscription.terms.ack_wait_s * 1_000)
        self.arm(line)

    def settled(self, line: Line, pending: Pending) -> None:
        """Be done with an event."""
        let_loose(pending)
        line.settle(pending)
        self._changed(line)

    def look(self) -> None:
        """Take what has come to its time."""
        now_ms = self._clock.monotonic_ms()
        while self._timers and self._timers[0][0] <= now_ms:
            due_ms, _, line = heapq.heappop(self._timers)
            if self._armed.get(line) != due_ms:
                continue  # looked at earlier, or forgotten
            del self._armed[line]
            for pending in line.due(now_ms):
                if pending.out:
                    self.expired += 1
                    self.failed(line, pending, cause=Cause.NOT_ACKNOWLEDGED)
                elif pending.attempts and is_given_up(line.subscription.terms, pending.attempts):
                    self._give_up(line, pending, Cause.NOT_ACKNOWLEDGED, "")
                else:
                    line.again.append(pending)
            self._changed(line)

    async def run(self) -> None:
        """Keep the time until cancelled."""
        while True:
            self._wake.clear()
            self.look()
            if self._to_park:
                await self.park()
                continue
            try:
                async with asyncio.timeout(self._until_next_s()):
                    await self._wake.wait()
            except TimeoutError:
                pass  # something has come to its time

    async def park(self) -> None:
        """Record what is given up."""
        some = [self._to_park.popleft() for _ in range(min(len(self._to_park), PARKED_AT_ONCE))]
        await asyncio.gather(*(self._park(*one) for one in some))

    def _until_next_s(self) -> float | None:
        return max(0.0, (self._timers[0][0] - self._clock.monotonic_ms()) / 1_000) if self._timers else None

    def _again_in(self, line: Line, pending: Pending, seconds: float) -> None:
        if seconds > 0:
            line.wait(pending, self._clock.monotonic_ms() + seconds * 1_000)
        else:
            pending.due_ms = NEVER_MS
            line.again.append(pending)

    def _give_up(self, line: Line, pending: Pending, cause: Cause, detail: str) -> None:
        pending.due_ms = NEVER_MS
        self._to_park.append((line, pending, cause, detail))
        self._wake.set()

    async def _park(self, line: Line, pending: Pending, cause: Cause, detail: str) -> None:
        if line.find(pending.seq) is not pending:
            return  # acknowledged after all
        try:
            parked = await self._outcomes.park(
                line.domain, line.subscription, pending.seq, cause=cause, attempts=pending.attempts, detail=detail
            )
        except HubError as error:
            _log.warning("subscriptions.not_parked", code=error.code, tenant=line.domain)
            parked = False
        if line.find(pending.seq) is not pending:
            return
        if parked:
            self.parked += 1
            line.settle(pending)
        else:
            line.wait(pending, self._clock.monotonic_ms() + STORE_RETRY_MS)
        self._changed(line)

    def _changed(self, line: Line) -> None:
        self._keeper.moved(line)
        self.arm(line)
        self._offer(line)


def let_loose(pending: Pending) -> None:
    """Have nobody hold an event any more."""
    if isinstance(pending.holder, Consumer):
        pending.holder.held -= 1
    pending.holder = None
    pending.out = False
