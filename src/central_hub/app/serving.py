"""Running a hub in the foreground: sockets, stores, the server, and the hub's own log."""

from __future__ import annotations

import asyncio
import importlib
import resource
import socket
import sys
from collections.abc import Callable
from importlib import metadata
from ipaddress import ip_address
from typing import Any, Final, TextIO, cast

import structlog

from central_hub.adapters.clock import SystemClock, system_random
from central_hub.adapters.stores import Stores, open_directory
from central_hub.app.hub import Hub
from central_hub.app.providing import key_provider
from central_hub.app.wiring import build
from central_hub.edge.connection import CONNECTIONS_MAX
from central_hub.edge.server import HubServer, LaneMode, bind, configure
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import UUID_RANDOM_BYTES, uuid7
from central_hub.settings import Settings

OPEN_FILES: Final = CONNECTIONS_MAX + 2_000
"""Every connection the hub takes, and its own files, probes and the rest beside them."""
OPEN_FILES_FEW: Final = 4_096
"""Fewer than that are worth a warning."""
REOPEN_S: Final = 0.25
"""Seconds between two tries to open a store whose history was rewound."""

_log = structlog.get_logger("central_hub.app")


async def serve(settings: Settings, *, announce: Callable[[Hub, str], None]) -> None:
    """Run a hub until SIGTERM or SIGINT.

    When the store's history was rewound the hub begins anew in the same process, on the same sockets: callers who
    connect meanwhile wait.

    Args:
        settings: what the operator set.
        announce: told the hub and its base URL once it is ready.

    Raises:
        HubError: whatever keeps it from starting.
    """
    settings.check()
    allow_open_files()
    sockets = bind(settings.host, settings.port)
    try:
        stores = await open_stores(settings)
        begun = False
        while True:
            try:
                if not await _serve_history(settings, stores, [sock.dup() for sock in sockets], announce):
                    return
            except HubError as refused:
                if not begun or refused.kind is not Kind.UNAVAILABLE:
                    raise
            begun = True
            stores = await _reopened(settings)
    finally:
        for sock in sockets:
            sock.close()


async def _serve_history(
    settings: Settings, stores: Stores, sockets: list[socket.socket], announce: Callable[[Hub, str], None]
) -> bool:
    """Serve from what is kept until asked to stop; returns whether its history was rewound instead."""
    addresses = [sock.getsockname()[:2] for sock in sockets]
    hub = build(settings, stores, listeners=addresses)
    try:
        await hub.start()
    except BaseException:
        await stores.log.close()
        raise
    rewound = False
    try:
        mode = LaneMode(settings.lane.value)
        config = configure(hub.edge, mode=mode, lane=hub.lane if mode is LaneMode.PROTOCOL else None)
        server = HubServer(config, on_stopping=hub.stopping)

        def begin_anew() -> None:
            nonlocal rewound
            rewound = True
            server.stop()

        hub.on_rewound(begin_anew)
        announce(hub, _base_url(*addresses[0]))
        await server.serve(sockets)
    finally:
        await hub.stop()
    return rewound


async def open_stores(settings: Settings) -> Stores:
    """Open what the settings name: PostgreSQL, or the embedded store of a directory.

    Raises:
        HubError: as either does; `extra_missing` without PostgreSQL's driver.
    """
    if settings.store is None:
        return await open_directory(settings.data, incarnation=new_incarnation(), keys=key_provider(settings))
    check_driver()
    from central_hub.adapters.postgres.members import Joining  # its driver is an extra of its own
    from central_hub.adapters.postgres.stores import open_postgres

    joining = None
    if settings.advertise is not None:
        joining = Joining(
            node=settings.advertise, process=new_incarnation(), version=metadata.version("central-hub")
        )  # fmt: skip
    return await open_postgres(
        settings.store.get_secret_value(), settings.data, mint=new_incarnation, keys=key_provider(settings),
        joining=joining,
    )  # fmt: skip


def check_driver() -> None:
    """Make sure that PostgreSQL's driver is installed.

    Raises:
        HubError: `extra_missing`.
    """
    try:
        importlib.import_module("asyncpg")
    except ModuleNotFoundError as missing:
        raise HubError(
            "extra_missing",
            Kind.INVALID,
            f"A store in PostgreSQL needs the package '{missing.name}', which is not installed.",
            next_step="pip install 'central-hub[server,postgres]'",
        ) from None


async def _reopened(settings: Settings) -> Stores:
    while True:
        try:
            return await open_stores(settings)
        except HubError as refused:
            _log.warning("app.store_not_reopened", code=refused.code, reason=refused.internal or refused.message)
            await asyncio.sleep(REOPEN_S)


def allow_open_files(wanted: int = OPEN_FILES) -> int:
    """Raise the soft limit on open files to what the hub may need, as far as the hard one lets it.

    Shells and service managers give 1,024 by default, which is not a thousand connections.

    Returns:
        The limit in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < OPEN_FILES_FEW:
        _log.warning("app.open_files_limited", limit=limit, wanted=wanted)
    return limit


def new_incarnation() -> str:
    """Mint the id of a new log's history."""
    return uuid7(SystemClock().now_ms(), system_random(UUID_RANDOM_BYTES)).replace("-", "")[:16]


def _base_url(host: str, port: int) -> str:
    address = ip_address(host)
    if address.is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class LogStream:
    """Where log lines go. Where they cannot (the disk is full, the reader has gone) they are lost, and no request is.

    Args:
        stream: takes the lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = 0

    def write(self, text: str) -> int:
        """Write, or lose it; returns how much was given."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            self.lost += 1
        return len(text)

    def flush(self) -> None:
        """Flush, or lose what was waiting."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1


def configure_logging(settings: Settings) -> None:
    """Write the hub's own log to stderr in the form and from the level that settings say."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    console = settings.log_format.value == "console"
    last: Any = (  # Any: structlog's processors have no common type
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    processors: list[Any] = [  # Any: as above
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        last,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(levels[settings.log_level]),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, LogStream(sys.stderr))),
        cache_logger_on_first_use=False,
    )
