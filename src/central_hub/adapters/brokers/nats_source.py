"""Events from a JetStream stream: a durable pull consumer, acknowledged up to the last that is recorded.

The consumer is named by the relay's group, so whichever hub opens it goes on where the last one was. What was handed
out and not acknowledged within `ACK_WAIT_S` is handed out again.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# As in `nats_link`.

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from central_hub.adapters.brokers.nats_link import Failure, connected, let_go, reason
from central_hub.kernel.brokers import (
    CONNECT_TIMEOUT_S,
    RECEIVE_MAX,
    RECEIVE_WAIT_S,
    BrokerError,
    BrokerTarget,
    Received,
    Source,
    Trouble,
)

ACK_WAIT_S: Final = 60.0


class NatsSource:
    """One consumer; made by `open`."""

    def __init__(self, client: Client, subscription: Any, failure: Failure) -> None:  # Any: the library's own
        self._client = client
        self._subscription = subscription
        self._failure = failure
        self._last: Msg | None = None

    @classmethod
    async def open(cls, target: BrokerTarget, tls: ssl.SSLContext | None) -> Source:
        """Connect, and make the consumer where there is none.

        Raises:
            BrokerError: it cannot be reached, or there is no such stream.
        """
        failure = Failure()
        client = Client()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connected(client, target, tls, failure)
                config = ConsumerConfig(
                    durable_name=target.group, ack_policy=AckPolicy.ALL, ack_wait=ACK_WAIT_S,
                    deliver_policy=DeliverPolicy.ALL if target.beginning else DeliverPolicy.NEW,
                    filter_subject=target.subject or None,
                )  # fmt: skip
                stream = client.jetstream(timeout=CONNECT_TIMEOUT_S)
                subscription = await stream.pull_subscribe(
                    target.subject or ">", durable=target.group, stream=target.destination, config=config
                )
        except NotFoundError as missing:
            await let_go(client)
            raise BrokerError(Trouble.NO_DESTINATION, str(missing)) from None
        except BaseException as error:
            await let_go(client)
            if isinstance(error, Exception):
                raise reason(error, failure) from None
            raise
        return cls(client, subscription, failure)

    async def receive(self) -> Sequence[Received]:
        """Return what is next, at most `RECEIVE_MAX`; see the port."""
        try:
            found: list[Msg] = await self._subscription.fetch(RECEIVE_MAX, timeout=RECEIVE_WAIT_S)
        except (nats.errors.TimeoutError, TimeoutError):
            if not self._client.is_connected:
                raise BrokerError(Trouble.UNREACHABLE, "the connection has gone") from None
            return ()
        except (nats.errors.Error, JetStreamError, OSError) as error:
            raise reason(error, self._failure) from None
        self._last = found[-1] if found else None
        return [
            Received(
                body=one.data, position=str(one.metadata.sequence.stream),
                headers=tuple((name.lower(), value) for name, value in (one.headers or {}).items()),
            )
            for one in found
        ]  # fmt: skip

    async def acknowledge(self) -> None:
        """Acknowledge everything that was received; see the port."""
        last, self._last = self._last, None
        if last is None:
            return
        try:
            await last.ack_sync(timeout=CONNECT_TIMEOUT_S)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise reason(error, self._failure) from None

    async def close(self) -> None:
        """Let go of the connection; the consumer stays."""
        await let_go(self._client)
