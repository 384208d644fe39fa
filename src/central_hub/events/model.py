"""What is remembered of published events, and the limits of publishing and reading. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact

EVENT_BYTES_MAX: Final = 65_536
"""Largest event, attributes and data together."""
BATCH_MAX: Final = 1_000
"""Events published at once."""
BATCH_BYTES_MAX: Final = 1_048_576
DECIDED_AT_ONCE: Final = 100
"""Events of a batch that are decided, and made durable together, before others have their turn."""

TEXT_MAX: Final = 256
"""Characters of an attribute."""
TYPE_MAX: Final = 128
EXTENSIONS_MAX: Final = 16
EXTENSION_NAME_MAX: Final = 20
TYPE_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_-]{1,63}){0,7}$"

PAGE_MAX: Final = 1_000
PAGE: Final = 100
WAIT_S_MAX: Final = 60.0
WAIT_S: Final = 0.0
TYPES_PER_FILTER_MAX: Final = 32
SERVICES_PER_FILTER_MAX: Final = 32
READ_PAGE: Final = 256
"""Records read from the log at once while a reader catches up."""
SCANNED_MAX: Final = 20_000
"""Records that one request for a page looks at; it then answers with what it found and where to go on."""

STREAMS_PER_TENANT_MAX: Final = 1_000
STREAMS_MAX: Final = 20_000
WAITERS_PER_TENANT_MAX: Final = 1_000
CATCH_UP_BUFFER_BYTES: Final = 65_536
"""Unsent bytes of a stream past which reading the log for it waits."""
PENDING_MAX: Final = 4_096
"""Events of one domain that wait to be told to its streams; past this the streams read the log instead."""

SCOPE_READ: Final = "events:read"
SCOPE_WRITE: Final = "events:write"
SCOPE_ADMIN: Final = "events:admin"

OWN_TYPES_MAX: Final = 500
"""Types that a tenant describes itself."""
VERSIONS_MAX: Final = 10
"""Versions of one type that are kept; the oldest goes with the next one."""
SCHEMA_BYTES_MAX: Final = 16_384
SCHEMAS_BYTES_MAX: Final = 1_048_576
"""All schemas of a tenant together."""
SCHEMA_DEPTH_MAX: Final = 16
SCHEMA_NODES_MAX: Final = 500
"""Schemas within one, where what is referred to counts once for each reference."""
SCHEMA_WORDS_MAX: Final = 2_000
"""Names and values that lists in a schema hold together: names that are required, values of an enum."""
DESCRIPTION_MAX: Final = 256
VALIDATORS_KEPT_MAX: Final = 1_000
DATA_ERRORS_MAX: Final = 8
"""Faults of one event's data that are named."""

RETENTION_LOOK_S: Final = 60.0
"""Seconds between looks at whether there is something to let go."""
RETENTION_EVERY_MS: Final = 3_600_000.0
"""Longest time between two passes over all domains while no new snapshot lets more go."""
WEIGHED_AT_ONCE: Final = 10_000
"""Records whose bytes are added up in one question to the store."""
HISTORY_DAYS: Final = 400
"""Days that facts and the audit trail are kept where no plan says otherwise."""

EVENTS_DAYS: Final = "hub_events_days"
HISTORY_DAYS_FEATURE: Final = "hub_history_days"
EVENTS_MB: Final = "hub_events_mb"
"""Features of plans: days that published events are kept, days that everything else is, MB of events."""

PURGE_STREAM: Final = "events-purged"
TYPES_STREAM: Final = "event-types"
"""The aggregate of what a tenant describes."""

EVENT_STREAM: Final = "event"
"""Prefix of the aggregates that published events belong to."""


class Category(StrEnum):
    """What kind of event a service publishes: about its own domain, or made for other systems."""

    DOMAIN = "domain"
    INTEGRATION = "integration"


class Compatibility(StrEnum):
    """What a type's new version owes the ones before it; all of them, not just the last.

    `backward`: whoever reads by the new one reads what was published before. `forward`: whoever reads by an old one
    reads what is published from now on. `full`: both. `none`: nothing.
    """

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"
    NONE = "none"


class UnknownTypes(StrEnum):
    """What becomes of an event whose type the tenant has not described."""

    ALLOWED = "allowed"
    REFUSED = "refused"


class TypeVersion(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One version of a tenant's own type; `schema` is JSON text."""

    version: int
    schema: bytes
    compatibility: Compatibility
    description: str = ""
    registered_at_ms: int = 0
    registered_by: str = ""


class EventTypeRegistered(Fact, frozen=True, kw_only=True):
    """A tenant's own type of event has a schema, or a new one."""

    type: str
    version: int
    schema: bytes
    compatibility: Compatibility = Compatibility.BACKWARD
    description: str = ""


class EventTypeRetired(Fact, frozen=True, kw_only=True):
    """A tenant's own type of event is described no more."""

    type: str


class EventTypesPolicySet(Fact, frozen=True, kw_only=True):
    """What becomes of events whose type the tenant has not described."""

    unknown: UnknownTypes


class EventPublished(Fact, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A service published an event (category `event`: it rebuilds no view).

    Args:
        id: the publisher's, or empty where the record's own id is the event's.
        source: a URI reference.
        type: what happened.
        attributes: every other attribute and extension as it was given.
        data: as it was given: JSON text, or bytes where `binary`.
    """

    id: str = ""
    source: str
    type: str
    subject: str = ""
    time: str = ""
    category: Category = Category.DOMAIN
    attributes: tuple[tuple[str, str | int | bool], ...] = ()
    data: bytes = b""
    binary: bool = False


class EventsPurged(Fact, frozen=True, kw_only=True):
    """A tenant's events up to a position are told to nobody any more, and leave the log with the next snapshots."""

    upto_seq: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how much of a domain is kept: milliseconds of events and of the rest, bytes of events; 0: no end."""

    events_ms: int
    history_ms: int
    events_bytes: int = 0


FACTS: Final[tuple[type[Fact], ...]] = (
    EventPublished,
    EventsPurged,
    EventTypeRegistered,
    EventTypeRetired,
    EventTypesPolicySet,
)


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a reader of one domain's events stands: everything up to `seq` of this history has been read."""

    incarnation: str
    seq: int

    def format(self) -> str:
        """Write it as clients carry it."""
        return f"{self.incarnation}.{self.seq}"
