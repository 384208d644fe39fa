"""The port for message brokers: what a relay hands over, in which order, and what may be said of what came of it.

A link is one connection and is never mended: when it fails, whoever holds it opens another and goes on after the last
message that was acknowledged. So nothing that a client library kept for later can overtake what is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

CONNECT_TIMEOUT_S: Final = 5.0
SEND_TIMEOUT_S: Final = 15.0
"""For all messages of one `send`, until the last of them is acknowledged."""
RECEIVE_MAX: Final = 256
"""Messages that are taken from a broker together."""
RECEIVE_WAIT_S: Final = 1.0
"""How long is waited for the first of them."""
DETAIL_MAX: Final = 200
"""Characters kept of what a broker says of a failure."""


class BrokerKind(StrEnum):
    """Which broker it is, and so what is spoken."""

    NATS = "nats"
    REDIS = "redis"
    KAFKA = "kafka"


class Trouble(StrEnum):
    """Why a message was not taken; only those of `OF_ONE` are about the message itself."""

    NOT_INSTALLED = "not_installed"
    UNREACHABLE = "unreachable"
    TLS_FAILED = "tls_failed"
    DENIED = "denied"
    NO_CREDENTIAL = "no_credential"
    NO_DESTINATION = "no_destination"
    TIMED_OUT = "timed_out"
    FULL = "full"
    OUT_OF_ORDER = "out_of_order"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    NOT_RECORDED = "not_recorded"
    """What came from a broker cannot be recorded now; the detail says why."""


OF_ONE: Final = frozenset({Trouble.TOO_LARGE})
"""What will be so however often a message is sent."""


class BrokerError(Exception):
    """A broker cannot be used, or not for this.

    Args:
        trouble: the class of failure.
        detail: what the broker or the library said, without credentials; for the operator.
    """

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        super().__init__(f"{trouble.value}: {detail}" if detail else trouble.value)
        self.trouble = trouble
        self.detail = detail[:DETAIL_MAX]


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event on its way to a broker.

    Args:
        id: of the record, unique in the whole log; what a broker knows repeats by.
        pos: of the record in the whole log; the relay's own, never shown to consumers.
        seq: of the record in its tenant's log.
        tenant: whose event it is.
        category, type: of the event.
        key: what order is kept within: tenant and aggregate.
        body: the CloudEvent in structured JSON.
    """

    id: str
    pos: int
    seq: int
    tenant: str
    category: str
    type: str
    key: str
    body: bytes


class Sent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of messages: the first `stored` are in the broker, in order.

    Where they are fewer than were handed over, `trouble` says why the next was not taken. `repeated` counts those that
    the broker said it had already.
    """

    stored: int
    repeated: int = 0
    trouble: Trouble | None = None
    detail: str = ""


class Received(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message from a broker.

    Args:
        body: as it came.
        position: what the broker knows it by; the same when it comes again.
        headers: names in lower case; attributes of an event are called as over HTTP (`ce-type`).
    """

    body: bytes
    position: str
    headers: tuple[tuple[str, str], ...] = ()


class BrokerTarget(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where messages go, or come from.

    Args:
        relay: the relay's name, told to the broker as that of the client.
        history: which positions are comparable: the relay and the history of the log that they belong to.
        servers: (host, port), tried in order.
        tls: whether the connection is encrypted, and the server's certificate and name checked.
        ca: PEM certificates that vouch for it, instead of the system's.
        credential: `user:password` or a token; empty for none.
        mechanism: how a user proves itself, where there are several ways (Kafka: `PLAIN`, `SCRAM-SHA-512`, …).
        destination: the JetStream stream, the Redis key, the Kafka topic; where messages come from, likewise.
        prefix: what NATS subjects begin with.
        keep: how many entries Redis keeps about; 0 for all.
        subject: which subjects of a JetStream stream are taken; empty for all.
        group: under which name the broker remembers what was taken.
        beginning: whether a group that is new begins with what there is.
    """

    relay: str
    history: str
    kind: BrokerKind
    servers: tuple[tuple[str, int], ...]
    tls: bool
    ca: str
    credential: str
    mechanism: str
    destination: str
    prefix: str
    keep: int
    subject: str = ""
    group: str = ""
    beginning: bool = False

    def __repr__(self) -> str:
        """Show nothing of the credential, whoever prints it."""
        return f"BrokerTarget(relay={self.relay!r}, kind={self.kind.value!r})"


class Link(Protocol):
    """An open connection for one relay. Bounded in time; after `send` told of trouble that is not of one message it is
    closed and not used again."""

    async def resume_after(self) -> int | None:
        """Return the position that the broker itself knows was reached by this relay; None where it cannot tell."""
        ...

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Hand messages over in order and wait for the acknowledgements. Never raises `BrokerError`."""
        ...

    async def close(self) -> None:
        """Let go of the connection; never raises."""
        ...


class Source(Protocol):
    """An open connection from which one relay takes messages. Bounded in time; after it raised it is not used again."""

    async def receive(self) -> Sequence[Received]:
        """Return what is next, at most `RECEIVE_MAX`, in the broker's order; nothing when none came for a while.

        Raises:
            BrokerError: it does not hold.
        """
        ...

    async def acknowledge(self) -> None:
        """Tell the broker that everything received so far is done with.

        Raises:
            BrokerError: it may not know, and hand that out again.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection; what was not acknowledged is handed out again. Never raises."""
        ...


class Brokers(Protocol):
    """Opens links, and sources."""

    async def connect(self, target: BrokerTarget) -> Link:
        """Open one.

        Raises:
            BrokerError: it cannot be opened.
        """
        ...

    async def listen(self, target: BrokerTarget) -> Source:
        """Open a source.

        Raises:
            BrokerError: it cannot be opened.
        """
        ...
