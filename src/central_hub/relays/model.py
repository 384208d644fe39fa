"""What is remembered of relays: the facts, the state they fold into, stream names and limits. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.brokers import BrokerKind, Trouble
from central_hub.kernel.facts import Fact

RELAYS_MAX: Final = 16
SERVERS_MAX: Final = 8
FILTER_MAX: Final = 64
"""Tenants, types and categories that one relay can name, each."""
DESTINATION_MAX: Final = 128
CA_BYTES_MAX: Final = 32_768
DESCRIPTION_MAX: Final = 256
PARKED_MAX: Final = 1_000
"""Events of one relay that its broker will never take; past this it is paused, and nothing more is passed over."""
KEEP: Final = 1_000_000
"""Entries that a Redis stream keeps about, without a word."""
KEEP_MAX: Final = 1_000_000_000

BATCH_MAX: Final = 256
"""Messages in flight: handed over together, and acknowledged before the next are."""
BATCH_BYTES_MAX: Final = 524_288
QUEUE_MAX: Final = 2_048
"""Records that wait for one relay in memory; past this it reads the log instead."""
READ_PAGE: Final = 256
ENCODE_SLICE: Final = 32
"""Events that are written before others have their turn."""
CURSOR_EVERY_S: Final = 0.5
"""Longest time between an acknowledgement and its cursor: what a crash of the hub makes it hand over again."""
BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Longest waits before the second attempt and those after it; each is drawn between half of that and all of it."""
LOOK_EVERY_S: Final = 1.0
"""How often a relay that has nothing to do looks whether it is still this hub's, and keeps its cursor."""

SECRETS_BELOW: Final = "relays/"
"""A relay's credential is a secret of the platform below this: no other can be sent to a broker."""

SCOPE_READ: Final = "relays:read"
SCOPE_ADMIN: Final = "relays:admin"
OWNED_WORK: Final = "relay"
"""The kind of work that one of several hubs does (kernel.ownership); the key is the relay's id."""

RELAYS_STREAM: Final = "relays"


class Status(StrEnum):
    """Whether a relay hands anything over; what happens while it does not waits for it in the log."""

    RUNNING = "running"
    PAUSED = "paused"


class PausedBecause(StrEnum):
    """Why a relay is paused."""

    ASKED = "asked"
    PARKED = "parked"
    """Its broker will never take more events than can be set aside."""


class Start(StrEnum):
    """Where a new relay begins."""

    NOW = "now"
    START = "start"


class Server(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One address of a broker."""

    host: str
    port: int


class Settings(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an operator says of a relay; all of it can be changed later.

    `secret` is the path of a secret of the platform, never the value. `tenants`, `types` and `categories` say which
    events; what is empty wants all; a type may end in `*`. With `into`, which is a tenant, events are taken from the
    broker instead and become that tenant's: those of `subject` (NATS), remembered there under `group`, and with
    `beginning` those that were there before.
    """

    kind: BrokerKind
    servers: tuple[Server, ...]
    destination: str
    prefix: str = "hub"
    tls: bool = False
    ca: str = ""
    secret: str = ""
    mechanism: str = ""
    keep: int = KEEP
    into: str = ""
    subject: str = ""
    group: str = "central-hub"
    beginning: bool = False
    tenants: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    description: str = ""


class Relay(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A relay; `from_pos` is the position after which events are for it, `revision` counts its changes."""

    id: str
    name: str
    settings: Settings
    status: Status = Status.RUNNING
    reason: str = ""
    from_pos: int = 0
    revision: int = 1
    created_at_ms: int = 0
    created_by: str = ""


class Parked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that a broker will never take, by reference: it stays in its tenant's log."""

    domain: str
    seq: int
    event_id: str
    event_type: str
    trouble: Trouble
    bytes: int
    at_ms: int


class RelayCreated(Fact, frozen=True, kw_only=True):
    """Events go to a broker from here on, or from the beginning of what is kept."""

    relay: Relay
    start: Start


class RelayChanged(Fact, frozen=True, kw_only=True):
    """A relay goes on with other settings from where it stands."""

    relay_id: str
    settings: Settings


class RelayPaused(Fact, frozen=True, kw_only=True):
    """A relay hands nothing over from now on; what happens waits for it."""

    relay_id: str
    reason: PausedBecause


class RelayResumed(Fact, frozen=True, kw_only=True):
    """A relay goes on with what waited."""

    relay_id: str


class RelayDeleted(Fact, frozen=True, kw_only=True):
    """A relay is gone; what the broker has stays there."""

    relay_id: str


class RelayEventParked(Fact, frozen=True, kw_only=True):
    """A broker will never take an event, and the relay has gone on without it."""

    relay_id: str
    parked: Parked


FACTS: Final[tuple[type[Fact], ...]] = (
    RelayCreated,
    RelayChanged,
    RelayPaused,
    RelayResumed,
    RelayDeleted,
    RelayEventParked,
)


def relay_stream(relay_id: str) -> str:
    """Name the aggregate of one relay."""
    return f"relay/{relay_id}"


def consumer_of(relay_id: str) -> str:
    """Name a relay's cursor among those of all followers."""
    return f"relay/{relay_id}"
