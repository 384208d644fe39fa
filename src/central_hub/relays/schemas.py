"""What HTTP adds to the model of relays: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from central_hub.kernel.brokers import BrokerKind
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.ids import NAME_PATTERN
from central_hub.relays.line import Line
from central_hub.relays.model import (
    CA_BYTES_MAX,
    DESCRIPTION_MAX,
    DESTINATION_MAX,
    FILTER_MAX,
    KEEP,
    KEEP_MAX,
    PARKED_MAX,
    RELAYS_MAX,
    SERVERS_MAX,
    Parked,
    Relay,
    Server,
    Settings,
    Start,
    Status,
)
from central_hub.relays.rules import DESTINATIONS, MECHANISMS, invalid

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=129)]
Words = Annotated[list[Word], msgspec.Meta(max_length=FILTER_MAX)]
Address = Annotated[str, msgspec.Meta(min_length=3, max_length=264)]
Addresses = Annotated[list[Address], msgspec.Meta(min_length=1, max_length=SERVERS_MAX)]


class PutRelay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a relay is to do. `servers` are `host:port`; `secret` is the path of a secret of the platform with
    `user:password` or a token; what is left out of `tenants`, `types` and `categories` wants all. With `into`, which is
    a tenant's id, events are taken from the broker and become that tenant's."""

    kind: BrokerKind
    servers: Addresses
    destination: Annotated[str, msgspec.Meta(max_length=DESTINATION_MAX)] = ""
    prefix: Annotated[str, msgspec.Meta(max_length=131)] = "hub"
    tls: bool = False
    ca: Annotated[str, msgspec.Meta(max_length=CA_BYTES_MAX)] = ""
    secret: Annotated[str, msgspec.Meta(max_length=256)] = ""
    mechanism: Annotated[str, msgspec.Meta(max_length=32)] = ""
    keep: Annotated[int, msgspec.Meta(ge=0, le=KEEP_MAX)] = KEEP
    into: Name | None = None
    subject: Annotated[str, msgspec.Meta(max_length=256)] = ""
    group: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] = "central-hub"
    tenants: Words = []
    types: Words = []
    categories: Words = []
    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)] = ""


class CreateRelay(PutRelay, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A relay to create; it begins with what becomes true from now on, or with what is kept."""

    name: Name
    start: Start = Start.NOW


class ParkedPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of the latest events that were set aside are wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PARKED_MAX)] = 100


class RelayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A relay and where it stands. `state` is `paused`, `elsewhere` (another hub's), `connecting`, `failing` or
    `relaying`; counts are since this hub took it over; `lag_records` are records of the whole log. Of one that takes
    events in `taken`, `known` (from before) and `refused` count."""

    name: str
    kind: str
    servers: list[str]
    destination: str
    prefix: str
    tls: bool
    secret: str | None
    mechanism: str | None
    keep: int | None
    into: str | None
    subject: str | None
    group: str | None
    tenants: list[str]
    types: list[str]
    categories: list[str]
    description: str
    status: str
    reason: str
    state: str
    revision: int
    created_at: str
    created_by: str
    sent: int
    repeated: int
    missed: int
    parked: int
    taken: int
    known: int
    refused: int
    lag_records: int
    lag_s: float
    failures: int
    failing_since: str | None
    trouble: str | None
    detail: str


class RelayList(msgspec.Struct, frozen=True, kw_only=True):
    """Every relay, in order of names."""

    relays: Annotated[list[RelayAnswer], msgspec.Meta(max_length=RELAYS_MAX)]


class ParkedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the broker will never take; it stays in its tenant's log at `seq`."""

    tenant_id: str
    seq: int
    event_id: str
    event_type: str
    trouble: str
    bytes: int
    at: str


class ParkedList(msgspec.Struct, frozen=True, kw_only=True):
    """The latest events that were set aside, oldest first."""

    parked: Annotated[list[ParkedAnswer], msgspec.Meta(max_length=PARKED_MAX)]


def settings_of(body: PutRelay, *, start: Start = Start.NOW) -> Settings:
    """Read what is wanted of a relay.

    Raises:
        HubError: `invalid_relay` (422) for an address that is none.
    """
    mechanisms = MECHANISMS.get(body.kind)
    return Settings(
        kind=body.kind,
        servers=tuple(_server(one) for one in body.servers),
        destination=body.destination or DESTINATIONS[body.kind],
        prefix=body.prefix,
        tls=body.tls,
        ca=body.ca,
        secret=body.secret,
        mechanism=body.mechanism or (mechanisms[0] if mechanisms and body.secret else ""),
        keep=body.keep,
        into=body.into or "",
        subject=body.subject,
        group=body.group,
        beginning=start is Start.START,
        tenants=tuple(sorted(set(body.tenants))),
        types=tuple(sorted(set(body.types))),
        categories=tuple(sorted(set(body.categories))),
        description=body.description,
    )


def relay_answer(
    relay: Relay, line: Line | None, *, ours: bool, parked: int, pos: int, now_ms: int
) -> RelayAnswer:  # fmt: skip
    """Show a relay.

    Args:
        relay: as it is recorded.
        line: where it stands here, None before it was looked at.
        ours: whether this hub hands its events over.
        parked: events that were set aside.
        pos: where the log ends.
        now_ms: wall time.
    """
    given = relay.settings
    failing = line.failing if line is not None else None
    known = line if line is not None and ours else None
    return RelayAnswer(
        name=relay.name,
        kind=given.kind.value,
        servers=[_address(one) for one in given.servers],
        destination=given.destination,
        prefix=given.prefix,
        tls=given.tls,
        secret=given.secret or None,
        mechanism=given.mechanism or None,
        keep=given.keep if given.kind is BrokerKind.REDIS and not given.into else None,
        into=given.into or None,
        subject=given.subject or None,
        group=given.group if given.into else None,
        tenants=list(given.tenants),
        types=list(given.types),
        categories=list(given.categories),
        description=given.description,
        status=relay.status.value,
        reason=relay.reason,
        state=state_of(relay, line, ours=ours),
        revision=relay.revision,
        created_at=rfc3339(relay.created_at_ms),
        created_by=relay.created_by,
        sent=known.sent if known else 0,
        repeated=known.repeated if known else 0,
        missed=known.missed if known else 0,
        taken=known.taken if known else 0,
        known=known.known if known else 0,
        refused=known.refused if known else 0,
        parked=parked,
        lag_records=known.lag_records(pos) if known and not given.into else 0,
        lag_s=round(known.lag_ms(now_ms) / 1_000, 3) if known else 0.0,
        failures=failing.failures if failing else 0,
        failing_since=rfc3339(failing.since_ms) if failing and failing.since_ms else None,
        trouble=failing.trouble.value if failing and failing.trouble else None,
        detail=failing.detail if failing else "",
    )


def state_of(relay: Relay, line: Line | None, *, ours: bool) -> str:
    """Say in a word what a relay is doing."""
    if relay.status is Status.PAUSED:
        return "paused"
    if not ours:
        return "elsewhere"
    if line is not None and line.failing.failures:
        return "failing"
    return "relaying" if line is not None and line.connected else "connecting"


def parked_answer(parked: Parked) -> ParkedAnswer:
    """Show an event that was set aside."""
    return ParkedAnswer(
        tenant_id=parked.domain,
        seq=parked.seq,
        event_id=parked.event_id,
        event_type=parked.event_type,
        trouble=parked.trouble.value,
        bytes=parked.bytes,
        at=rfc3339(parked.at_ms),
    )


def _server(text: str) -> Server:
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or len(port) > 5:
        raise invalid("servers", "are hosts with ports, such as 'broker.internal:4222'")
    return Server(host=host.removeprefix("[").removesuffix("]"), port=int(port))


def _address(server: Server) -> str:
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"
