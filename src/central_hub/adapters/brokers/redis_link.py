"""A link to one stream of Redis.

A batch is one transaction: the entries, and a marker that says up to where the relay has come and which entry is the
last. So a link that opens asks Redis itself, believes the marker when the entry that it names is there, and goes on
exactly after it: nothing is stored twice, and what Redis lost (a crash between two syncs, a replica that was promoted
too soon) is handed over again. A transaction goes through only where the marker is as this link left it: a hub that
was taken for dead, and a connection that the library mended on its own, write nothing.

The marker lies beside the stream, in its hash slot: `<stream>:relay:<relay>`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# The library's annotations are of answers that may be awaited or not; what leaves this module is typed.

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

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

END_S: Final = 1.0
LOOKED_BACK: Final = 64
"""Entries from the end of the stream among which the marker's has to be, so that the marker is believed."""
_NONE: Final = b"none"
_STREAM: Final = b"stream"
_MARKER: Final = ("history", "pos", "id")


class RedisLink:
    """One connection; made by `open`."""

    def __init__(self, client: Redis, target: BrokerTarget) -> None:
        self._client = client
        self._target = target
        self._marker = marker_of(target.destination, target.relay)
        self._left: list[bytes | None] = [None] * len(_MARKER)

    @classmethod
    async def open(cls, target: BrokerTarget, _tls: ssl.SSLContext | None) -> Link:
        """Connect to the first address that answers as a primary.

        Raises:
            BrokerError: there is none, or the key holds something else.
        """
        return cls(await connected(target), target)

    async def resume_after(self) -> int | None:
        """Return the marker's position, when the entry that it names is at the end of the stream."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._left = cast("list[bytes | None]", await self._client.hmget(self._marker, list(_MARKER)))
                history, pos, last = self._left
                if history is None or pos is None or last is None or history.decode() != self._target.history:
                    return None
                entries = cast(
                    "list[tuple[bytes, dict[bytes, bytes]]]",
                    await self._client.xrevrange(self._target.destination, count=LOOKED_BACK),
                )
        except Exception as error:
            raise reason(error) from None
        return int(pos) if any(fields.get(b"id") == last for _, fields in entries) else None

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Add messages and the marker in one transaction; see the port."""
        target = self._target
        last = messages[-1]
        marker = {"history": target.history, "pos": str(last.pos), "id": last.id}
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S), self._client.pipeline(transaction=True) as pipeline:
                await pipeline.watch(self._marker)
                now = cast("Awaitable[list[bytes | None]]", pipeline.hmget(self._marker, list(_MARKER)))
                if await now != self._left:
                    raise BrokerError(Trouble.OUT_OF_ORDER, "the relay's marker is not as it was left")
                pipeline.multi()
                self._add(pipeline, messages)
                pipeline.hset(self._marker, mapping=cast("Mapping[Any, Any]", marker))  # Any: as the library takes it
                await pipeline.execute()
        except Exception as error:
            found = reason(error)
            return Sent(stored=0, trouble=found.trouble, detail=found.detail)
        self._left = [value.encode() for value in marker.values()]
        return Sent(stored=len(messages))

    def _add(self, pipeline: Any, messages: Sequence[Message]) -> None:  # Any: the library's own
        target = self._target
        for one in messages:
            fields: dict[Any, Any] = {  # Any: as the library takes them
                "id": one.id, "type": one.type, "tenantid": one.tenant, "key": one.key, "event": one.body,
            }  # fmt: skip
            pipeline.xadd(target.destination, fields, maxlen=target.keep or None, approximate=True)

    async def close(self) -> None:
        """Let go of the connection."""
        await let_go(self._client)


async def connected(target: BrokerTarget) -> Redis:
    """Connect to the first address that answers as a primary.

    Raises:
        BrokerError: there is none, or the key holds something else.
    """
    last = BrokerError(Trouble.UNREACHABLE)
    for host, port in target.servers:
        client = _client(target, host, port)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await _check(client, target)
            return client
        except BaseException as error:
            await let_go(client)
            if not isinstance(error, Exception):
                raise
            last = reason(error)
    raise last


def marker_of(destination: str, relay: str) -> str:
    """Return the key of a relay's marker: in the stream's own hash slot."""
    _, opened, rest = destination.partition("{")
    tagged = opened and rest.find("}") > 0
    return f"{destination if tagged else '{' + destination + '}'}:relay:{relay}"


def _client(target: BrokerTarget, host: str, port: int) -> Redis:
    user, colon, password = target.credential.partition(":")
    return Redis(
        host=host, port=port, username=user if colon and user else None,
        password=(password if colon else target.credential) or None, single_connection_client=True,
        client_name=f"central-hub-relay-{target.relay}", socket_timeout=SEND_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S, retry=Retry(NoBackoff(), 0), retry_on_error=[], ssl=target.tls,
        ssl_ca_data=target.ca or None, ssl_check_hostname=True,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )  # fmt: skip


async def _check(client: Redis, target: BrokerTarget) -> None:
    role = cast("list[Any]", await client.execute_command("ROLE"))  # Any: the answer's parts differ
    if role[0] not in (b"master", "master"):
        raise BrokerError(Trouble.UNREACHABLE, "the server is a replica")
    kind = cast(bytes, await client.type(target.destination))
    if kind not in (_NONE, _STREAM):
        raise BrokerError(Trouble.NO_DESTINATION, f"the key holds a {kind.decode()}")


def reason(error: Exception) -> BrokerError:
    """Say in the port's words what went wrong."""
    if isinstance(error, BrokerError):
        return error
    text = str(error)
    for name, trouble in (
        ("OOM", Trouble.FULL), ("MISCONF", Trouble.FULL), ("NOREPLICAS", Trouble.FULL), ("NOAUTH", Trouble.DENIED),
        ("WRONGPASS", Trouble.DENIED), ("NOPERM", Trouble.DENIED), ("WRONGTYPE", Trouble.NO_DESTINATION),
        ("READONLY", Trouble.UNREACHABLE), ("LOADING", Trouble.UNREACHABLE), ("MASTERDOWN", Trouble.UNREACHABLE),
        ("MOVED", Trouble.NO_DESTINATION),
    ):  # fmt: skip
        if name in text:
            return BrokerError(trouble, text)
    if isinstance(error, exceptions.WatchError):
        return BrokerError(Trouble.OUT_OF_ORDER, "another wrote the relay's marker")
    if isinstance(error, exceptions.OutOfMemoryError):
        return BrokerError(Trouble.FULL, text)
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return BrokerError(Trouble.DENIED, text)
    if isinstance(error, ssl.SSLError) or "SSL" in text or "certificate" in text.lower():
        return BrokerError(Trouble.TLS_FAILED, text)
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return BrokerError(Trouble.TIMED_OUT, "no answer in time")
    if isinstance(error, exceptions.ConnectionError | OSError):
        return BrokerError(Trouble.UNREACHABLE, text)
    return BrokerError(Trouble.REFUSED, text)


async def let_go(client: Redis) -> None:
    """Close a client's connection, whatever it says."""
    await ended_within(END_S, client.aclose(close_connection_pool=True))
