"""Delivers events to endpoints: a follower of the log, one attempt at a time for each endpoint, in order.

It never holds up the log or another tenant: what cannot be delivered now stays in the log, by reference. Turns go
round the tenants; a tenant has `IN_FLIGHT_PER_TENANT_MAX` attempts at once, and endpoints that have been failing share
`FAILING_IN_FLIGHT_MAX`. What is done is kept durably within `CURSOR_EVERY_S`; after a crash what was delivered since
is delivered again, under the same ids. When the store is away nothing is lost: what must be recorded is tried again.
Of several hubs one delivers a tenant's events; one that takes a tenant over goes on from the cursors that are kept.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence, Set
from typing import Final

import structlog

from central_hub.events.model import EventPublished
from central_hub.events.reading import Told as Event
from central_hub.kernel.clock import Clock
from central_hub.kernel.cursors import Cursors
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.messaging import Result
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.records import Applied, Category
from central_hub.kernel.runner import Runner
from central_hub.tenants.model import TenantShredded
from central_hub.webhooks.keeping import CursorKeeper
from central_hub.webhooks.lines import Attempt, Line, Told
from central_hub.webhooks.model import (
    CURSOR_EVERY_S,
    DEAD_LETTERS_MAX,
    FACTS,
    READ_PAGE,
    DeadLetter,
    Status,
    ValueChanged,
)
from central_hub.webhooks.outcomes import Outcomes
from central_hub.webhooks.ports import Customers, DomainLog
from central_hub.webhooks.rules import Failing, after, drawn_wait_s
from central_hub.webhooks.sending import Sending
from central_hub.webhooks.turns import Turns
from central_hub.webhooks.view import WebhooksView

STORE_RETRY_S: Final = 1.0
LOOK_SLICE: Final = 64
"""Lines that nothing was for, looked at every `CURSOR_EVERY_S`: their cursors move with their tenants' logs."""
DRAW_BITS: Final = 24
WORK: Final = "delivery"
"""Following a tenant's log for its endpoints, as work of one of several hubs."""

Tell = Callable[[Applied], Event | None]

_log = structlog.get_logger("central_hub.webhooks")
_ENDPOINTS: Final = frozenset(fact.__name__ for fact in FACTS if not issubclass(fact, ValueChanged))


class Deliveries:
    """Follows the log for every endpoint.

    Args:
        view: the endpoints.
        tell: a record as it is told; None for what is told to nobody.
        usual: the types that an endpoint is told that names none.
        log: read where an endpoint has fallen behind.
        runner: where domains stand, and how records are opened.
        sending: signs and sends.
        outcomes: records what has to be.
        cursors: where endpoints stand, durably.
        customers: which tenants are told anything.
        clock: wall time for what is shown, monotonic for waits.
        draw: random bits for jitter.
        dead_letters_max: of one endpoint.
        ownership: which hub delivers a tenant's events.
    """

    def __init__(
        self,
        view: WebhooksView,
        tell: Tell,
        usual: Set[str],
        log: DomainLog,
        runner: Runner,
        sending: Sending,
        outcomes: Outcomes,
        cursors: Cursors,
        customers: Customers,
        clock: Clock,
        draw: Callable[[int], int],
        *,
        dead_letters_max: int = DEAD_LETTERS_MAX,
        ownership: Ownership | None = None,
    ) -> None:
        self._view = view
        self._tell = tell
        self._usual = usual
        self._log = log
        self._runner = runner
        self._sending = sending
        self._outcomes = outcomes
        self._customers = customers
        self._clock = clock
        self._draw = draw
        self._dead_letters_max = dead_letters_max
        self._lines: dict[DomainId, dict[str, Line]] = {}
        self._later: list[tuple[float, int, Line]] = []
        self._order = 0
        self._turns = Turns()
        self._looked_at: list[Line] = []
        self._keeper = CursorKeeper(cursors, runner.position)
        self._wake = asyncio.Event()
        self._ownership = ownership or Alone()
        self._ownership.on_change(self._shared_out_anew)
        self._owned: set[DomainId] = set()
        self._anew = False
        self.delivered = 0
        self.failed = 0
        self.parked = 0
        self.missed = 0

    async def prime(self) -> None:
        """Take in every endpoint there is; call it when the views are rebuilt, before `run`.

        Raises:
            HubError: `store_unavailable` when the cursors cannot be read.
        """
        kept = await self._keeper.load()
        for domain in self._view.domains():
            position = self._runner.position(domain)
            lines = self._lines.setdefault(domain, {})
            if self._ownership.owns(WORK, domain):
                self._owned.add(domain)
            for webhook in self._view.webhooks(domain):
                line = lines[webhook.id] = Line(domain, webhook, kept.pop(webhook.id, None), position, self._usual)
                self._offer(line)
        for gone in kept:
            self._keeper.drop(gone)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Follow what became true; a listener of the runner."""
        by_domain: dict[DomainId, list[Told]] = {}
        changed: set[DomainId] = set()
        for one in batch:
            if one.type in _ENDPOINTS:
                changed.add(one.domain)
            elif isinstance(one.fact, TenantShredded):
                changed.add(DomainId(one.fact.tenant_id))
            if one.domain in self._lines and (told := self._told(one)) is not None:
                by_domain.setdefault(one.domain, []).append(told)
        for domain in changed:
            self._sync(domain)
        for domain, told in by_domain.items():
            for line in self._lines.get(domain, {}).values() if self._owns(domain) else ():
                if line.offer(told):
                    self._offer(line)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_cursors())
            while True:
                self._wake.clear()
                if self._anew:
                    await self._take_over()
                self._due()
                while (line := self._turns.take()) is not None:
                    group.create_task(self._turn(line))
                await self._sleep()

    async def step(self) -> None:
        """Give everyone a turn who has something to do now, one after another; `run` gives turns side by side."""
        self._due()
        while (line := self._turns.take()) is not None:
            await self._turn(line)

    def wake(self) -> None:
        """Look again at what is due, as when time has passed."""
        self._wake.set()

    async def flush(self) -> None:
        """Keep every cursor that moved.

        Raises:
            HubError: `store_unavailable`; what moved is kept next time.
        """
        await self._keeper.keep(line for line in self._every_line() if self._owns(line.domain))

    def line(self, domain: DomainId, webhook_id: str) -> Line | None:
        """Return where an endpoint stands; None when it is not there."""
        return self._lines.get(domain, {}).get(webhook_id)

    def recent(self, domain: DomainId, webhook_id: str) -> Sequence[Attempt]:
        """Return the latest attempts of an endpoint since the hub started, oldest first."""
        line = self.line(domain, webhook_id)
        return () if line is None else tuple(line.recent)

    def lag(self) -> int:
        """Return the most records that any enabled endpoint is behind its tenant's log."""
        return max(
            (
                self._runner.position(domain) - line.done
                for domain, lines in self._lines.items()
                for line in lines.values()
                if line.webhook.status is Status.ENABLED and self._owns(domain) and not (line.live and not line.queue)
            ),
            default=0,
        )

    @property
    def in_flight(self) -> int:
        """How many attempts are under way."""
        return self._turns.under_way

    def _told(self, applied: Applied) -> Told | None:
        """Return a record as it is told; what services publish only where an endpoint may want it."""
        if applied.category is Category.EVENT and isinstance(applied.fact, EventPublished):
            lines = self._lines.get(applied.domain, {})
            if not any(line.takes_published for line in lines.values()):
                return None
        event = self._tell(applied)
        return None if event is None else Told(event, applied)

    def _every_line(self) -> list[Line]:
        return [line for lines in self._lines.values() for line in lines.values()]

    def _some_lines(self) -> list[Line]:
        """Return the lines that are looked at next: all of them in turn, some at a time."""
        if not self._looked_at:
            self._looked_at = self._every_line()
        some, self._looked_at = self._looked_at[:LOOK_SLICE], self._looked_at[LOOK_SLICE:]
        return [line for line in some if self._owns(line.domain)]

    def _owns(self, domain: DomainId) -> bool:
        """Say whether this hub delivers a tenant's events now, and has looked where they stand."""
        return domain in self._owned and self._ownership.owns(WORK, domain)

    def _shared_out_anew(self) -> None:
        # At once: what is lost now and this hub's again later was somebody else's in between.
        self._owned = {domain for domain in self._owned if self._ownership.owns(WORK, domain)}
        self._anew = True
        self._wake.set()

    async def _take_over(self) -> None:
        """Go on from the kept cursors with tenants that are this hub's now, and let go of those that are not."""
        self._anew = False
        try:
            kept = await self._keeper.load()
        except HubError as error:
            _log.warning("webhooks.cursors_not_read", code=error.code)
            self._anew = True
            await asyncio.sleep(STORE_RETRY_S)
            return
        for domain, lines in list(self._lines.items()):
            if domain in self._owned:
                continue
            for webhook_id, line in list(lines.items()):
                self._turns.discard(line)
                self._keeper.forget(line)
                line.stop()
                position = self._runner.position(domain)
                lines[webhook_id] = Line(domain, line.webhook, kept.get(webhook_id), position, self._usual)
            if self._ownership.owns(WORK, domain):
                self._owned.add(domain)
                for line in lines.values():
                    self._offer(line)

    def _sync(self, domain: DomainId) -> None:
        """Take over what the view says of a domain's endpoints."""
        lines = self._lines.get(domain, {})
        there = {webhook.id: webhook for webhook in self._view.webhooks(domain)}
        for gone in [webhook_id for webhook_id in lines if webhook_id not in there]:
            self._keeper.drop(gone)
            self._turns.discard(lines.pop(gone))
        if not there:
            self._lines.pop(domain, None)
            return
        lines = self._lines.setdefault(domain, lines)
        for webhook in there.values():
            line = lines.get(webhook.id)
            if line is None:
                position = self._runner.position(domain)
                line = lines[webhook.id] = Line(domain, webhook, None, position, self._usual)
                if self._ownership.owns(WORK, domain):
                    self._owned.add(domain)
            if line.webhook.status is not webhook.status:
                self._turns.discard(line)
                line.stop()
                line.due_ms = 0.0
                line.failing = Failing()
            line.webhook = webhook
            self._offer(line)

    def _offer(self, line: Line) -> None:
        """Let a line have a turn, when it has something to do and nothing keeps it."""
        if self._turns.has(line) or not self._may_go(line):
            return
        if not self._replaying(line) and ((line.live and not line.queue) or line.due_ms > self._clock.monotonic_ms()):
            return
        self._turns.add(line)
        self._wake.set()

    def _may_go(self, line: Line) -> bool:
        known = self._lines.get(line.domain, {}).get(line.webhook.id)
        there = known is line and line.webhook.status is Status.ENABLED and self._customers.is_told(line.domain)
        return there and self._owns(line.domain)

    def _replaying(self, line: Line) -> DeadLetter | None:
        letters = self._view.letters(line.domain, line.webhook.id)
        return next((letter for letter in letters.values() if letter.replaying), None) if letters else None

    def _due(self) -> None:
        now_ms = self._clock.monotonic_ms()
        while self._later and self._later[0][0] <= now_ms:
            self._offer(heapq.heappop(self._later)[2])

    async def _sleep(self) -> None:
        wait_s = None
        if self._later:
            wait_s = max(0.0, (self._later[0][0] - self._clock.monotonic_ms()) / 1_000)
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass  # somebody's wait is over

    async def _turn(self, line: Line) -> None:
        """Do one thing for a line; whatever goes wrong with the store is tried again later."""
        try:
            if not self._may_go(line):
                pass
            elif (letter := self._replaying(line)) is not None:
                await self._replay(line, letter)
            elif not line.queue:
                await self._fill(line)
            elif line.due_ms <= self._clock.monotonic_ms():
                await self._deliver(line, line.queue[0])
        except Exception as error:  # a bug about one endpoint must not end the deliveries of all
            code = error.code if isinstance(error, HubError) else type(error).__name__
            _log.warning("webhooks.turn_failed", code=code, tenant=line.domain, webhook=line.webhook.id)
            self._wait(line, STORE_RETRY_S)
        finally:
            self._turns.give_back(line)
            if line.has_moved and self._owns(line.domain):
                self._keeper.moved(line)
            self._offer(line)
            self._wake.set()

    async def _fill(self, line: Line) -> None:
        found = await self._log.read_domain(line.domain, line.scanned, READ_PAGE)
        if found and found[0].domain_seq > line.scanned + 1:
            self.missed += found[0].domain_seq - line.scanned - 1
            _log.warning("webhooks.history_missed", tenant=line.domain, webhook=line.webhook.id, after=line.scanned)
        read_to = found[-1].domain_seq if found else self._runner.position(line.domain)
        opened = [applied for record in found if (applied := self._runner.opened(record)) is not None]
        events = [told for applied in opened if (told := self._told(applied)) is not None]
        line.fill(events, read_to=read_to, position=self._runner.position(line.domain))

    async def _deliver(self, line: Line, told: Told) -> None:
        outcome = await self._sending.send(line.domain, line.webhook, told)
        if not line.queue or line.queue[0] is not told:
            return  # disabled meanwhile: it is sent again when the endpoint is enabled
        now_ms = self._clock.now_ms()
        line.note(told, outcome, line.failing.attempts + 1, now_ms)
        following = after(
            outcome, line.failing, now_ms,
            dead_letters=len(self._view.letters(line.domain, line.webhook.id)), dead_letters_max=self._dead_letters_max,
        )  # fmt: skip
        if following.delivered:
            self.delivered += 1
            line.finish()
            line.failing = following.failing
            return
        self.failed += 1
        if following.parked:
            await self._outcomes.park(line, told, outcome, attempts=line.failing.attempts + 1)
            self.parked += 1
            if line.queue and line.queue[0] is told:
                line.finish()
        elif following.disable is not None:
            await self._outcomes.disable(line, following.disable)
        else:
            self._wait(line, drawn_wait_s(following, self._draw(DRAW_BITS) / (1 << DRAW_BITS)))
        line.failing = following.failing

    async def _replay(self, line: Line, letter: DeadLetter) -> None:
        """Send a dead letter once more; what fails again is a dead letter again."""
        found = await self._log.read_domain(line.domain, letter.seq - 1, 1)
        applied = self._runner.opened(found[0]) if found and found[0].domain_seq == letter.seq else None
        told = None if applied is None else self._told(applied)
        if told is None:
            await self._outcomes.end(line, letter.seq, Result.EXPIRED)
            return
        outcome = await self._sending.send(line.domain, line.webhook, told)
        line.note(told, outcome, letter.attempts + 1, self._clock.now_ms())
        if outcome.result is Result.DELIVERED:
            self.delivered += 1
            await self._outcomes.end(line, letter.seq, Result.DELIVERED)
        else:
            self.failed += 1
            await self._outcomes.park(line, told, outcome, attempts=letter.attempts + 1)

    def _wait(self, line: Line, seconds: float) -> None:
        line.due_ms = self._clock.monotonic_ms() + seconds * 1_000
        self._order += 1
        heapq.heappush(self._later, (line.due_ms, self._order, line))

    async def _keep_cursors(self) -> None:
        while True:
            # The first that moves is kept at once, so that a hub that keeps crashing gets on all the same.
            await self._keeper.wait(CURSOR_EVERY_S)
            try:
                await self._keeper.keep(self._some_lines())
            except HubError as error:
                _log.warning("webhooks.cursors_not_kept", code=error.code)
            await asyncio.sleep(CURSOR_EVERY_S)
