"""Records what became of deliveries, where a tenant has to find it later: dead letters, and endpoints given up."""

from __future__ import annotations

from central_hub.kernel.clock import Clock
from central_hub.kernel.messaging import Outcome, Result
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.webhooks.lines import Line, Told
from central_hub.webhooks.model import (
    DeadLetter,
    DisabledBecause,
    Status,
    WebhookDeadLetterEnded,
    WebhookDeliveryParked,
    WebhookDisabled,
    webhook_stream,
)
from central_hub.webhooks.view import WebhooksView


class Outcomes:
    """Writes for the hub itself; an endpoint that is gone is left alone.

    Args:
        view: the endpoints.
        sequencer: makes facts durable.
        clock: wall time.
    """

    def __init__(self, view: WebhooksView, sequencer: Sequencer, clock: Clock) -> None:
        self._view = view
        self._sequencer = sequencer
        self._clock = clock

    async def park(self, line: Line, told: Told, outcome: Outcome, *, attempts: int) -> None:
        """Record that an event was given up; once, however often that is found out.

        Raises:
            HubError: `store_unavailable`, `outcome_unknown`, `storage_full`.
        """
        domain, webhook_id = line.domain, line.webhook.id
        letter = DeadLetter(
            seq=told.applied.domain_seq,
            event_id=told.applied.id,
            event_type=told.event.type,
            result=outcome.result,
            status=outcome.status,
            attempts=attempts,
            at_ms=self._clock.now_ms(),
        )

        def decide(tx: Tx) -> None:
            tx.touch(domain, webhook_stream(webhook_id))
            known = self._view.letters(domain, webhook_id).get(letter.seq)
            if self._view.webhook(domain, webhook_id) is None or (known is not None and not known.replaying):
                return
            fact = WebhookDeliveryParked(webhook_id=webhook_id, letter=letter)
            tx.append(domain, fact, streams=(webhook_stream(webhook_id),))

        await self._sequencer.submit(HUB_ACTOR, (domain,), decide)

    async def end(self, line: Line, seq: int, result: Result) -> None:
        """Record that a dead letter is none any more.

        Raises:
            HubError: as `park`.
        """
        domain, webhook_id = line.domain, line.webhook.id

        def decide(tx: Tx) -> None:
            tx.touch(domain, webhook_stream(webhook_id))
            if seq in self._view.letters(domain, webhook_id):
                fact = WebhookDeadLetterEnded(webhook_id=webhook_id, seq=seq, result=result)
                tx.append(domain, fact, streams=(webhook_stream(webhook_id),))

        await self._sequencer.submit(HUB_ACTOR, (domain,), decide)

    async def disable(self, line: Line, reason: DisabledBecause) -> None:
        """Record that an endpoint is told nothing any more.

        Raises:
            HubError: as `park`.
        """
        domain, webhook_id = line.domain, line.webhook.id

        def decide(tx: Tx) -> None:
            tx.touch(domain, webhook_stream(webhook_id))
            webhook = self._view.webhook(domain, webhook_id)
            if webhook is not None and webhook.status is Status.ENABLED:
                fact = WebhookDisabled(webhook_id=webhook_id, reason=reason)
                tx.append(domain, fact, streams=(webhook_stream(webhook_id),))

        await self._sequencer.submit(HUB_ACTOR, (domain,), decide)
