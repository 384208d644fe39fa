"""Which facts about subscriptions are told as events."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.events import TYPE_PREFIX, EventType
from central_hub.subscriptions.model import Cause, Letter, SubscriptionDeliveryParked, subject_of


class ParkedData(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was given up for a subscription, by its position."""

    name: str
    seq: int
    cause: str
    attempts: int
    detail: str


def _parked(fact: SubscriptionDeliveryParked) -> ParkedData:
    letter = fact.letter
    return ParkedData(
        name=fact.name, seq=letter.seq, cause=letter.cause.value, attempts=letter.attempts, detail=letter.detail
    )


_EXAMPLE: Final = SubscriptionDeliveryParked(
    subscription_id="sub_0198a3c4000070008000000000000002",
    name="orders",
    letter=Letter(seq=41, cause=Cause.REJECTED, attempts=3, at_ms=1_768_905_000_000, detail="no such order"),
)

EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}subscription.delivery-parked.v1", fact=SubscriptionDeliveryParked,
        order="subscription/{name}", example=_EXAMPLE,
        subject=lambda fact: subject_of(fact.name), data=_parked, shape=ParkedData,
        summary="An event was given up for a subscription; it can be delivered again.",
    ),
)  # fmt: skip
