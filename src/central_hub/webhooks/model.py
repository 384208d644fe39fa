"""What is remembered of webhooks: the facts, the state they fold into, stream names and limits. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from central_hub.kernel.events import TYPE_PREFIX
from central_hub.kernel.facts import Fact
from central_hub.kernel.messaging import Result
from central_hub.subscriptions.model import Filter
from central_hub.subscriptions.rules import any_of

ENDPOINTS_PER_TENANT_MAX: Final = 16
URL_LENGTH_MAX: Final = 2_048
EVENTS_PER_ENDPOINT_MAX: Final = 32
DESCRIPTION_MAX: Final = 256
SECRET_BYTES: Final = 32
ROTATION_GRACE_S: Final = 86_400
ROTATION_GRACE_S_MAX: Final = 7 * 86_400
BODY_BYTES_MAX: Final = 65_536
"""Largest event that is sent; a larger one becomes a dead letter."""

BACKOFF_S: Final = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)
"""Longest waits before the second attempt and those after it; each wait is drawn between nothing and that (full
jitter). Source: Standard Webhooks 1.0.0, "Deliverability and reliability"."""
BACKOFF_MIN_S: Final = 0.5
"""No wait is shorter, whatever is drawn."""
RETRY_AFTER_S_MAX: Final = 3_600
"""Longest time that a receiver can ask the hub to wait."""
FAILURES_MAX: Final = 8
FAILING_FOR_MS: Final = 86_400_000
"""An endpoint whose last `FAILURES_MAX` attempts failed, for so long, is disabled."""
DEAD_LETTERS_MAX: Final = 1_000
"""Dead letters of one endpoint; past this it is disabled, and nothing more is given up."""
REPLAY_MAX: Final = 100
"""Dead letters that one command sends again."""
PAGE_MAX: Final = 500

QUEUE_MAX: Final = 64
"""Events of one endpoint that wait in memory; more are read from the log when their turn comes."""
READ_PAGE: Final = 64
"""Records read from the log at once, and so between two looks at the other tenants."""
IN_FLIGHT_MAX: Final = 128
IN_FLIGHT_PER_TENANT_MAX: Final = 4
FAILING_IN_FLIGHT_MAX: Final = 64
"""Attempts at endpoints whose last attempt failed; the rest of `IN_FLIGHT_MAX` is for those that answer."""
RECENT_KEPT: Final = 20
"""Attempts of one endpoint that can be shown."""
CURSOR_EVERY_S: Final = 0.25
"""Longest time between a delivery and its cursor: what a crash of the hub makes it deliver again."""
VALUES_SWEEP_S: Final = 1.0
"""Seconds within which a change of a value is noticed that no fact tells, such as the end of a grant."""

WEBHOOK_ID_PREFIX: Final = "wh_"
WEBHOOK_ID_PATTERN: Final = r"^wh_[0-9a-f]{32}$"

COUNT_WEBHOOKS: Final = "count/webhooks"

CONFIG_CHANGED: Final = f"{TYPE_PREFIX}config.changed.v1"
FLAGS_CHANGED: Final = f"{TYPE_PREFIX}flags.changed.v1"
PING: Final = f"{TYPE_PREFIX}webhook.ping.v1"
"""What `test` sends; it is no fact and has no position."""

SCOPE_READ: Final = "webhooks:read"
SCOPE_ADMIN: Final = "webhooks:admin"


class Status(StrEnum):
    """Whether an endpoint is told anything; what happens while it is not waits for it in the log."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DisabledBecause(StrEnum):
    """Why an endpoint is disabled."""

    ASKED = "asked"
    GONE = "gone"
    """It answered 410."""
    FAILING = "failing"
    DEAD_LETTERS = "dead_letters"


class Topic(StrEnum):
    """Values of a tenant that hang on more than its own facts: on plans, and on what the platform defines."""

    CONFIG = "config"
    FLAGS = "flags"


class ValueKey(NamedTuple):
    """One value of a tenant: the configuration of a service in an environment, the flags of an environment."""

    topic: str
    service: str = ""
    environment: str = ""


class Webhook(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An endpoint: where it is, what it wants, and its one or two live secrets, sealed under its domain's data key.

    `events` are patterns of types; an endpoint that has none is told what the hub tells of the tenant itself. `filter`
    says more about the events that are wanted, but no types. `service` and `environment` say whose configuration and
    flags it is told of.
    `from_seq` is the position that it begins after: of its creation, or `start_seq` where that is given.
    """

    id: str
    url: str
    events: tuple[str, ...]
    sealed_by: str
    sealed: bytes
    service: str = ""
    environment: str = ""
    description: str = ""
    previous_sealed_by: str = ""
    previous_sealed: bytes = b""
    previous_until_ms: int = 0
    status: Status = Status.ENABLED
    reason: str = ""
    created_at_ms: int = 0
    created_by: str = ""
    from_seq: int = 0
    start_seq: int = -1
    filter: Filter = Filter()

    def wants(self, event_type: str) -> bool:
        """Say whether a type of event is among those that it names; all are where it names none."""
        like = any_of(self.events)
        return like is None or bool(like(event_type))


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that was given up, by its position in the log."""

    seq: int
    event_id: str
    event_type: str
    result: Result
    status: int
    attempts: int
    at_ms: int
    replaying: bool = False


class WebhookCreated(Fact, frozen=True, kw_only=True):
    """An endpoint is told what becomes true from now on."""

    webhook: Webhook


class WebhookSecretRotated(Fact, frozen=True, kw_only=True):
    """An endpoint has a new secret; the one before signs beside it for a while."""

    webhook_id: str
    sealed_by: str
    sealed: bytes
    previous_until_ms: int


class WebhookDisabled(Fact, frozen=True, kw_only=True):
    """An endpoint is told nothing from now on; what happens waits for it."""

    webhook_id: str
    reason: DisabledBecause


class WebhookEnabled(Fact, frozen=True, kw_only=True):
    """An endpoint is told again, beginning with what waited."""

    webhook_id: str


class WebhookDeleted(Fact, frozen=True, kw_only=True):
    """An endpoint is gone, with its dead letters."""

    webhook_id: str


class WebhookDeliveryParked(Fact, frozen=True, kw_only=True):
    """An event was given up for an endpoint; it can be sent again as long as it is in the log."""

    webhook_id: str
    letter: DeadLetter


class WebhookReplayAsked(Fact, frozen=True, kw_only=True):
    """Dead letters are to be sent again."""

    webhook_id: str
    seqs: tuple[int, ...]


class WebhookDeadLetterEnded(Fact, frozen=True, kw_only=True):
    """A dead letter was delivered after all, or has left the log."""

    webhook_id: str
    seq: int
    result: Result


class _ValueChanged(Fact, frozen=True, kw_only=True):
    service: str
    environment: str
    fingerprint: str


class TenantConfigurationValueChanged(_ValueChanged, frozen=True, kw_only=True):
    """What applies to a tenant is something else now; recorded where an endpoint wants to know."""


class TenantFlagsValueChanged(_ValueChanged, frozen=True, kw_only=True):
    """What flags say to a tenant is something else now; recorded where an endpoint wants to know."""


ValueChanged = TenantConfigurationValueChanged | TenantFlagsValueChanged

FACTS: Final[tuple[type[Fact], ...]] = (
    WebhookCreated,
    WebhookSecretRotated,
    WebhookDisabled,
    WebhookEnabled,
    WebhookDeleted,
    WebhookDeliveryParked,
    WebhookReplayAsked,
    WebhookDeadLetterEnded,
    TenantConfigurationValueChanged,
    TenantFlagsValueChanged,
)


def webhook_stream(webhook_id: str) -> str:
    """Name the aggregate of one endpoint."""
    return f"webhook/{webhook_id}"


def value_stream(key: ValueKey) -> str:
    """Name the aggregate of one value that endpoints are told of."""
    return f"webhook-value/{key.topic}/{key.service}/{key.environment}"


def value_key(fact: ValueChanged) -> ValueKey:
    """Return the value that a fact is about."""
    topic = Topic.CONFIG if isinstance(fact, TenantConfigurationValueChanged) else Topic.FLAGS
    return ValueKey(topic.value, fact.service, fact.environment)


def values_of(webhook: Webhook) -> tuple[ValueKey, ...]:
    """Return the values that an endpoint is told of."""
    keys: list[ValueKey] = []
    if webhook.wants(CONFIG_CHANGED):
        keys.append(ValueKey(Topic.CONFIG.value, webhook.service, webhook.environment))
    if webhook.wants(FLAGS_CHANGED):
        keys.append(ValueKey(Topic.FLAGS.value, "", webhook.environment))
    return tuple(keys)


def secret_data(domain: str, webhook_id: str) -> bytes:
    """Bind a sealed secret to the endpoint it belongs to: moved elsewhere, it does not open."""
    return f"webhook-secret\n{domain}\n{webhook_id}".encode()
