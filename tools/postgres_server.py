"""A real PostgreSQL server of one's own, in a temporary directory, for tests and benchmarks.

It listens on loopback only, on a free port, with fsync on. Where the caller is root it runs as another user, because
PostgreSQL refuses root. The programs are Debian's, installed or unpacked by `tools.system_programs`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final, TypedDict

import psutil

from tools.system_programs import TOOLS, find, libraries

UNPRIVILEGED: Final = ("postgres", "nobody")
"""Who it runs as when the caller is root: the first of these that there is."""
SUPERUSER: Final = "admin"
START_S: Final = 30.0
STOP_S: Final = 15.0
SETTINGS: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "max_wal_senders": "4",
    "wal_keep_size": "256MB",
    "hot_standby": "on",
    "logging_collector": "off",
    "log_min_messages": "warning",
}


class _Whom(TypedDict):
    """As whom and in which environment a process is started; None for the caller's."""

    env: dict[str, str] | None
    user: int | None
    group: int | None
    extra_groups: list[int] | None


class MissingError(Exception):
    """The programs are not here; the message says what to do."""


def programs() -> Path:
    """Return the directory of the server's programs.

    Raises:
        MissingError: they are not here.
    """
    postgres = find("postgres")
    if postgres is None:
        raise MissingError(
            "PostgreSQL is not here: python -m tools.system_programs postgres (or apt-get install postgresql)"
        )
    return postgres.resolve().parent  # a link may stand on the path


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """One server and its directory; made by `initialised` or `replica_of`, ended by `remove`."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def initialised(cls, **settings: str) -> PostgresServer:
        """Make and start an empty server with further settings.

        Raises:
            MissingError: the programs are not here.
        """
        made = cls(_directory(), programs())
        try:
            made.run("initdb", "-D", str(made.data), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C",
                     "--no-sync")  # fmt: skip
            made.configure(**(SETTINGS | settings))
            made.start()
        except BaseException:
            made.remove()
            raise
        return made

    @classmethod
    def replica_of(cls, primary: PostgresServer, name: str = "standby") -> PostgresServer:
        """Make and start a streaming replica of a running server."""
        made = cls(_directory(), primary._programs)
        try:
            made.run("pg_basebackup", "-D", str(made.data), "-d", primary.address("postgres"), "-R", "-X", "stream",
                     "-c", "fast", "--no-sync")  # fmt: skip
            made.configure(primary_conninfo=f"{primary.address('postgres')}?application_name={name}")
            made.start()
        except BaseException:
            made.remove()
            raise
        return made

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / "data"

    def address(self, database: str, role: str = SUPERUSER) -> str:
        """Return the address of one of its databases for a role."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def configure(self, **settings: str) -> None:
        """Set settings; they hold from the next start, some from `reload`."""
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def start(self) -> None:
        """Start it and return when it takes connections."""
        command = [str(self._programs / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **_as_whom(self._programs),
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended: {self.log()[-2_000:]}")
            if self.run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), check=False) == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL was not ready within {START_S} s: {self.log()[-2_000:]}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process = process
            self.kill()

    def kill(self) -> None:
        """Kill all of it with SIGKILL, as a crash would."""
        process, self._process = self._process, None
        if process is None:
            return
        for each in _family(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(STOP_S)
        _await_nobody(self.data)

    @contextlib.contextmanager
    def frozen(self) -> Generator[None]:
        """Stop all of its processes for a while, as a machine that hangs would."""
        assert self._process is not None
        family = _family(self._process)
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.suspend()
        try:
            yield
        finally:
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.resume()

    def promote(self) -> None:
        """Make a replica take writes; returns when it does."""
        self.run("pg_ctl", "promote", "-D", str(self.data), "-w", "-t", str(int(START_S)))

    def run(self, program: str, *arguments: str, check: bool = True) -> int:
        """Run one of PostgreSQL's programs as whom the server runs; returns its exit code."""
        done = subprocess.run(
            [str(self._programs / program), *arguments], cwd=self.directory, capture_output=True, check=False,
            timeout=START_S * 2, **_as_whom(self._programs),
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode(errors='replace')[-2_000:]}")
        return done.returncode

    def sql(self, statement: str, *, database: str = "postgres", role: str = SUPERUSER) -> str:
        """Run a statement and return its rows: lines, columns with `|` between them.

        Raises:
            RuntimeError: with the server's words when it refuses.
        """
        done = subprocess.run(
            [str(self._programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.address(database, role), "-c",
             statement], cwd=self.directory, capture_output=True, text=True, check=False, timeout=START_S,
            env=_environment(self._programs),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()

    def log(self) -> str:
        """Return what the server wrote to its log."""
        return (self.directory / "log").read_text("utf-8", errors="replace")

    def remove(self) -> None:
        """Kill it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def _environment(programs: Path) -> dict[str, str] | None:
    unpacked = programs.is_relative_to(TOOLS.resolve())  # beside the libraries that it was built with
    return {**os.environ, "LD_LIBRARY_PATH": libraries()} if unpacked else None


def _as_whom(programs: Path) -> _Whom:
    environment = _environment(programs)
    if os.geteuid() != 0:
        return {"env": environment, "user": None, "group": None, "extra_groups": None}
    who = _unprivileged()
    return {"env": environment, "user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def _unprivileged() -> pwd.struct_passwd:
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise MissingError(f"PostgreSQL does not run as root, and there is no user {' or '.join(UNPRIVILEGED)}")


def _directory() -> Path:
    # Not below pytest's own directory, which is closed to the user that the server runs as.
    directory = Path(tempfile.mkdtemp(prefix="hub-postgres-"))
    if os.geteuid() == 0:
        who = _unprivileged()
        os.chown(directory, who.pw_uid, who.pw_gid)
    return directory


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The first process and all below it: the first first, so that it starts no others meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        return [first, *first.children(recursive=True)]
    return []


def _await_nobody(data: Path) -> None:
    """Wait until no process of a killed server works in its directory: the next start would refuse."""
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline and any(_works_in(each, data) for each in psutil.process_iter()):
        time.sleep(0.02)


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == data
    except (psutil.Error, OSError):
        return False
