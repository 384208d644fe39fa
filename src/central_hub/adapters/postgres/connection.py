"""One connection to PostgreSQL: what the store uses of asyncpg, typed, and what its errors mean.

The only module that names the driver.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false
# asyncpg has no types; what leaves this module has.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

import asyncpg

from central_hub.adapters.postgres.address import Address
from central_hub.kernel.errors import HubError
from central_hub.kernel.placing import store_unavailable

CONNECT_S: Final = 2
"""Seconds a host gets to take a connection before the next one is tried."""
STATEMENT_S: Final = 10
"""Seconds a statement of the log may take; what takes longer is given up."""
LOCK_S: Final = 5

SETTINGS: Final = {
    "application_name": "central-hub",
    "search_path": "central_hub",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "lock_timeout": f"{LOCK_S}s",
    "statement_timeout": f"{STATEMENT_S}s",
    # A hub that stands still in the middle of a batch must not hold the head's row for ever.
    "idle_in_transaction_session_timeout": "10s",
    # The server misses a hub whose machine is gone within seconds, not hours.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

Row = Any  # Any: the columns' types differ
Refused: Final = asyncpg.PostgresError
PrivilegeMissing: Final = asyncpg.InsufficientPrivilegeError
LOST: Final = (
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What says that the session is over, or not to be relied on."""
FULL: Final = (asyncpg.DiskFullError, asyncpg.OutOfMemoryError)
UNFIT: Final = (asyncpg.DataError, asyncpg.exceptions.UntranslatableCharacterError)
"""A value that PostgreSQL has no form for, such as a text with a zero byte in it."""
READ_ONLY: Final = (asyncpg.ReadOnlySQLTransactionError,)
"""The server was demoted under the session: another host takes the writes now."""


class Transaction(Protocol):
    """An asynchronous context: commits, or rolls back on an error."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *raised: object) -> object: ...


class Connection(Protocol):
    """What the store uses of a connection."""

    async def execute(self, query: str, *values: object) -> str:
        """Run a statement; returns its tag ("UPDATE 1")."""
        ...

    async def executemany(self, command: str, args: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values."""
        ...

    async def fetch(self, query: str, *values: object) -> list[Row]:
        """Run a query; returns its rows."""
        ...

    async def fetchrow(self, query: str, *values: object) -> Row | None:
        """Run a query; returns its first row."""
        ...

    async def fetchval(self, query: str, *values: object) -> Any:  # Any: the column's type
        """Run a query; returns the first column of its first row."""
        ...

    def transaction(self, *, readonly: bool = False) -> Transaction:
        """Make a transaction of the block that enters it."""
        ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        """Be told of notifications."""
        ...

    def add_log_listener(self, callback: Callable[[object, object], None]) -> None:
        """Be told of the server's notices and warnings."""
        ...

    def get_server_pid(self) -> int:
        """Return the server's process behind it."""
        ...

    def is_closed(self) -> bool:
        """Say whether it is over."""
        ...

    def terminate(self) -> None:
        """Give it up at once."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's own
        """Close it in order."""
        ...


async def connect(host: str) -> Connection:
    """Connect to one host.

    Args:
        host: an address of `Address.hosts`.

    Raises:
        Exception: one of `LOST` or `Refused`; `reason_of` says it in words.
    """
    async with asyncio.timeout(CONNECT_S):
        made = await asyncpg.connect(
            host, timeout=CONNECT_S, server_settings=SETTINGS, target_session_attrs="read-write", command_timeout=None
        )
    return cast(Connection, made)


async def connect_any(address: Address) -> Connection:
    """Connect to the first host that takes writes.

    Raises:
        HubError: `store_unavailable`, with every host's reason for the hub's log.
    """
    reasons: list[str] = []
    for host, name in zip(address.hosts, address.names, strict=True):
        try:
            return await connect(host)
        except (*LOST, Refused, ValueError) as error:
            reasons.append(f"{name}: {reason_of(error)}")
    raise store_unavailable("; ".join(reasons))


def reason_of(error: BaseException) -> str:
    """Say what went wrong without repeating an address."""
    if isinstance(error, HubError):
        return error.internal or error.message
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
