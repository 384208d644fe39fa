"""Decisions about relays: what settings make sense, which events are for whom, how long to wait. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from central_hub.kernel.brokers import BrokerKind
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import is_name
from central_hub.relays.model import (
    BACKOFF_S,
    CA_BYTES_MAX,
    DESTINATION_MAX,
    FILTER_MAX,
    SECRETS_BELOW,
    SERVERS_MAX,
    Settings,
)

ANY_LIKE: Final = "*"
DESTINATIONS: Final = {BrokerKind.NATS: "HUB", BrokerKind.REDIS: "{hub}:events", BrokerKind.KAFKA: "hub.events"}
"""Where events go without a word."""
MECHANISMS: Final = {BrokerKind.KAFKA: ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")}
"""How a user proves itself, where there are several ways; the first is taken without a word."""

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?\Z|[0-9A-Fa-f:.]{2,45}\Z")
_TYPE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}\*?\Z|\*\Z")
_SUBJECT: Final = re.compile(r"(?:[A-Za-z0-9_-]{1,64}|\*)(?:\.(?:[A-Za-z0-9_-]{1,64}|\*)){0,15}(?:\.>)?\Z|>\Z")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,32}(\.[A-Za-z0-9_-]{1,32}){0,3}\Z")
_FORMS: Final = {
    BrokerKind.NATS: re.compile(r"[A-Za-z0-9_-]{1,128}\Z"),
    BrokerKind.REDIS: re.compile(r"[!-~]{1,128}\Z"),
    BrokerKind.KAFKA: re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,128}\Z"),
}
"""What a JetStream stream, a Redis key and a Kafka topic may be called."""


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot work.

    Raises:
        HubError: `invalid_relay` (422), with the field.
    """
    if not 0 < len(settings.servers) <= SERVERS_MAX:
        raise invalid("servers", f"names 1 to {SERVERS_MAX} addresses")
    for server in settings.servers:
        if not _HOST.match(server.host) or not 0 < server.port < 65_536:
            raise invalid("servers", "are hosts with ports, such as 'broker.internal:4222', without a user")
    if not _FORMS[settings.kind].match(settings.destination):
        raise invalid("destination", f"is no name that {settings.kind.value} knows, up to {DESTINATION_MAX} characters")
    if not _PREFIX.match(settings.prefix):
        raise invalid("prefix", "is up to four words of letters, digits, '_' and '-', with dots between them")
    if settings.secret and not settings.secret.startswith(SECRETS_BELOW):
        raise invalid("secret", f"is the path of a secret of the platform that begins with '{SECRETS_BELOW}'")
    if settings.ca and not settings.tls:
        raise invalid("ca", "has a meaning with 'tls' only")
    if len(settings.ca) > CA_BYTES_MAX or (settings.ca and "-----BEGIN CERTIFICATE-----" not in settings.ca):
        raise invalid("ca", f"is PEM certificates, up to {CA_BYTES_MAX} bytes")
    if settings.mechanism and settings.mechanism not in MECHANISMS.get(settings.kind, ()):
        raise invalid("mechanism", f"is one of {', '.join(MECHANISMS[BrokerKind.KAFKA])}, for Kafka only")
    _check_filter(settings)
    _check_into(settings)


def wants(settings: Settings, *, tenant: str, category: str, type_: str, title: str) -> bool:
    """Say whether an event is for a relay.

    Args:
        settings: the relay's.
        tenant: whose event it is.
        category: what it is about.
        type_: of the event.
        title: its name in a word, which can stand for the type; empty for a published event.
    """
    if settings.tenants and tenant not in settings.tenants:
        return False
    if settings.categories and category not in settings.categories:
        return False
    if not settings.types:
        return True
    return any(
        type_.startswith(one[:-1]) if one.endswith(ANY_LIKE) else one in (type_, title) for one in settings.types
    )


def wait_s(failures: int, drawn: float) -> float:
    """Return how long to wait before the next attempt.

    Args:
        failures: in a row, 1 or more.
        drawn: 0 to 1.

    Returns:
        Seconds, between half of the step's longest wait and all of it.
    """
    longest = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
    return longest * (0.5 + 0.5 * drawn)


def invalid(field: str, rule: str) -> HubError:
    """Return the refusal of a relay's settings."""
    return HubError(
        "invalid_relay", Kind.MALFORMED, f"That is no relay that can work: '{field}' {rule}.",
        next_step="Correct the field; GET /relays shows relays that work.", fields={"field": field},
    )  # fmt: skip


def relay_missing() -> HubError:
    """Return the refusal of a name that no relay has."""
    return HubError(
        "relay_not_found", Kind.NOT_FOUND, "There is no relay of that name.", next_step="List them with GET /relays."
    )


def _check_into(settings: Settings) -> None:
    if not settings.into:
        if settings.subject:
            raise invalid("subject", "has a meaning with 'into' only")
        return
    if settings.tenants or settings.types or settings.categories:
        raise invalid("tenants", "and other filters are for events that go to a broker, not for those that come in")
    if settings.subject and (settings.kind is not BrokerKind.NATS or not _SUBJECT.match(settings.subject)):
        raise invalid("subject", "is what a NATS subject is compared with, such as 'plant.orders.>'")
    if not _FORMS[BrokerKind.NATS].match(settings.group):
        raise invalid("group", "is a name of letters, digits, '_' and '-'")


def _check_filter(settings: Settings) -> None:
    named: tuple[tuple[str, Sequence[str]], ...] = (
        ("tenants", settings.tenants), ("types", settings.types), ("categories", settings.categories),
    )  # fmt: skip
    for field, words in named:
        if len(words) > FILTER_MAX:
            raise invalid(field, f"names up to {FILTER_MAX}")
    if not all(is_name(word) for word in (*settings.tenants, *settings.categories)):
        raise invalid("tenants", "and 'categories' are words, such as 'acme' and 'service'")
    if not all(_TYPE.match(word) for word in settings.types):
        raise invalid("types", "are types of events; one may end in '*'")
