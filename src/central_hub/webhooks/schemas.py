"""What HTTP adds to the model of webhooks: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.kernel.ids import NAME_PATTERN
from central_hub.kernel.messaging import Outcome
from central_hub.subscriptions.model import Filter
from central_hub.subscriptions.schemas import DeliverBody, Patterns
from central_hub.webhooks.lines import Attempt
from central_hub.webhooks.model import (
    DESCRIPTION_MAX,
    ENDPOINTS_PER_TENANT_MAX,
    EVENTS_PER_ENDPOINT_MAX,
    PAGE_MAX,
    REPLAY_MAX,
    ROTATION_GRACE_S,
    ROTATION_GRACE_S_MAX,
    URL_LENGTH_MAX,
    WEBHOOK_ID_PATTERN,
    DeadLetter,
    Webhook,
)

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=URL_LENGTH_MAX)]
TypeName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Seq = Annotated[int, msgspec.Meta(ge=1)]


class MoreFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events are wanted, beside their types; all that are given must hold. `*` stands for anything in sources."""

    categories: Patterns = []
    services: Patterns = []
    sources: Patterns = []

    def filter(self) -> Filter:
        """Return what it says."""
        return Filter(categories=tuple(self.categories), services=tuple(self.services), sources=tuple(self.sources))


class CreateWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An endpoint to create.

    `events` are types, in which `*` stands for anything; without any it is told what the hub tells of the tenant
    itself, and nothing that services publish. `filter` says more about what is wanted, `deliver` where to begin.
    `service` and `environment` say whose configuration and flags it is told of.
    """

    url: Url
    events: Annotated[list[TypeName], msgspec.Meta(max_length=EVENTS_PER_ENDPOINT_MAX)] = []
    service: Name | None = None
    environment: Name | None = None
    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)] = ""
    filter: MoreFilter = MoreFilter()
    deliver: DeliverBody = DeliverBody()


class WebhookPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the webhooks is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=WEBHOOK_ID_PATTERN)] | None = None


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the dead letters is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")] | None = None


class RotateWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the secret before signs beside the new one, seconds."""

    grace_s: Annotated[int, msgspec.Meta(ge=0, le=ROTATION_GRACE_S_MAX)] = ROTATION_GRACE_S


class ReplayWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to send again, by position, or all; how many at most; or only say which."""

    seqs: Annotated[list[Seq], msgspec.Meta(min_length=1, max_length=REPLAY_MAX)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=REPLAY_MAX)] = REPLAY_MAX
    dry_run: bool = False


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint without its secret. `done_seq` is the position in the tenant's log up to which it was told."""

    webhook_id: str
    url: str
    events: list[str]
    service: str | None
    environment: str | None
    description: str
    filter: Filter
    status: str
    reason: str
    created_at: str
    created_by: str
    previous_secret_until: str | None
    done_seq: int
    failures: int
    dead_letters: int


class WebhookSecretAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint with its new secret, shown this once; null where the answer is that of an earlier request."""

    webhook: WebhookAnswer
    secret: str | None


class WebhookList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of endpoints, oldest first."""

    webhooks: Annotated[list[WebhookAnswer], msgspec.Meta(max_length=ENDPOINTS_PER_TENANT_MAX)]
    next_cursor: str | None = None


class AttemptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to deliver an event; `status` is 0 where nothing answered."""

    seq: int
    event_id: str
    event_type: str
    attempt: int
    result: str
    status: int
    latency_ms: int
    at: str


class DeadLetterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was given up."""

    seq: int
    event_id: str
    event_type: str
    result: str
    status: int
    attempts: int
    at: str
    replaying: bool


class DeliveriesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The latest attempts since the hub started, and a page of dead letters, both oldest first."""

    attempts: list[AttemptAnswer]
    dead_letters: list[DeadLetterAnswer]
    next_cursor: str | None = None


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Positions of the dead letters that are sent again, or would be, and how many others remain."""

    seqs: list[int]
    remaining: int
    dry_run: bool


class PingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a test message."""

    event_id: str
    delivered: bool
    result: str
    status: int
    latency_ms: int


def webhook_answer(webhook: Webhook, *, done_seq: int, failures: int, dead_letters: int, now_ms: int) -> WebhookAnswer:
    """Show an endpoint."""
    rotating = webhook.previous_until_ms > now_ms
    return WebhookAnswer(
        webhook_id=webhook.id,
        url=webhook.url,
        events=list(webhook.events),
        service=webhook.service or None,
        environment=webhook.environment or None,
        description=webhook.description,
        filter=webhook.filter,
        status=webhook.status.value,
        reason=webhook.reason,
        created_at=rfc3339(webhook.created_at_ms),
        created_by=webhook.created_by,
        previous_secret_until=rfc3339(webhook.previous_until_ms) if rotating else None,
        done_seq=done_seq,
        failures=failures,
        dead_letters=dead_letters,
    )


def attempt_answer(attempt: Attempt) -> AttemptAnswer:
    """Show an attempt."""
    return AttemptAnswer(
        seq=attempt.seq,
        event_id=attempt.event_id,
        event_type=attempt.event_type,
        attempt=attempt.attempt,
        result=attempt.result.value,
        status=attempt.status,
        latency_ms=attempt.latency_ms,
        at=rfc3339(attempt.at_ms),
    )


def dead_letter_answer(letter: DeadLetter) -> DeadLetterAnswer:
    """Show a dead letter."""
    return DeadLetterAnswer(
        seq=letter.seq,
        event_id=letter.event_id,
        event_type=letter.event_type,
        result=letter.result.value,
        status=letter.status,
        attempts=letter.attempts,
        at=rfc3339(letter.at_ms),
        replaying=letter.replaying,
    )


def ping_answer(event_id: str, outcome: Outcome) -> PingAnswer:
    """Show what came of a test message."""
    return PingAnswer(
        event_id=event_id,
        delivered=outcome.result.value == "delivered",
        result=outcome.result.value,
        status=outcome.status,
        latency_ms=outcome.latency_ms,
    )
