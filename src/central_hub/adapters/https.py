"""One HTTP exchange over a connection that egress opened, in clear or under TLS.

No redirects, no pooling, one answer of a bounded size. Under TLS the server's certificate and name are always checked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final, Protocol

import httptools

RECEIVE_BYTES: Final = 65_536
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024

Headers = Sequence[tuple[str, str]]


class Stream(Protocol):
    """Bytes both ways (adapters.egress.Connection, `TlsStream`)."""

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        ...

    async def receive(self, limit: int) -> bytes:
        """Return up to `limit` bytes, nothing at the end of the stream."""
        ...


class TlsStream:
    """TLS over another stream.

    Args:
        under: carries the encrypted bytes.
        context: which certificates are trusted.
        host: the name that the server's certificate must hold.
    """

    def __init__(self, under: Stream, context: ssl.SSLContext, host: str) -> None:
        self._under = under
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def open(self) -> None:
        """Shake hands.

        Raises:
            ssl.SSLError: the server is not who it should be.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange()
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self._tls.write(data)
        await self._flush()

    async def receive(self, limit: int) -> bytes:
        """Return up to `limit` bytes, nothing at the end of the stream."""
        while True:
            try:
                return self._tls.read(limit)
            except ssl.SSLWantReadError:
                await self._exchange()
            except ssl.SSLZeroReturnError:
                return b""

    async def _exchange(self) -> None:
        await self._flush()
        data = await self._under.receive(RECEIVE_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await self._under.send(data)


class BadAnswer(OSError):
    """What came back is no whole HTTP answer, or a larger one than is read."""


async def exchange(
    stream: Stream, method: str, target: str, headers: Headers, body: bytes, *, timeout_s: float
) -> tuple[int, bytes]:
    """Send one request and return the answer's status and body.

    Raises:
        BadAnswer, OSError, TimeoutError: there is none.
    """
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    async with asyncio.timeout(timeout_s):
        await stream.send(head.encode("ascii") + body)
        while not answer.whole:
            data = await stream.receive(RECEIVE_BYTES)
            if not data:
                raise BadAnswer("the connection ended before the answer")
            answer.size += len(data)
            if answer.size > ANSWER_BYTES_MAX:
                raise BadAnswer("the answer is too large")
            try:
                parser.feed_data(data)
            except httptools.HttpParserError:
                raise BadAnswer("the answer is not HTTP") from None
    return parser.get_status_code(), b"".join(answer.parts)


class _Answer:
    """What the parser tells of an answer."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.whole = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self.parts.append(body)

    def on_message_complete(self) -> None:
        """Take note of the end."""
        self.whole = True
