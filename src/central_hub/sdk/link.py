"""The connection to a hub: the only place that sends the API key. aiohttp is loaded here, at `open`.

When the hub is down every request fails at once with `hub_unreachable`; nothing is queued. Where there are several
hubs the next one is asked, with the same idempotency key, until all were: so one that is killed, stops or has lost the
store is no error to anybody. One that was found is kept.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from central_hub.sdk.backoff import Backoff
from central_hub.sdk.model import CONNECT_TIMEOUT_S, HUB_ANSWER_BYTES_MAX, HUB_TIMEOUT_S, STREAM_SILENCE_S
from central_hub.sdk.protocol import (
    FAILED_FROM,
    MOVED_ON,
    HubProtocol,
    HubReply,
    HubRequest,
    is_stale,
    is_transient,
    problem,
    unreachable,
)

if TYPE_CHECKING:
    import aiohttp

from central_hub.kernel.errors import HubError

CONNECTIONS_MAX: Final = 32
ATTEMPTS_MAX: Final = 4
SEVERAL_TIMEOUT_S: Final = 2.0
"""Seconds that one of several hubs gets to answer before the next one is asked."""
STALE_APART_S: Final = 5.0
"""Seconds between leaving two hubs that have lost the store: it may be away for all of them."""
UNAVAILABLE: Final = frozenset({503})


class HubLink:
    """Sends requests to a hub, or to whichever of several answers.

    Args:
        protocol: knows the address and the credentials.
    """

    def __init__(self, protocol: HubProtocol) -> None:
        self.protocol = protocol
        self._session: aiohttp.ClientSession | None = None
        self._left_s = float("-inf")
        self.moves = 0
        self.turned = asyncio.Event()
        """Set when another hub is asked from now on: streams of the last one are not to be waited for."""

    async def open(self) -> None:
        """Get ready to send; does not contact the hub."""
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=HUB_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
            read_bufsize=1 << 20,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, request: HubRequest, *, timeout_s: float = HUB_TIMEOUT_S, base_url: str | None = None
    ) -> HubReply:
        """Send once, to each hub until one answers, and read the whole answer, whatever its status.

        Args:
            request: what to send.
            timeout_s: for all of it.
            base_url: another hub of the same cluster, where the hub itself has named it.

        Raises:
            HubError: `hub_unreachable` (503).
        """
        if base_url is not None:
            return await self._send(base_url, request, timeout_s)
        protocol = self.protocol
        left = len(protocol.base_urls)
        if left > 1:
            timeout_s = min(timeout_s, SEVERAL_TIMEOUT_S)
        while True:
            left -= 1
            asked = protocol.base_url
            try:
                reply = await self._send(asked, request, timeout_s)
            except HubError:
                self._turn_from(asked)
                if left <= 0:
                    raise
                continue
            protocol.answered(request, asked, reply)
            refused = reply.status in UNAVAILABLE and problem(reply).code in MOVED_ON
            if refused or (is_stale(reply) and self._may_leave()):
                self._turn_from(asked)
            if not refused or left <= 0:
                return reply

    def _turn_from(self, base_url: str) -> None:
        if self.protocol.move_from(base_url):
            self.moves += 1
            self.turned.set()

    def _may_leave(self) -> bool:
        """Say whether a stale hub may be left: not again at once, when all of them are stale."""
        now_s = time.monotonic()
        if now_s - self._left_s < STALE_APART_S:
            return False
        self._left_s = now_s
        return True

    async def _send(self, base_url: str, request: HubRequest, timeout_s: float) -> HubReply:
        import aiohttp

        try:
            async with self._opened().request(
                request.method,
                base_url + request.target,
                data=request.body,
                headers=self.protocol.headers_for(request),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > HUB_ANSWER_BYTES_MAX:
                        raise unreachable(base_url, "its answer is too large")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HubReply(status=response.status, headers=headers, body=bytes(body))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unreachable(base_url, _reason(error)) from error

    async def send_until(
        self, request: HubRequest, *, attempts: int = ATTEMPTS_MAX, base_url: str | None = None
    ) -> HubReply:
        """Send, and again with jitter while the hub is away or cannot write now.

        A command keeps its idempotency key, so it is executed once however often it was sent.

        Raises:
            HubError: the last refusal.
        """
        backoff = Backoff(cap_s=1.0)
        while True:
            attempts -= 1
            try:
                reply = await self.send(request, base_url=base_url)
                refusal = problem(reply) if reply.status >= FAILED_FROM else None
                if refusal is None or not is_transient(refusal) or attempts <= 0:
                    return reply
            except HubError as error:
                if attempts <= 0:
                    raise
                refusal = error
            wait_s = backoff.next_s(random.random(), at_least_s=min(1, refusal.retry_after_s or 0))  # noqa: S311  # jitter
            await asyncio.sleep(wait_s)

    @asynccontextmanager
    async def stream(
        self, request: HubRequest, *, base_url: str | None = None
    ) -> AsyncGenerator[tuple[HubReply, AsyncIterator[bytes]]]:
        """Open a stream; inside the block chunks can be read until it breaks or stays silent.

        Args:
            request: what to send.
            base_url: another hub of the same cluster, where the hub itself has named it.

        Raises:
            HubError: the hub's refusal, or `hub_unreachable`, also when the stream breaks.
        """
        import aiohttp

        asked = base_url or self.protocol.base_url
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=STREAM_SILENCE_S)
        try:
            async with self._opened().get(
                asked + request.target, headers=request.headers, allow_redirects=False, timeout=timeout
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                if response.status != 200:
                    body = await response.content.read(65_536)
                    if response.status in UNAVAILABLE:
                        self._turn_from(asked)
                    raise problem(HubReply(status=response.status, headers=headers, body=body))
                yield HubReply(status=200, headers=headers, body=b""), response.content.iter_any()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._turn_from(asked)
            raise unreachable(asked, _reason(error)) from error

    def ended(self) -> HubError:
        """Take note that a stream ended in order: its hub is going away; return the reason that is given for it."""
        asked = self.protocol.base_url
        self._turn_from(asked)
        return unreachable(asked, "the stream ended")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use `async with HubClient(...) as hub`, or await hub.open()")
        return self._session


def _reason(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
