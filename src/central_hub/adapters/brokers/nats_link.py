"""A link to NATS JetStream.

Messages go out together and are acknowledged one by one. Each names the one before it as the last the stream must hold
(`Nats-Expected-Last-Msg-Id`), so when one is lost on the way, as at a change of the stream's leader, those behind it
are refused instead of overtaking it. A stream that others write to as well refuses them too, and the relay then goes
on one message at a time: slower, and still in order. The library mends no connection here (`allow_reconnect=False`).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# The library's annotations leave dicts and callbacks open; what leaves this module is typed.

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from central_hub.adapters.brokers.ending import ended_within
from central_hub.kernel.brokers import (
    CONNECT_TIMEOUT_S,
    SEND_TIMEOUT_S,
    BrokerError,
    BrokerTarget,
    Link,
    Message,
    Sent,
    Trouble,
)

CONTENT_TYPE: Final = "application/cloudevents+json"
DEDUPLICATED_S: Final = 120
"""How long a stream that the relay makes knows messages by their ids."""
END_S: Final = 1.0
PENDING_BYTES: Final = 8 * 1024 * 1024

MESSAGE_ID: Final = "Nats-Msg-Id"
EXPECTED_ID: Final = "Nats-Expected-Last-Msg-Id"
EXPECTED_STREAM: Final = "Nats-Expected-Stream"

_TOO_LARGE: Final = frozenset({10054})
_ORDER: Final = frozenset({10070, 10071, 10164})
_ROOM: Final = frozenset({10023, 10047, 10077})
_ABSENT: Final = frozenset({10059, 10060})
"""Error codes of JetStream. Source: nats-server, `server/errors.json`."""


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: _Error | None = None


class _StreamConfig(msgspec.Struct):
    subjects: list[str] = []


class _StreamInfo(msgspec.Struct):
    config: _StreamConfig = msgspec.field(default_factory=_StreamConfig)
    error: _Error | None = None


_ack: Final = msgspec.json.Decoder(_Ack)
_info: Final = msgspec.json.Decoder(_StreamInfo)


class NatsLink:
    """One connection; made by `open`."""

    def __init__(self, client: Client, target: BrokerTarget, failure: Failure) -> None:
        self._client = client
        self._target = target
        self._failure = failure
        self._inbox = client.new_inbox()
        self._batch = 0
        self._acks: dict[int, _Ack] = {}
        self._wanted = 0
        self._whole: asyncio.Future[None] | None = None
        failure.told = self._fail

    @classmethod
    async def open(cls, target: BrokerTarget, tls: ssl.SSLContext | None) -> Link:
        """Connect, and make the stream where there is none.

        Raises:
            BrokerError: it cannot be reached or used.
        """
        failure = Failure()
        client = Client()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connected(client, target, tls, failure)
                link = cls(client, target, failure)
                await client.subscribe(f"{link._inbox}.*.*", cb=link._acknowledged)
                await link._find_stream()
        except BaseException as error:
            await let_go(client)
            if isinstance(error, Exception):
                raise reason(error, failure) from None
            raise
        return link

    async def resume_after(self) -> int | None:
        """Say nothing: a stream knows message ids, for a while, and no positions."""
        return None

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Publish messages and wait for their acknowledgements; see the port."""
        sendable = self._within_limit(messages)
        if sendable:
            trouble = await self._publish(messages[:sendable])
            sent = self._outcome(sendable, trouble)
            if sent.trouble is not None or sendable == len(messages):
                return sent
        else:
            sent = Sent(stored=0)
        return msgspec.structs.replace(sent, trouble=Trouble.TOO_LARGE, detail="above the server's max_payload")

    async def close(self) -> None:
        """Let go of the connection."""
        self._failure.told = None
        await let_go(self._client)

    def _within_limit(self, messages: Sequence[Message]) -> int:
        """Return how many messages come before the first that the server would end the connection for."""
        room = self._client.max_payload - _HEADERS_BYTES
        return next((at for at, one in enumerate(messages) if len(one.body) > room), len(messages))

    async def _publish(self, messages: Sequence[Message]) -> BrokerError | None:
        self._batch += 1
        self._acks, self._wanted = {}, len(messages)
        self._whole = whole = asyncio.get_running_loop().create_future()
        before = ""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                for at, message in enumerate(messages):
                    headers = {
                        MESSAGE_ID: message.id,
                        EXPECTED_STREAM: self._target.destination,
                        "content-type": CONTENT_TYPE,
                    }
                    if before:
                        headers[EXPECTED_ID] = before
                    before = message.id
                    await self._client.publish(
                        subject_of(self._target.prefix, message), message.body,
                        reply=f"{self._inbox}.{self._batch}.{at}", headers=headers,
                    )  # fmt: skip
                await whole
        except TimeoutError:
            return BrokerError(Trouble.TIMED_OUT, f"{len(self._acks)} of {len(messages)} were acknowledged")
        except BrokerError as error:
            return error
        except (nats.errors.Error, OSError) as error:
            return reason(error, self._failure)
        finally:
            self._whole = None
        return None

    def _outcome(self, sendable: int, trouble: BrokerError | None) -> Sent:
        stored = repeated = 0
        for at in range(sendable):
            ack = self._acks.get(at)
            if ack is None:
                break
            if ack.error is not None:
                trouble = _trouble(ack.error)
                break
            stored += 1
            repeated += ack.duplicate
        if stored == sendable:
            return Sent(stored=stored, repeated=repeated)
        trouble = trouble or BrokerError(Trouble.TIMED_OUT)
        return Sent(stored=stored, repeated=repeated, trouble=trouble.trouble, detail=trouble.detail)

    async def _acknowledged(self, msg: Msg) -> None:
        _, batch, at = msg.subject.rsplit(".", 2)
        if int(batch) != self._batch:
            return
        if msg.headers is not None and msg.headers.get("Status") == "503":
            ack = _Ack(error=_Error(code=503, err_code=10059, description="nothing keeps this subject"))
        else:
            ack = _ack.decode(msg.data)
        self._acks[int(at)] = ack
        if self._whole is not None and not self._whole.done() and len(self._acks) == self._wanted:
            self._whole.set_result(None)

    def _fail(self, error: BrokerError) -> None:
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(error)

    async def _find_stream(self) -> None:
        """Make sure that the stream is there and keeps the relay's subjects; one that is there stays as it is."""
        name, subject = self._target.destination, f"{self._target.prefix}.>"
        found = await self._ask(f"STREAM.INFO.{name}", b"")
        if found.error is not None and found.error.err_code == 10059:
            wanted = {
                "name": name, "subjects": [subject], "storage": "file", "discard": "old",
                "duplicate_window": DEDUPLICATED_S * 1_000_000_000,
            }  # fmt: skip
            found = await self._ask(f"STREAM.CREATE.{name}", msgspec.json.encode(wanted))
        if found.error is not None:
            raise _trouble(found.error)

    async def _ask(self, what: str, body: bytes) -> _StreamInfo:
        try:
            answer = await self._client.request(f"$JS.API.{what}", body, timeout=CONNECT_TIMEOUT_S)
        except nats.errors.NoRespondersError:
            raise BrokerError(Trouble.NO_DESTINATION, "the server has no JetStream") from None
        return _info.decode(answer.data)


class Failure:
    """Takes what the library says aside: the last error, and that the connection has gone."""

    def __init__(self) -> None:
        self.last: Exception | None = None
        self.told: Any = None  # Any: a callback, set by the link

    async def error(self, error: Exception) -> None:
        """Remember what the library says."""
        self.last = error
        if self.told is not None and "permissions" in str(error).lower():
            self.told(reason(error, self))  # nobody acknowledges what may not be published

    async def gone(self) -> None:
        """Tell the link that its connection has gone."""
        if self.told is not None:
            self.told(reason(self.last or nats.errors.ConnectionClosedError(), self))


_HEADERS_BYTES: Final = 1_024
"""Room that is left for headers below the server's largest payload."""


async def connected(client: Client, target: BrokerTarget, tls: ssl.SSLContext | None, failure: Failure) -> None:
    """Connect a client to the first server that takes it; it mends nothing by itself."""
    user, colon, password = target.credential.partition(":")
    proof: dict[str, Any] = {}  # Any: what the library takes
    if target.credential:
        proof = {"user": user, "password": password} if colon else {"token": target.credential}
    scheme = "tls" if tls else "nats"
    await client.connect(
        [f"{scheme}://{_bracketed(host)}:{port}" for host, port in target.servers],
        name=f"central-hub relay {target.relay}", allow_reconnect=False, dont_randomize=True,
        connect_timeout=int(CONNECT_TIMEOUT_S), tls=tls, pending_size=PENDING_BYTES,
        error_cb=failure.error, disconnected_cb=failure.gone, closed_cb=failure.gone, **proof,
    )  # fmt: skip


def subject_of(prefix: str, message: Message) -> str:
    """Return the subject of a message: `<prefix>.<tenant>.<category>.<type>`."""
    return f"{prefix}.{message.tenant}.{message.category}.{message.type}"


def _trouble(error: _Error) -> BrokerError:
    number = error.err_code
    if number in _TOO_LARGE:
        trouble = Trouble.TOO_LARGE
    elif number in _ORDER:
        trouble = Trouble.OUT_OF_ORDER
    elif number in _ROOM:
        trouble = Trouble.FULL
    elif number in _ABSENT:
        trouble = Trouble.NO_DESTINATION
    else:
        trouble = Trouble.REFUSED
    return BrokerError(trouble, error.description)


def reason(error: Exception, failure: Failure) -> BrokerError:
    """Say in the port's words what went wrong; the library tells the true reason aside."""
    if isinstance(error, BrokerError):
        return error
    for one in (error, failure.last):
        if one is None:
            continue
        text = str(one).lower()
        if isinstance(one, ssl.SSLError | nats.errors.SecureConnRequiredError) or "certificate" in text:
            return BrokerError(Trouble.TLS_FAILED, str(one))
        if isinstance(one, nats.errors.AuthorizationError) or "authorization" in text or "permissions" in text:
            return BrokerError(Trouble.DENIED, str(one))
    if isinstance(error, TimeoutError):
        return BrokerError(Trouble.TIMED_OUT, "no answer in time")
    return BrokerError(Trouble.UNREACHABLE, str(error))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def let_go(client: Client) -> None:
    """Close a client's connection, whatever it says."""
    await ended_within(END_S, client.close())
