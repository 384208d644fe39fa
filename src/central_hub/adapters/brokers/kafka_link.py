"""A link to one topic of Kafka.

The producer is idempotent and waits for all replicas in sync: within a partition nothing overtakes and, as long as the
link holds, nothing is stored twice. A message's key is tenant and aggregate, so what is ordered lies in one partition.
A message that the topic does not take for its size breaks the producer's numbering, so a new one is made and the batch
goes on one by one.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# The library has no annotations; what leaves this module is typed.

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka

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

BATCH_BYTES: Final = 262_144
"""Messages of one partition that go together."""
REQUEST_BYTES: Final = 1_048_576
REQUEST_TIMEOUT_MS: Final = 8_000
STOP_TIMEOUT_S: Final = 2.0
CONTENT_TYPE: Final = b"application/cloudevents+json; charset=UTF-8"

_TOO_LARGE: Final = (kafka.MessageSizeTooLargeError, kafka.RecordTooLargeError, kafka.RecordListTooLargeError)
_TROUBLES: Final[tuple[tuple[type[Exception], Trouble], ...]] = (
    (kafka.TopicAuthorizationFailedError, Trouble.DENIED),
    (kafka.ClusterAuthorizationFailedError, Trouble.DENIED),
    (kafka.AuthenticationFailedError, Trouble.DENIED),
    (kafka.SaslAuthenticationFailed, Trouble.DENIED),
    (kafka.UnsupportedSaslMechanismError, Trouble.DENIED),
    (kafka.IllegalSaslStateError, Trouble.DENIED),
    (kafka.UnknownTopicOrPartitionError, Trouble.NO_DESTINATION),
    (kafka.InvalidTopicError, Trouble.NO_DESTINATION),
    (kafka.KafkaTimeoutError, Trouble.TIMED_OUT),
    (kafka.RequestTimedOutError, Trouble.TIMED_OUT),
    (kafka.KafkaConnectionError, Trouble.UNREACHABLE),
    (kafka.OutOfOrderSequenceNumber, Trouble.OUT_OF_ORDER),
    (ssl.SSLError, Trouble.TLS_FAILED),
    (TimeoutError, Trouble.TIMED_OUT),
    (OSError, Trouble.UNREACHABLE),
)


class KafkaLink:
    """One producer; made by `open`."""

    def __init__(self, target: BrokerTarget, tls: ssl.SSLContext | None) -> None:
        self._target = target
        self._tls = tls
        self._producer: Any = None  # Any: the library has no annotations

    @classmethod
    async def open(cls, target: BrokerTarget, tls: ssl.SSLContext | None) -> Link:
        """Connect, and look whether the topic is there, or made by being asked for.

        Raises:
            BrokerError: it cannot be reached or used.
        """
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what goes wrong is told by the link
        await knock(target, tls)
        link = cls(target, tls)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await link._begin()
                await link._producer.partitions_for(target.destination)
        except BaseException as error:
            await link.close()
            if isinstance(error, kafka.KafkaConnectionError):  # somebody answered just now: the library says no more
                raise BrokerError(Trouble.DENIED, "it answers, and lets this user in at no address") from None
            if isinstance(error, Exception):
                raise reason(error) from None
            raise
        return link

    async def resume_after(self) -> int | None:
        """Say nothing: a topic knows no positions of the hub."""
        return None

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Hand messages over and wait until all replicas in sync have them; see the port."""
        stored = 0
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                results = await self._together(messages)
                stored = next((at for at, one in enumerate(results) if one is not None), len(messages))
                if stored == len(messages):
                    return Sent(stored=stored)
                failure = results[stored]
                assert failure is not None
                if not isinstance(failure, _TOO_LARGE):
                    raise failure
                await self._renew()
                while stored < len(messages):
                    (result,) = await self._together(messages[stored : stored + 1])
                    if isinstance(result, _TOO_LARGE):
                        await self._renew()
                        return Sent(stored=stored, trouble=Trouble.TOO_LARGE, detail=str(result))
                    if result is not None:
                        raise result
                    stored += 1
                return Sent(stored=stored)
        except Exception as error:
            found = reason(error)
            return Sent(stored=stored, trouble=found.trouble, detail=found.detail)

    async def close(self) -> None:
        """Let go of the producer, with what it still holds."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if not await ended_within(STOP_TIMEOUT_S, producer.stop()):
            await _abandon(producer)  # nobody takes what it still holds: that is handed over again, by another

    async def _together(self, messages: Sequence[Message]) -> list[BaseException | None]:
        waiting: list[asyncio.Future[object]] = []
        refused: BaseException | None = None
        for one in messages:
            try:
                waiting.append(
                    await self._producer.send(
                        self._target.destination, value=one.body, key=one.key.encode(), headers=_headers(one)
                    )
                )
            except kafka.KafkaError as error:
                refused = error
                break
        results: list[BaseException | None] = []
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(result, asyncio.CancelledError):
                raise result
            results.append(result if isinstance(result, BaseException) else None)
        return results if refused is None else [*results, refused]

    async def _begin(self) -> None:
        self._producer = AIOKafkaProducer(
            acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES, max_request_size=REQUEST_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS, **proof_of(self._target, self._tls),
        )  # fmt: skip
        await self._producer.start()

    async def _renew(self) -> None:
        await self.close()
        await self._begin()


def proof_of(target: BrokerTarget, tls: ssl.SSLContext | None) -> dict[str, Any]:  # Any: what the library takes
    """Return how a client reaches the brokers and proves itself."""
    user, colon, password = target.credential.partition(":")
    secured = "SSL" if tls is not None else "PLAINTEXT"
    given: dict[str, Any] = {
        "bootstrap_servers": ",".join(f"{host}:{port}" for host, port in target.servers),
        "client_id": f"central-hub-relay-{target.relay}", "ssl_context": tls,
    }  # fmt: skip  # Any: as above
    if target.credential:
        secured = f"SASL_{secured}"
        given |= {
            "sasl_mechanism": target.mechanism, "sasl_plain_username": user if colon else "",
            "sasl_plain_password": password if colon else target.credential,
        }  # fmt: skip
    return given | {"security_protocol": secured}


def _headers(message: Message) -> list[tuple[str, bytes]]:
    """Say that the value is a whole CloudEvent, and what consumers look for before they read it."""
    return [
        ("content-type", CONTENT_TYPE),
        ("hub-id", message.id.encode()),
        ("hub-type", message.type.encode()),
        ("hub-tenant", message.tenant.encode()),
    ]


async def knock(target: BrokerTarget, tls: ssl.SSLContext | None) -> None:
    """Make sure that somebody answers, under TLS where it is asked for: the library says only that nobody was of use.

    Raises:
        BrokerError: nobody does.
    """
    last: Exception = BrokerError(Trouble.UNREACHABLE)
    for host, port in target.servers:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, port, ssl=tls)
            writer.transport.abort()
        except Exception as error:
            last = error
        else:
            return
    raise reason(last)


async def _abandon(producer: Any) -> None:  # Any: the library has no annotations
    """End a producer that cannot be stopped in order, so that nothing of it stays behind."""
    await ended_within(STOP_TIMEOUT_S, producer._sender.close())
    await ended_within(STOP_TIMEOUT_S, producer.client.close())


def reason(error: BaseException) -> BrokerError:
    """Say in the port's words what went wrong."""
    if isinstance(error, BrokerError):
        return error
    for kind, trouble in _TROUBLES:
        if isinstance(error, kind):
            return BrokerError(trouble, str(error) or type(error).__name__)
    return BrokerError(Trouble.REFUSED, f"{type(error).__name__}: {error}")
