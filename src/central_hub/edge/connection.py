"""One HTTP/1.1 connection: uvicorn's protocol with limits on heads, and errors in the hub's own form.

Leans on these internals of uvicorn's `HttpToolsProtocol`, pinned by a test: the parser callbacks
`on_message_begin` and `on_headers_complete`, `send_400_response`, `_unsupported_upgrade_warning`,
`_unset_keepalive_if_required`, `timeout_keep_alive_task`, `flow`, `connections`, `scope`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from httptools import HttpParserError
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from central_hub.edge.carrying import BODY_ARRIVED
from central_hub.edge.problems import MEDIA_TYPE, problem_of
from central_hub.edge.streams import CARRIER, DirectSink
from central_hub.kernel.errors import HubError, Kind

HEAD_BYTES_MAX: Final = 65_536
"""Longest request head; the packets that it begins and ends in may be held beside it."""
HEAD_TIMEOUT_S: Final = 10.0
"""Time from the first byte of a request head to its last."""
CONNECTIONS_MAX: Final = 20_000
HTTP_VERSIONS: Final = frozenset({"1.1", "1.0"})


class HubProtocol(HttpToolsProtocol):
    """A connection that cannot be held by an unfinished request head, and says no in problem documents."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: ASGI's lifespan state
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_open = False
        self._ended_one = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._last_words = b""

    def connection_made(  # pyright: ignore[reportIncompatibleMethodOverride]  # uvicorn narrows it as well
        self, transport: asyncio.Transport
    ) -> None:
        """Take the connection, unless there are too many; it has to say something before long."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(_too_many_connections())
            return
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._stop_head_timer()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and watch a head that a packet left unfinished."""
        if self._last_words:
            return
        self._ended_one = False
        super().data_received(data)
        if self._head_open:
            # What a packet holds before a head begins in it is another request's.
            self._watch_head(0 if self._ended_one else len(data))

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        self._head_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the head is whole; without a version, or with an unknown one, it is no head of HTTP/1."""
        self._head_open = False
        self._head_bytes = 0
        if self._head_timer is not None:
            self._stop_head_timer()
        assert self.parser is not None
        if self.parser.get_http_version() not in HTTP_VERSIONS:
            raise HttpParserError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Tell the application that it will not have to wait for the body."""
        self._ended_one = True
        super().on_message_complete()
        self.scope[BODY_ARRIVED] = True  # pyright: ignore[reportGeneralTypeIssues]  # ASGI lets servers add

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem document."""
        del msg
        self._head_open = False
        self._refuse(_malformed_request())

    def on_response_complete(self) -> None:
        """Go on with what is waiting; say the last words when nothing is."""
        had_more = bool(self.pipeline)
        super().on_response_complete()
        if self._last_words and not had_more:
            self._end()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered as if it had not asked for an upgrade."""

    def _watch_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(_head_too_large())
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self._head_open and not self.transport.is_closing():
            self._refuse(_head_too_slow())

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: HubError) -> None:
        status, body, _ = problem_of(error)
        lines = [STATUS_LINE[status]]
        lines.extend(b"%b: %b\r\n" % line for line in self.server_state.default_headers)
        lines.append(b"content-type: %b\r\ncontent-length: %d\r\n" % (MEDIA_TYPE.encode("ascii"), len(body)))
        lines.append(b"connection: close\r\n\r\n" + body)
        self._last_words = b"".join(lines)
        if self.cycle is None or self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]  # uvicorn starts with None
            self._end()  # otherwise those that asked before are answered before

    def _end(self) -> None:
        self.transport.write(self._last_words)
        self.transport.close()


class CarrierProtocol(HubProtocol):
    """A connection that streams may write to directly (`edge.streams.Carrier`)."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: ASGI's lifespan state
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.stream: DirectSink | None = None
        self._extensions: dict[str, CarrierProtocol] = {CARRIER: self}

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the stream in progress, if there is one."""
        super().connection_lost(exc)
        self._extensions.clear()
        if self.stream is not None:
            self.stream.lost()

    def on_message_begin(self) -> None:
        """Put the connection within the application's reach."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # pyright: ignore[reportGeneralTypeIssues]  # ASGI lets servers add


def _malformed_request() -> HubError:
    return HubError(
        "malformed_request",
        Kind.INVALID,
        "What arrived is not a well-formed HTTP/1.1 request.",
        next_step="Send the request with an HTTP client library.",
    )


def _head_too_large() -> HubError:
    return HubError(
        "head_too_large",
        Kind.TOO_LARGE,
        f"The request's head is longer than {HEAD_BYTES_MAX} bytes.",
        next_step="Send fewer or shorter headers.",
    )


def _head_too_slow() -> HubError:
    return HubError(
        "request_timeout",
        Kind.TIMEOUT,
        f"The request's head did not arrive within {HEAD_TIMEOUT_S:.0f} seconds.",
        next_step="Send it again over a connection that keeps up.",
    )


def _too_many_connections() -> HubError:
    return HubError(
        "too_many_connections",
        Kind.UNAVAILABLE,
        "The hub holds as many connections as it takes.",
        next_step="Close idle connections, or try again later.",
        retry_after_s=1,
    )
