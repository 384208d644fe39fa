"""One HTTP/1.1 connection: uvicorn's protocol with limits on heads, and errors in the hub's own form.

Leans on these internals of uvicorn's `HttpToolsProtocol`, pinned by a test: the parser callbacks
`on_message_begin` and `on_headers_complete`, `send_400_response`, `_unsupported_upgrade_warning`,
`_should_upgrade`, `handle_websocket_upgrade`, `_unset_keepalive_if_required`, `timeout_keep_alive_task`, `flow`,
`connections`, `scope`, `pipeline`, `_start_asgi_task`, `shutdown`, `url`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from httptools import HttpParserError
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from central_hub.edge.carrying import BODY_ARRIVED, CONNECTION
from central_hub.edge.holding import Hold
from central_hub.edge.problems import MEDIA_TYPE, problem_of
from central_hub.edge.sockets import PATH_END
from central_hub.edge.streams import CARRIER, DirectSink
from central_hub.kernel.errors import HubError, Kind

HEAD_BYTES_MAX: Final = 65_536
"""Longest request head; the packets that it begins and ends in may be held beside it."""
HEAD_TIMEOUT_S: Final = 10.0
"""Time from the first byte of a request head to its last."""
CONNECTIONS_MAX: Final = 20_000
HEAD_PIECE_BYTES: Final = 256
"""How much of a head the parser is given at once: of requests that a client sends without waiting for answers one or
two are parsed before their turn, and not thousands."""
BODY_PIECE_BYTES: Final = 2_048
"""How much of a body it is given at once."""
REST_BYTES_MAX: Final = 65_536
"""What may wait unparsed behind a request before reading is paused; one read more can be held."""
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
        self._upgraded = False
        # What its caller was told to wait for, what has arrived all the same, and when that is taken up.
        self._hold: Hold | None = None
        self._hold_until_s = 0.0
        self._held: deque[bytes] = deque()
        self._release: asyncio.TimerHandle | None = None
        self._rest = b""
        self._extensions: dict[str, HubProtocol] = {CONNECTION: self}

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
        self._forget_hold()
        self._extensions.clear()

    def told(self, hold: Hold) -> None:
        """Take note that this connection's caller was told to wait."""
        self._forget_hold()
        self._hold = hold
        self._hold_until_s = self.loop.time() + hold.seconds

    def data_received(self, data: bytes) -> None:
        """Feed the parser, a piece at a time, and watch a head that a packet left unfinished."""
        if self._last_words or (self._hold is not None and self._keep(data)):
            return
        if self._rest:
            self._leave(self._rest + data)
            return
        while len(data) > (size := HEAD_PIECE_BYTES if self._head_open or self._is_between() else BODY_PIECE_BYTES):
            self._feed(data[:size])
            data = data[size:]
            if self._last_words or self._upgraded:
                return  # nobody speaks as a WebSocket before that is answered
            if self._ended_one and not self._is_between():
                # What comes behind a whole request is not even parsed before that is answered.
                self._leave(data)
                return
        self._feed(data)

    def on_message_begin(self) -> None:
        """Note that a head has begun, and put the connection within the application's reach."""
        self._head_open = True
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # pyright: ignore[reportGeneralTypeIssues]  # ASGI lets servers add

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
        if self.pipeline and self._hold is not None and self._keep_waiting():
            return
        super().on_response_complete()
        if self._rest and not self.transport.is_closing():
            self._go_on_reading()
        if self._last_words and not self.pipeline and self._is_between():
            self._end()

    def shutdown(self) -> None:
        """Begin an orderly end: what is held was never begun."""
        if self._release is not None:
            self.transport.close()
        else:
            super().shutdown()

    def _keep(self, data: bytes) -> bool:
        """Keep what came too soon, and read no more until it is time; False when it is to be taken now."""
        hold = self._hold
        assert hold is not None
        if self._release is None:
            if self.loop.time() >= self._hold_until_s:
                self._forget_hold()
                return False
            if self._head_open or not self._is_between() or not hold.concerns(data):
                return False
        if not hold.begin(len(data)):
            self.transport.close()
            return True
        self._held.append(data)
        self._stop_reading()
        return True

    def _keep_waiting(self) -> bool:
        """Leave the requests that came with a refused one until it is time; False when they are to be begun now."""
        hold = self._hold
        assert hold is not None
        if self.loop.time() >= self._hold_until_s or not hold.is_of(list(self.pipeline[-1][0].scope["headers"])):
            return False
        if not hold.begin(len(self._rest)):
            self.transport.close()
            return True
        self.server_state.total_requests += 1
        self._stop_reading()
        return True

    def _feed(self, piece: bytes) -> None:
        self._ended_one = False
        super().data_received(piece)
        if self._upgraded:
            return
        if self._head_open:
            # What a packet holds before a head begins in it is another request's.
            self._watch_head(0 if self._ended_one else len(piece))

    def _leave(self, rest: bytes) -> None:
        """Leave bytes for later; reading goes on for a while, as closing on what was not read takes back an answer."""
        self._rest = rest
        if len(rest) > REST_BYTES_MAX:
            self.flow.pause_reading()

    def _go_on_reading(self) -> None:
        """Take up what a large packet left, once what it began with is being answered."""
        if self.pipeline:
            self._leave(self._rest)
            return
        rest, self._rest = self._rest, b""
        self.data_received(rest)

    def _stop_reading(self) -> None:
        self._unset_keepalive_if_required()
        self.flow.pause_reading()
        if self._release is None:
            assert self._hold is not None
            # Those that were told at one moment do not all come back at one moment.
            spread = (id(self) >> 4) * 0.618_033_988_749_895 % 1.0
            self._release = self.loop.call_at(self._hold_until_s + spread * self._hold.seconds, self._take_up)

    def _take_up(self) -> None:
        """Go on with what was held."""
        held = tuple(self._held)
        self._forget_hold()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        for data in held:
            self.data_received(data)

    def _forget_hold(self) -> None:
        if self._hold is None:
            return
        self._hold.end()
        self._hold = None
        self._held.clear()
        if self._release is not None:
            self._release.cancel()
            self._release = None

    def _is_between(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]  # uvicorn starts with None

    def _should_upgrade(self) -> bool:
        """Say whether a request becomes a WebSocket: on few paths, and never behind one that is not answered."""
        path = self.url.partition(b"?")[0]
        return path.endswith(PATH_END) and self._is_between() and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; nothing of this protocol's is left on it."""
        self._upgraded = True
        self._unset_keepalive_if_required()
        self._stop_head_timer()
        self._forget_hold()
        self._extensions.clear()
        super().handle_websocket_upgrade()

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
        if self._is_between():
            self._end()  # otherwise those that asked before are answered before

    def _end(self) -> None:
        if not self.transport.is_closing():
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
        self._extensions[CARRIER] = self

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the stream in progress, if there is one."""
        super().connection_lost(exc)
        if self.stream is not None:
            self.stream.lost()


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
