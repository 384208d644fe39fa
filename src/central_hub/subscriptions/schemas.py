"""What HTTP adds to the model of subscriptions: bodies, queries and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from central_hub.events.schemas import CloudEvent
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.ids import NAME_PATTERN
from central_hub.subscriptions.consumers import Given
from central_hub.subscriptions.lines import Line
from central_hub.subscriptions.model import (
    ACK_WAIT_S_MAX,
    ACK_WAIT_S_MIN,
    BACKOFF_S_MAX,
    BACKOFF_STEPS_MAX,
    DESCRIPTION_MAX,
    IN_FLIGHT_MAX,
    LETTER_PAGE_MAX,
    MAX_DELIVERIES_MAX,
    PAGE_MAX,
    PATTERN_LENGTH_MAX,
    PATTERNS_MAX,
    PULL_MAX,
    REPLAY_MAX,
    REPLAY_PER_S_MAX,
    SETTLE_MAX,
    WAIT_S_MAX,
    Filter,
    Letter,
    Subscription,
    Terms,
)
from central_hub.subscriptions.rules import DELIVERY_LENGTH_MAX
from central_hub.subscriptions.starting import Deliver, Policy

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=PATTERN_LENGTH_MAX)]
Patterns = Annotated[list[Pattern], msgspec.Meta(max_length=PATTERNS_MAX)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=BACKOFF_S_MAX)]
Backoff = Annotated[list[Seconds], msgspec.Meta(min_length=1, max_length=BACKOFF_STEPS_MAX)]
DeliveryId = Annotated[str, msgspec.Meta(min_length=1, max_length=DELIVERY_LENGTH_MAX)]
DeliveryIds = Annotated[list[DeliveryId], msgspec.Meta(max_length=SETTLE_MAX)]
Description = Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)]
Seq = Annotated[int, msgspec.Meta(ge=1)]


class FilterBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events are wanted; all that are given must hold, and what is left out wants all.

    In `types` and `sources` `*` stands for anything.
    """

    types: Patterns = []
    categories: Patterns = []
    services: Patterns = []
    sources: Patterns = []

    def filter(self) -> Filter:
        """Return what it says."""
        return Filter(
            types=tuple(self.types), categories=tuple(self.categories), services=tuple(self.services),
            sources=tuple(self.sources),
        )  # fmt: skip


class TermsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How events are delivered; what is left out stays as it is, or is as usual.

    `max_in_flight` 1 keeps events in order: the next one comes when the one before it is acknowledged or given up.
    """

    ack_wait_s: Annotated[float, msgspec.Meta(ge=ACK_WAIT_S_MIN, le=ACK_WAIT_S_MAX)] | None = None
    backoff_s: Backoff | None = None
    max_deliveries: Annotated[int, msgspec.Meta(ge=1, le=MAX_DELIVERIES_MAX)] | None = None
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=IN_FLIGHT_MAX)] | None = None

    def terms(self, before: Terms) -> Terms:
        """Return what it says, on top of what was there."""
        return Terms(
            ack_wait_s=before.ack_wait_s if self.ack_wait_s is None else self.ack_wait_s,
            backoff_s=before.backoff_s if self.backoff_s is None else tuple(self.backoff_s),
            max_deliveries=before.max_deliveries if self.max_deliveries is None else self.max_deliveries,
            max_in_flight=before.max_in_flight if self.max_in_flight is None else self.max_in_flight,
        )


class DeliverBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a subscription begins: with what becomes true from now on, with everything that is kept, with the last
    event that it wants, after a position, or at a time (RFC 3339)."""

    policy: Policy = Policy.NEW
    position: Annotated[str, msgspec.Meta(max_length=96)] = ""
    time: Annotated[str, msgspec.Meta(max_length=64)] = ""

    def deliver(self) -> Deliver:
        """Return what it says."""
        return Deliver(policy=self.policy, position=self.position, time=self.time)


class CreateSubscription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription to create."""

    name: Name
    filter: FilterBody = FilterBody()
    terms: TermsBody = TermsBody()
    deliver: DeliverBody = DeliverBody()
    description: Description = ""


class ChangeSubscription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be something else about a subscription; its place stays."""

    filter: FilterBody | None = None
    terms: TermsBody | None = None
    description: Description | None = None


class SubscriptionPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the subscriptions is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Name | None = None


class PullQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many events to take, and how long to wait for the first, seconds."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PULL_MAX)] = 10
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = 0.0


class FollowQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many events this consumer may hold at once."""

    max_held: Annotated[int, msgspec.Meta(ge=1, le=IN_FLIGHT_MAX)] = IN_FLIGHT_MAX


class Nack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A delivery that was not handled: when the event comes again, or, with `reject`, that it need not."""

    id: DeliveryId
    delay_s: Seconds | None = None
    reject: bool = False
    reason: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)] = ""


class Settle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a consumer says of deliveries: done; not done; give me as long again; take it back as if it had not been
    given."""

    ack: DeliveryIds = []
    nack: Annotated[list[Nack], msgspec.Meta(max_length=SETTLE_MAX)] = []
    extend: DeliveryIds = []
    release: DeliveryIds = []


class SocketSettle(Settle, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same over a WebSocket; `ref` comes back with the answer."""

    ref: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class ReplayLetters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to deliver again, by position, or all; how many at most, how many a second; or only say
    which."""

    seqs: Annotated[list[Seq], msgspec.Meta(min_length=1, max_length=REPLAY_MAX)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=REPLAY_MAX)] = REPLAY_MAX
    per_s: Annotated[float, msgspec.Meta(gt=0, le=REPLAY_PER_S_MAX)] | None = None
    dry_run: bool = False


class DiscardLetters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to forget, by position, or all; how many at most; or only say which."""

    seqs: Annotated[list[Seq], msgspec.Meta(min_length=1, max_length=REPLAY_MAX)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=REPLAY_MAX)] = REPLAY_MAX
    dry_run: bool = False


class LetterPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the dead letters is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LETTER_PAGE_MAX)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")] | None = None


class SubscriptionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription and where it stands.

    `done` is the position up to which every event is settled; `in_flight` events are given out or wait to come again;
    `behind` records of the log were not looked at yet.
    """

    name: str
    filter: Filter
    terms: Terms
    description: str
    status: str
    reason: str
    created_at: str
    created_by: str
    done: str
    in_flight: int
    behind: int
    dead_letters: int


class SubscriptionList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of subscriptions, in order of name."""

    subscriptions: Annotated[list[SubscriptionAnswer], msgspec.Meta(max_length=PAGE_MAX)]
    next_cursor: str | None = None


class DeliveryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery of an event; `id` is what it is acknowledged by, within `ack_wait_s` seconds."""

    id: str
    attempt: int
    ack_wait_s: float
    event: CloudEvent


class PullAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The events that were taken, those first that were there first."""

    deliveries: Annotated[list[DeliveryAnswer], msgspec.Meta(max_length=PULL_MAX)]


class LetterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was given up; `position` finds it in the log, and `replay_at` says when it comes again."""

    seq: int
    position: str
    cause: str
    attempts: int
    detail: str
    at: str
    replay_at: str | None


class LetterList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of dead letters, oldest first."""

    letters: Annotated[list[LetterAnswer], msgspec.Meta(max_length=LETTER_PAGE_MAX)]
    next_cursor: str | None = None


class ChosenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Positions of the dead letters that a command is about, or would be, and how many others remain."""

    seqs: list[int]
    remaining: int
    dry_run: bool


def subscription_answer(
    subscription: Subscription, line: Line, *, done: str, head: int, dead_letters: int
) -> SubscriptionAnswer:
    """Show a subscription."""
    return SubscriptionAnswer(
        name=subscription.name,
        filter=subscription.filter,
        terms=subscription.terms,
        description=subscription.description,
        status=subscription.status.value,
        reason=subscription.reason,
        created_at=rfc3339(subscription.created_at_ms),
        created_by=subscription.created_by,
        done=done,
        in_flight=line.in_flight,
        behind=max(0, head - line.through),
        dead_letters=dead_letters,
    )


def letter_answer(letter: Letter, position: str) -> LetterAnswer:
    """Show a dead letter."""
    return LetterAnswer(
        seq=letter.seq,
        position=position,
        cause=letter.cause.value,
        attempts=letter.attempts,
        detail=letter.detail,
        at=rfc3339(letter.at_ms),
        replay_at=rfc3339(letter.replay_at_ms) if letter.replay_at_ms else None,
    )


def delivery_text(given: Given) -> bytes:
    """Write a delivery; its event is written once, whoever gets it."""
    return b'{"id":"%b","attempt":%d,"ack_wait_s":%b,"event":%b}' % (
        given.id.encode("ascii"), given.attempt, msgspec.json.encode(given.ack_wait_s), given.told.body,
    )  # fmt: skip


def pull_text(given: Sequence[Given]) -> bytes:
    """Write the answer to a request that takes events."""
    return b'{"deliveries":[%b]}' % b",".join([delivery_text(one) for one in given])


def query_of(query: msgspec.Struct | None) -> dict[str, Any]:  # Any: what a query holds
    """Return the members of a query that are not as usual, to ask another hub the same."""
    if query is None:
        return {}
    usual = type(query)()
    return {
        name: getattr(query, name) for name in query.__struct_fields__ if getattr(query, name) != getattr(usual, name)
    }
