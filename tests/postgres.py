"""Real PostgreSQL for tests: one server a run, a database of its own for each test.

Where its programs are missing the tests say so and do not run: `python -m tools.system_programs postgres` gets them.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import asyncpg
import pytest

from central_hub.adapters.postgres.address import Address, parse_address
from central_hub.adapters.postgres.migrations import prepare
from tools.postgres_server import MissingError, PostgresServer

OWNER = "hub_owner"
HUB = "hub"
TEMPLATE = "hub_template"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """A prepared, empty database on a server."""

    server: PostgresServer
    name: str

    @property
    def text(self) -> str:
        """Its address for the hub's role."""
        return self.server.address(self.name, HUB)

    @property
    def address(self) -> Address:
        """The same, taken apart."""
        return parse_address(self.text)

    def sql(self, statement: str, *, role: str = "admin") -> str:
        """Run a statement in it, by default as one whom no wall holds."""
        return self.server.sql(statement, database=self.name, role=role)


def furnish(server: PostgresServer) -> None:
    """Make the roles, and the database that the others are copies of."""
    server.sql(f"CREATE ROLE {OWNER} LOGIN")
    server.sql(f"CREATE ROLE {HUB} LOGIN")
    server.sql(f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}")

    async def make() -> None:
        connection = await asyncpg.connect(server.address(TEMPLATE, OWNER))
        await prepare(connection, HUB)
        await connection.close()

    with ThreadPoolExecutor(1) as aside:  # a fixture may be set up inside a running loop
        aside.submit(asyncio.run, make()).result()


def new_database(server: PostgresServer) -> Database:
    """Make a database."""
    name = f"hub_{next(_numbers)}"
    server.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER}")
    return Database(server, name)


def a_server(**settings: str) -> PostgresServer:
    """Start a server of a test's own, furnished; whoever asks removes it."""
    try:
        server = PostgresServer.initialised(**settings)
    except MissingError as missing:
        pytest.skip(str(missing))
    try:
        furnish(server)
    except BaseException:
        server.remove()
        raise
    return server


class Pair:
    """A primary and its replica, and an address that names both."""

    def __init__(self, *, synchronous: bool) -> None:
        self.primary = a_server()
        self.database: Database = new_database(self.primary)
        try:
            self.standby = PostgresServer.replica_of(self.primary)
        except BaseException:
            self.primary.remove()
            raise
        if synchronous:
            self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            self.primary.sql("SELECT pg_reload_conf()")
        self.wait_for_replica("sync" if synchronous else "async")

    def wait_for_replica(self, state: str) -> None:
        """Wait until the replica streams in a state."""
        deadline = time.monotonic() + 20
        while self.primary.sql("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'") != state:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def text(self) -> str:
        """Its address: both hosts, the primary first."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://{HUB}@{hosts}/{self.database.name}"

    @property
    def address(self) -> Address:
        """The same, taken apart."""
        return parse_address(self.text)

    def fail_over(self) -> None:
        """Kill the primary and promote the replica."""
        self.primary.kill()
        self.standby.promote()

    def remove(self) -> None:
        """Remove both."""
        self.standby.remove()
        self.primary.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server that tests share; nobody kills this one."""
    server = a_server()
    yield server
    server.remove()


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database of the test's own on the shared server."""
    made = new_database(postgres_server)
    yield made
    postgres_server.sql(f"DROP DATABASE {made.name} WITH (FORCE)")


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(synchronous=request.param == "synchronous")
    yield made
    made.remove()
