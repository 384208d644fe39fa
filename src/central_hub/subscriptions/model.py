"""What is remembered of subscriptions: the facts, the state they fold into, stream names and limits. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact

SUBSCRIPTIONS_PER_TENANT_MAX: Final = 1_000
DESCRIPTION_MAX: Final = 256
PATTERNS_MAX: Final = 32
"""Types, categories, services or sources that a filter names, of each."""
PATTERN_LENGTH_MAX: Final = 128
STARS_MAX: Final = 4
"""Places in one pattern where anything may stand."""

ACK_WAIT_S: Final = 30.0
ACK_WAIT_S_MIN: Final = 0.1
ACK_WAIT_S_MAX: Final = 43_200.0
BACKOFF_S: Final = (1.0, 5.0, 30.0, 120.0)
"""Seconds before an event that was not acknowledged comes again, after the first delivery and those that follow; the
last stands for all later ones."""
BACKOFF_STEPS_MAX: Final = 16
BACKOFF_S_MAX: Final = 86_400.0
MAX_DELIVERIES: Final = 5
MAX_DELIVERIES_MAX: Final = 100
IN_FLIGHT: Final = 100
IN_FLIGHT_MAX: Final = 1_000
"""Events of one subscription that are given out, or wait to be given out again; what is kept of each is a position."""

DEAD_LETTERS_MAX: Final = 1_000
"""Dead letters of one subscription; past this it is paused, and nothing more is given up."""
REPLAY_MAX: Final = 1_000
"""Dead letters that one command delivers again."""
REPLAY_PER_S_MAX: Final = 1_000.0
LETTER_PAGE_MAX: Final = 500
PAGE_MAX: Final = 500
LAST_SCANNED_MAX: Final = 20_000
"""Records that are looked at, backwards, for the last event that a new subscription wants."""

PULL_MAX: Final = 256
"""Events that one request takes."""
PULL_BYTES_MAX: Final = 4_194_304
"""Bytes of events that one request takes; the event that passes it is the last."""
SETTLE_MAX: Final = 1_000
"""Deliveries that one request settles."""
WAIT_S_MAX: Final = 60.0

CONSUMERS_PER_SUBSCRIPTION_MAX: Final = 256
CONSUMERS_PER_TENANT_MAX: Final = 2_000
CONSUMERS_MAX: Final = 20_000
READY_MAX: Final = 64
"""Events of one subscription that wait in memory to be given out; more are read from the log when there is room."""
READY_BYTES_MAX: Final = 262_144
RECENT_MAX: Final = 512
"""Latest records of a domain that are kept at hand for those who follow it live."""
RECENT_BYTES_MAX: Final = 262_144
READ_PAGE: Final = 100
"""Records read from the log at once, and so between two looks at the other tenants."""
READS_AT_ONCE: Final = 8
READS_PER_TENANT_AT_ONCE: Final = 2
BATCH: Final = 16
"""Events that one subscription is given before another has its turn."""
CURSOR_EVERY_S: Final = 0.25
"""Longest time before a place is kept that moved without anyone waiting for it."""
LOOK_SLICE: Final = 64

ID_PREFIX: Final = "sub_"
COUNT_SUBSCRIPTIONS: Final = "count/subscriptions"
NAMES: Final = "subscription-name"
WORK: Final = "delivery"
"""What one hub does for a tenant, as `kernel.ownership` names it: its webhooks too."""

SCOPE_READ: Final = "subscriptions:read"
SCOPE_ADMIN: Final = "subscriptions:admin"
SCOPE_CONSUME: Final = "subscriptions:consume"


class Status(StrEnum):
    """Whether a subscription gives out events; what happens while it does not waits for it in the log."""

    ACTIVE = "active"
    PAUSED = "paused"


class PausedBecause(StrEnum):
    """Why a subscription is paused."""

    ASKED = "asked"
    DEAD_LETTERS = "dead_letters"


class Cause(StrEnum):
    """Why an event was given up, or why a dead letter is none any more."""

    REJECTED = "rejected"
    """Its consumer said that trying again is of no use."""
    NOT_ACKNOWLEDGED = "not_acknowledged"
    """It was delivered as often as it may be."""
    EXPIRED = "expired"
    """It has left the log."""
    ACKNOWLEDGED = "acknowledged"
    DISCARDED = "discarded"


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which events are wanted; all that are given must hold, and what is empty wants all.

    `types` and `sources` are patterns, in which `*` stands for anything; a type also goes by its name in a word.
    """

    types: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How events are delivered.

    Args:
        ack_wait_s: seconds that a consumer has to acknowledge an event, or to ask for more.
        backoff_s: seconds before it comes again, see `BACKOFF_S`.
        max_deliveries: how often it is delivered before it is given up.
        max_in_flight: events that may be given out and not acknowledged; 1 keeps them in order.
    """

    ack_wait_s: float = ACK_WAIT_S
    backoff_s: tuple[float, ...] = BACKOFF_S
    max_deliveries: int = MAX_DELIVERIES
    max_in_flight: int = IN_FLIGHT


class Subscription(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A durable subscription. It reads after `from_seq`; `era` is the position of what said so last.

    A place that was kept for another era is not believed: somebody has sent the subscription elsewhere since.
    """

    id: str
    name: str
    filter: Filter
    terms: Terms
    description: str = ""
    from_seq: int = 0
    from_now: bool = False
    era: int = 0
    status: Status = Status.ACTIVE
    reason: str = ""
    created_at_ms: int = 0
    created_by: str = ""


class Letter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that was given up, by its position in the log. `replay_at_ms` is 0 unless it is to come again."""

    seq: int
    cause: Cause
    attempts: int
    at_ms: int
    detail: str = ""
    replay_at_ms: int = 0


class SubscriptionCreated(Fact, frozen=True, kw_only=True):
    """Somebody follows a domain's events."""

    subscription: Subscription


class SubscriptionChanged(Fact, frozen=True, kw_only=True):
    """What a subscription wants, or how it is delivered to, is something else; its place stays."""

    subscription_id: str
    filter: Filter
    terms: Terms
    description: str


class SubscriptionMoved(Fact, frozen=True, kw_only=True):
    """A subscription goes on from elsewhere; what was under way is forgotten."""

    subscription_id: str
    from_seq: int
    from_now: bool = False


class SubscriptionPaused(Fact, frozen=True, kw_only=True):
    """A subscription gives out nothing from now on; what happens waits for it."""

    subscription_id: str
    reason: PausedBecause


class SubscriptionResumed(Fact, frozen=True, kw_only=True):
    """A subscription gives out events again, beginning with what waited."""

    subscription_id: str


class SubscriptionDeleted(Fact, frozen=True, kw_only=True):
    """A subscription is gone, with its dead letters."""

    subscription_id: str


class SubscriptionDeliveryParked(Fact, frozen=True, kw_only=True):
    """An event was given up for a subscription; it can be delivered again as long as it is in the log."""

    subscription_id: str
    name: str
    letter: Letter


class SubscriptionReplayAsked(Fact, frozen=True, kw_only=True):
    """Dead letters are to be delivered again, each not before its time (wall clock, ms)."""

    subscription_id: str
    at_ms: tuple[tuple[int, int], ...]


class SubscriptionLettersEnded(Fact, frozen=True, kw_only=True):
    """Dead letters are none any more."""

    subscription_id: str
    seqs: tuple[int, ...]
    cause: Cause


FACTS: Final[tuple[type[Fact], ...]] = (
    SubscriptionCreated,
    SubscriptionChanged,
    SubscriptionMoved,
    SubscriptionPaused,
    SubscriptionResumed,
    SubscriptionDeleted,
    SubscriptionDeliveryParked,
    SubscriptionReplayAsked,
    SubscriptionLettersEnded,
)


def subscription_stream(subscription_id: str) -> str:
    """Name the aggregate of one subscription."""
    return f"subscription/{subscription_id}"


def name_stream(name: str) -> str:
    """Name what holds a subscription's name within its domain."""
    return f"{NAMES}/{name}"


def subject_of(name: str) -> str:
    """Name a subscription as the subject of events about it."""
    return f"subscription/{name}"
