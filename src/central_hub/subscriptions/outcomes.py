"""Records what became of deliveries, where a tenant has to find it later: dead letters, and subscriptions paused."""

from __future__ import annotations

from collections.abc import Sequence

from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.subscriptions.model import (
    DEAD_LETTERS_MAX,
    Cause,
    Letter,
    PausedBecause,
    Status,
    Subscription,
    SubscriptionDeliveryParked,
    SubscriptionLettersEnded,
    SubscriptionPaused,
    subscription_stream,
)
from central_hub.subscriptions.view import SubscriptionsView


class Outcomes:
    """Writes for the hub itself; a subscription that is gone is left alone.

    Args:
        view: the subscriptions.
        sequencer: makes facts durable.
        clock: wall time.
        dead_letters_max: of one subscription.
    """

    def __init__(
        self,
        view: SubscriptionsView,
        sequencer: Sequencer,
        clock: Clock,
        *,
        dead_letters_max: int = DEAD_LETTERS_MAX,
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._clock = clock
        self._dead_letters_max = dead_letters_max

    async def park(
        self, domain: DomainId, subscription: Subscription, seq: int, *, cause: Cause, attempts: int, detail: str = ""
    ) -> bool:
        """Record that an event was given up; once, however often that is found out.

        Returns:
            Whether it is a dead letter now; not when there are too many, and the subscription is paused instead.

        Raises:
            HubError: `store_unavailable`, `outcome_unknown`, `storage_full`.
        """
        stream = subscription_stream(subscription.id)
        letter = Letter(seq=seq, cause=cause, attempts=attempts, at_ms=self._clock.now_ms(), detail=detail)

        def decide(tx: Tx) -> bool:
            tx.touch(domain, stream)
            found = self._view.subscription(domain, subscription.id)
            if found is None or found.era != subscription.era:
                return True
            letters = self._view.letters(domain, subscription.id)
            known = letters.get(seq)
            if known is not None and not known.replay_at_ms:
                return True
            if known is None and len(letters) >= self._dead_letters_max:
                if found.status is Status.ACTIVE:
                    fact = SubscriptionPaused(subscription_id=found.id, reason=PausedBecause.DEAD_LETTERS)
                    tx.append(domain, fact, streams=(stream,))
                return False
            fact = SubscriptionDeliveryParked(subscription_id=found.id, name=found.name, letter=letter)
            tx.append(domain, fact, streams=(stream,))
            return True

        return (await self._sequencer.submit(HUB_ACTOR, (domain,), decide)).answer

    async def end(self, domain: DomainId, subscription_id: str, seqs: Sequence[int], cause: Cause) -> None:
        """Record that dead letters are none any more.

        Raises:
            HubError: as `park`.
        """
        stream = subscription_stream(subscription_id)

        def decide(tx: Tx) -> None:
            tx.touch(domain, stream)
            letters = self._view.letters(domain, subscription_id)
            there = tuple(seq for seq in seqs if seq in letters)
            if there:
                fact = SubscriptionLettersEnded(subscription_id=subscription_id, seqs=there, cause=cause)
                tx.append(domain, fact, streams=(stream,))

        await self._sequencer.submit(HUB_ACTOR, (domain,), decide)
