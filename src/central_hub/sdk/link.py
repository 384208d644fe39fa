"""The connection to a hub: the only place that sends the API key. aiohttp is loaded here, at `open`.

When the hub is down every request fails at once with `hub_unreachable`; nothing is queued.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from central_hub.sdk.backoff import Backoff
from central_hub.sdk.model import CONNECT_TIMEOUT_S, HUB_ANSWER_BYTES_MAX, HUB_TIMEOUT_S, STREAM_SILENCE_S
from central_hub.sdk.protocol import FAILED_FROM, HubProtocol, HubReply, HubRequest, is_transient, problem, unreachable

if TYPE_CHECKING:
    import aiohttp

from central_hub.kernel.errors import HubError

CONNECTIONS_MAX: Final = 32
ATTEMPTS_MAX: Final = 4


class HubLink:
    """Sends requests to one hub.

    Args:
        protocol: knows the address and the credentials.
    """

    def __init__(self, protocol: HubProtocol) -> None:
        self.protocol = protocol
        self._session: aiohttp.ClientSession | None = None

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

    async def send(self, request: HubRequest, *, timeout_s: float = HUB_TIMEOUT_S) -> HubReply:
        """Send once and read the whole answer, whatever its status.

        Raises:
            HubError: `hub_unreachable` (503).
        """
        import aiohttp

        try:
            async with self._opened().request(
                request.method,
                self.protocol.base_url + request.target,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > HUB_ANSWER_BYTES_MAX:
                        raise unreachable(self.protocol.base_url, "its answer is too large")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HubReply(status=response.status, headers=headers, body=bytes(body))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unreachable(self.protocol.base_url, _reason(error)) from error

    async def send_until(self, request: HubRequest, *, attempts: int = ATTEMPTS_MAX) -> HubReply:
        """Send, and again with jitter while the hub is away or cannot write now.

        A command keeps its idempotency key, so it is executed once however often it was sent.

        Raises:
            HubError: the last refusal.
        """
        backoff = Backoff(cap_s=1.0)
        while True:
            attempts -= 1
            try:
                reply = await self.send(request)
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
    async def stream(self, request: HubRequest) -> AsyncGenerator[tuple[HubReply, AsyncIterator[bytes]]]:
        """Open a stream; inside the block chunks can be read until it breaks or stays silent.

        Raises:
            HubError: the hub's refusal, or `hub_unreachable`, also when the stream breaks.
        """
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=STREAM_SILENCE_S)
        try:
            async with self._opened().get(
                self.protocol.base_url + request.target, headers=request.headers, allow_redirects=False, timeout=timeout
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                if response.status != 200:
                    body = await response.content.read(65_536)
                    raise problem(HubReply(status=response.status, headers=headers, body=body))
                yield HubReply(status=200, headers=headers, body=b""), response.content.iter_any()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unreachable(self.protocol.base_url, _reason(error)) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use `async with HubClient(...) as hub`, or await hub.open()")
        return self._session


def _reason(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
