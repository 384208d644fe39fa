"""One endpoint's place in its tenant's log: what waits, what is done, how it has been answering. Synchronous.

A line is *live* when everything up to its tenant's position is done or waits in its queue; the runner's listener
then hands it events as they are applied. When the queue overflows, or after a start, it is not: then the log is read
from its cursor on until it has caught up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence, Set

import msgspec

from central_hub.events.reading import Told as Event
from central_hub.kernel.cursors import Cursor
from central_hub.kernel.ids import DomainId
from central_hub.kernel.messaging import Outcome, Result
from central_hub.kernel.records import Applied
from central_hub.subscriptions.rules import Matcher
from central_hub.webhooks.model import (
    QUEUE_MAX,
    RECENT_KEPT,
    TenantConfigurationValueChanged,
    TenantFlagsValueChanged,
    Webhook,
    value_key,
    values_of,
)
from central_hub.webhooks.rules import Failing


class Told(msgspec.Struct, frozen=True, gc=False):
    """An event that may be for an endpoint: as it is told, and the record that it tells."""

    event: Event
    applied: Applied


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt, as it can be shown."""

    seq: int
    event_id: str
    event_type: str
    attempt: int
    result: Result
    status: int
    latency_ms: int
    at_ms: int


Saved = tuple[int, Failing]
"""What is kept of a line: up to where everything is done, and how it has been failing."""


class Line:
    """What is known of one endpoint beyond its record; soft, but for the cursor.

    Args:
        domain: the tenant's.
        webhook: the endpoint.
        kept: its cursor, None for one that never had any.
        position: where the tenant's log ends; a cursor beyond it is of another history.
        usual: the types that an endpoint is told that names none.
    """

    __slots__ = (
        "_matcher", "_usual", "domain", "done", "due_ms", "failing", "live", "queue", "recent", "saved", "scanned",
        "webhook",
    )  # fmt: skip

    def __init__(
        self,
        domain: DomainId,
        webhook: Webhook,
        kept: Cursor | None,
        position: int,
        usual: Set[str] = frozenset(),
    ) -> None:
        self._usual = usual
        self._matcher = Matcher(webhook.filter)
        self.domain = domain
        self.webhook = webhook
        self.done = webhook.from_seq
        self.failing = Failing()
        if kept is not None and webhook.from_seq <= kept.seq <= position:
            self.done = kept.seq
            self.failing = msgspec.msgpack.decode(kept.state, type=Failing) if kept.state else Failing()
        self.scanned = self.done
        self.saved: Saved = (self.done, self.failing)
        self.live = position == self.done
        self.queue: deque[Told] = deque()
        self.recent: deque[Attempt] = deque(maxlen=RECENT_KEPT)
        self.due_ms = 0.0

    @property
    def has_moved(self) -> bool:
        """Whether it stands elsewhere than its kept cursor says."""
        return (self.done, self.failing) != self.saved

    @property
    def takes_published(self) -> bool:
        """Whether what services publish may be for it."""
        return bool(self.webhook.events)

    def wants(self, told: Told) -> bool:
        """Say whether an event is for it: later than it begins, one of its types, of its service and environment."""
        webhook, applied, fact = self.webhook, told.applied, told.applied.fact
        if applied.domain_seq <= webhook.from_seq:
            return False
        name = told.event.type
        if not (webhook.wants(name) if webhook.events else name in self._usual) or not self._matcher.wants(told.event):
            return False
        if isinstance(fact, TenantConfigurationValueChanged | TenantFlagsValueChanged):
            return value_key(fact) in values_of(webhook)
        # What became of an endpoint is for the others: telling it of its own dead letters would make more of them.
        return getattr(fact, "webhook_id", None) != webhook.id

    def offer(self, batch: Sequence[Told]) -> bool:
        """Take what was applied in the tenant's domain; says whether something waits now."""
        if not self.live:
            return True
        for told in batch:
            seq = told.applied.domain_seq
            if seq <= self.scanned:
                continue
            if not self.wants(told):
                self.scanned = seq
            elif len(self.queue) < QUEUE_MAX:
                self.queue.append(told)
                self.scanned = seq
            else:
                self.live = False
                return True
        return bool(self.queue)

    def fill(self, found: Sequence[Told], *, read_to: int, position: int) -> None:
        """Take what was read from the log.

        Args:
            found: the events among it, in order.
            read_to: the last position that was read, whether or not it could be opened.
            position: where the tenant's log ends in the views.
        """
        self.queue.extend(told for told in found if told.applied.domain_seq > self.scanned and self.wants(told))
        self.scanned = max(self.scanned, read_to)
        self.live = self.scanned >= position

    def finish(self) -> None:
        """Be done with the event that is next."""
        self.done = self.queue.popleft().applied.domain_seq

    def stop(self) -> None:
        """Let go of what waits in memory; it is read again from the cursor."""
        self.queue.clear()
        self.scanned = self.done
        self.live = False

    def cursor(self, position: int) -> Cursor | None:
        """Return the cursor to keep, None while the kept one says the same.

        With nothing waiting everything up to the tenant's position is done.
        """
        if self.live and not self.queue:
            self.done = max(self.done, position)
        elif not self.queue:
            self.done = max(self.done, self.scanned)
        now = (self.done, self.failing)
        if now == self.saved:
            return None
        self.saved = now
        state = msgspec.msgpack.encode(self.failing) if self.failing.failures else b""
        return Cursor(consumer=self.webhook.id, domain=self.domain, seq=self.done, state=state)

    def note(self, told: Told, outcome: Outcome, attempt: int, now_ms: int) -> None:
        """Remember an attempt, so that it can be shown."""
        self.recent.append(
            Attempt(
                seq=told.applied.domain_seq,
                event_id=told.applied.id,
                event_type=told.event.type,
                attempt=attempt,
                result=outcome.result,
                status=outcome.status,
                latency_ms=outcome.latency_ms,
                at_ms=now_ms,
            )
        )
