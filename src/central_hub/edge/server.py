"""Running the hub's ASGI application: sockets, event loop, uvicorn with our protocol, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from enum import StrEnum
from importlib.util import find_spec
from typing import Any, Final

import uvicorn

from central_hub.edge.connection import HubProtocol
from central_hub.edge.lane.answers import Lane
from central_hub.edge.lane.protocol import LaneProtocol
from central_hub.edge.sockets import MESSAGE_BYTES_MAX, PING_S
from central_hub.kernel.errors import HubError, Kind

KEEP_ALIVE_S: Final = 75
"""Seconds an idle connection is kept."""
GRACE_S: Final = 10
"""Seconds that requests in flight get when the hub stops."""
BACKLOG: Final = 2_048

App = Callable[..., Awaitable[None]]


class LaneMode(StrEnum):
    """How hot reads are served: by the lane, by raw ASGI, or by the framework like everything else."""

    PROTOCOL = "protocol"
    ASGI = "asgi"
    OFF = "off"


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop factory where it is installed, None for asyncio's own loop."""
    if find_spec("uvloop") is None:
        return None
    import uvloop  # imported here because it is optional

    return uvloop.new_event_loop


def bind(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """Bind listening sockets on every address that `host` has; port 0 lets the system choose one.

    Raises:
        HubError: `address_unavailable` (409).
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((info[0], info[4]) for info in found):
            chosen = sockets[0].getsockname()[1] if sockets else port  # all addresses on one port
            sockets.append(_listening(family, (address[0], chosen, *address[2:]), reuse_port=reuse_port))
    except OSError as error:
        for each in sockets:
            each.close()
        raise HubError(
            "address_unavailable",
            Kind.CONFLICT,
            f"Cannot listen on {host}:{port}: {error.strerror or error}.",
            next_step="Choose another address with --host and --port, or stop what holds this one.",
        ) from None
    return sockets


def _listening(family: int, address: Any, *, reuse_port: bool) -> socket.socket:  # Any: a family's own address form
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class HubServer(uvicorn.Server):
    """uvicorn's server, with a word to the hub before connections are asked to end.

    Args:
        config: from `configure`.
        on_stopping: called once when stopping begins; it closes streams, which would never end by themselves.
        handle_signals: whether SIGTERM and SIGINT stop the server (only in the main thread).
    """

    def __init__(
        self, config: uvicorn.Config, *, on_stopping: Callable[[], None] | None = None, handle_signals: bool = True
    ) -> None:
        super().__init__(config)
        self._on_stopping = on_stopping
        self._handle_signals = handle_signals

    def stop(self) -> None:
        """Begin to stop; `serve` returns when it is done."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close streams, then let requests in flight end, then everything."""
        if self._on_stopping is not None:
            self._on_stopping()
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGTERM and SIGINT while serving; a stop that was asked for is not an error."""
        if not self._handle_signals or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def configure(
    app: App,
    *,
    mode: LaneMode,
    lane: Lane | None = None,
    keep_alive_s: int = KEEP_ALIVE_S,
    grace_s: int = GRACE_S,
    limit_concurrency: int | None = None,
    certificate: str | None = None,
    certificate_key: str | None = None,
) -> uvicorn.Config:
    """Return uvicorn's configuration for the hub.

    Args:
        app: the ASGI application.
        mode: how hot reads are served.
        lane: what answers them; needed when `mode` is `protocol`.
        keep_alive_s, grace_s: seconds, see `KEEP_ALIVE_S` and `GRACE_S`.
        limit_concurrency: connections or tasks from which on everything is 503; None for no such limit.
        certificate, certificate_key: PEM files; TLS when given.
    """
    protocol: Any = HubProtocol  # Any: uvicorn takes a class or anything that makes a protocol
    if mode is LaneMode.PROTOCOL:
        assert lane is not None, "the lane's protocol needs a lane"
        protocol = functools.partial(LaneProtocol, lane=lane)
    return uvicorn.Config(
        app,
        http=protocol,
        ws="websockets-sansio" if find_spec("websockets") is not None else "none",
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,  # a few bytes could become many
        lifespan="on",
        log_config=None,
        log_level="error",  # a warning is one line per malformed request, which anyone can send
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        backlog=BACKLOG,
        limit_concurrency=limit_concurrency,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=grace_s,
        ssl_certfile=certificate,
        ssl_keyfile=certificate_key,
    )
