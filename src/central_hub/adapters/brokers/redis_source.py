"""Events from a stream of Redis: a consumer group with one consumer, which is whichever hub has the relay.

What was handed out and not acknowledged is handed out first, since the consumer is always the same.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# As in `redis_link`.

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import Redis

from central_hub.adapters.brokers.redis_link import connected, let_go, reason
from central_hub.kernel.brokers import CONNECT_TIMEOUT_S, RECEIVE_MAX, RECEIVE_WAIT_S, BrokerTarget, Received, Source

CONSUMER: Final = "central-hub"
EVENT: Final = b"event"
DATA: Final = b"data"
_Entries = list[tuple[bytes, Mapping[bytes, bytes] | None]]


class RedisSource:
    """One connection; made by `open`."""

    def __init__(self, client: Redis, target: BrokerTarget) -> None:
        self._client = client
        self._target = target
        self._again = True
        self._unacknowledged: list[bytes] = []

    @classmethod
    async def open(cls, target: BrokerTarget, _tls: ssl.SSLContext | None) -> Source:
        """Connect to the first primary, and make the group where there is none.

        Raises:
            BrokerError: there is none, or the key holds something else.
        """
        client = await connected(target)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                begin = "0" if target.beginning else "$"
                await client.xgroup_create(target.destination, target.group, id=begin, mkstream=True)
        except exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                await let_go(client)
                raise reason(error) from None
        except BaseException as error:
            await let_go(client)
            if isinstance(error, Exception):
                raise reason(error) from None
            raise
        return cls(client, target)

    async def receive(self) -> Sequence[Received]:
        """Return what is next, at most `RECEIVE_MAX`; see the port."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + RECEIVE_WAIT_S):
                found = await self._read("0" if self._again else ">")
                if not found and self._again:
                    self._again = False
                    found = await self._read(">")
        except Exception as error:
            raise reason(error) from None
        self._unacknowledged = [entry for entry, _ in found]
        return [_received(entry, fields) for entry, fields in found if fields]

    async def acknowledge(self) -> None:
        """Acknowledge everything that was received; see the port."""
        entries, self._unacknowledged = self._unacknowledged, []
        if not entries:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._client.xack(self._target.destination, self._target.group, *entries)
        except Exception as error:
            raise reason(error) from None

    async def close(self) -> None:
        """Let go of the connection; the group stays."""
        await let_go(self._client)

    async def _read(self, after: str) -> _Entries:
        answer: Any = await self._client.xreadgroup(  # Any: a list or a mapping, by the version of the protocol
            self._target.group, CONSUMER, {self._target.destination: after}, count=RECEIVE_MAX,
            block=int(RECEIVE_WAIT_S * 1_000),
        )  # fmt: skip
        if not answer:
            return []
        if isinstance(answer, dict):  # of the one stream, in one more list
            (one,) = cast("dict[bytes, list[_Entries]]", answer).values()
            return one[0]
        entries: _Entries = answer[0][1]
        return entries


def _received(entry: bytes, fields: Mapping[bytes, bytes]) -> Received:
    """Take an entry with the field `event`, a whole CloudEvent, or with its attributes in fields and `data`."""
    if EVENT in fields:
        return Received(body=fields[EVENT], position=entry.decode())
    attributes = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields.items() if name != DATA)
    headers = tuple((name if name == "content-type" else f"ce-{name}", value) for name, value in attributes)
    return Received(body=fields.get(DATA, b""), position=entry.decode(), headers=headers)
