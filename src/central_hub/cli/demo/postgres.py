"""The demo's PostgreSQL: a server of its own in a temporary directory, killed and started again under the hubs.

Its programs are those on the PATH, or where distributions put them. PostgreSQL refuses root: then it runs as another
user.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, TypedDict

from central_hub.cli.demo.processes import free_ports
from central_hub.cli.failures import ExitCode, Failure

PLACES: Final = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
UNPRIVILEGED: Final = ("postgres", "nobody")
SUPERUSER: Final = "admin"
READY_S: Final = 30.0
STOP_S: Final = 10.0
OWNER: Final = "hub_owner"
HUB: Final = "hub"
SETTINGS: Final = ("fsync=on", "synchronous_commit=on", "listen_addresses=127.0.0.1", "unix_socket_directories=",
                   "max_connections=60", "shared_buffers=64MB", "log_min_messages=warning")  # fmt: skip


class _Whom(TypedDict):
    """As whom a process is started; None for the caller."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


class DemoPostgres:
    """One server; `put_up` makes it, `clear` ends and removes it."""

    def __init__(self) -> None:
        self._programs = _programs()
        self._port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._whom: _Whom = {"user": None, "group": None, "extra_groups": None}
        self._directory = Path(tempfile.mkdtemp(prefix="central-hub-demo-postgres-"))
        if os.geteuid() == 0:
            who = next((found for name in UNPRIVILEGED if (found := _user(name)) is not None), None)
            if who is None:
                raise _missing("It does not run as root, and there is no user 'postgres' or 'nobody'.")
            os.chown(self._directory, who.pw_uid, who.pw_gid)
            self._whom = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}

    @property
    def store(self) -> str:
        """The address that hubs are given."""
        return f"postgresql://{HUB}@127.0.0.1:{self._port}/hub"

    async def put_up(self) -> None:
        """Make the server, its roles and its tables.

        Raises:
            Failure: it did not start.
        """
        await asyncio.to_thread(self._initialise)
        await asyncio.to_thread(self.start)
        from central_hub.app import storing

        for statement in (
            f"CREATE ROLE {OWNER} LOGIN", f"CREATE ROLE {HUB} LOGIN", f"CREATE DATABASE hub OWNER {OWNER}",
        ):  # fmt: skip
            address = f"postgresql://{SUPERUSER}@127.0.0.1:{self._port}/postgres"
            if await asyncio.to_thread(self._run, "psql", "-XAtq", "-d", address, "-c", statement):
                raise _missing(f"It refused: {statement}.")
        await storing.prepare(f"postgresql://{OWNER}@127.0.0.1:{self._port}/hub", HUB)

    def start(self) -> None:
        """Start it (again) and return when it takes connections.

        Raises:
            Failure: it ended, or was not ready in time.
        """
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # a program of the machine's own
                [str(self._programs / "postgres"), "-D", str(self._directory / "data"), "-p", str(self._port)],
                cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **self._whom,
            )  # fmt: skip
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self._process.poll() is None:
            if self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)) == 0:
                return
            time.sleep(0.05)
        raise _missing(f"It did not start: {(self._directory / 'log').read_text(errors='replace')[-500:]}")

    def kill(self) -> None:
        """Kill all of it with SIGKILL, as a crash would."""
        process, self._process = self._process, None
        if process is None:
            return
        import psutil  # comes with the server

        family: list[Any] = [process]  # Any: both have kill() and wait()
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(process.pid)
            family = [first, *first.children(recursive=True)]
        for each in family:  # the first first, so that it starts no others meanwhile
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                each.kill()
        process.wait()
        psutil.wait_procs(family[1:], timeout=STOP_S)

    def clear(self) -> None:
        """End it and remove its directory."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process = process
                self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _initialise(self) -> None:
        data = self._directory / "data"
        if self._run("initdb", "-D", str(data), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C",
                     "--no-sync"):  # fmt: skip
            raise _missing("initdb failed.")
        with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            for setting in SETTINGS:
                name, _, value = setting.partition("=")
                file.write(f"{name} = '{value}'\n")

    def _run(self, program: str, *arguments: str) -> int:
        done = subprocess.run(  # noqa: S603  # as above
            [str(self._programs / program), *arguments], cwd=self._directory, capture_output=True, check=False,
            timeout=READY_S * 2, **self._whom,
        )  # fmt: skip
        return done.returncode


def _programs() -> Path:
    """Return the directory of PostgreSQL's programs, the newest where there are several.

    Raises:
        Failure: they are not here.
    """
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    for pattern in PLACES:
        places = sorted(Path("/").glob(pattern.lstrip("/")))
        if places:
            return places[-1]
    raise _missing("Its programs are neither on the PATH nor where distributions put them.")


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _missing(reason: str) -> Failure:
    return Failure(
        ExitCode.ERROR,
        f"The demo needs a PostgreSQL server of its own. {reason}",
        next_command="apt-get install postgresql",
        code="demo_needs_postgresql",
    )
