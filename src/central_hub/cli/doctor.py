"""`central-hub doctor`: what is wrong here, and what to type about it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from central_hub.cli.connection import Answer, Connection, wait_until_reachable
from central_hub.cli.doctor_keys import encryption, key_provider
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.findings import FAIL, OK, SKIP, WARN, Finding
from central_hub.cli.session import Session, client_command

DISK_FREE_BYTES_MIN: Final = 256 * 1024 * 1024
"""What a hub reserves for facts; with less free it refuses events."""
CLOCK_SKEW_S_MAX: Final = 5.0
FSYNC_ROUNDS: Final = 20
FSYNC_BYTES: Final = 4_096
FSYNC_MS_MAX: Final = 20.0
YEAR_MIN: Final = 2024
GROUP_AND_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    client_command(app, "doctor")(doctor)


def doctor(
    session: Session,
    data: Annotated[Path, typer.Option(envvar="HUB_DATA", help="Data directory of a hub on this machine.")] = Path(
        "central-hub-data"
    ),
    store: Annotated[
        str,
        typer.Option(envvar="HUB_STORE", help="PostgreSQL that a hub would keep everything in.", show_default=False),
    ] = "",
    host: Annotated[str, typer.Option(envvar="HUB_HOST", help="Address a hub here would listen on.")] = "127.0.0.1",
    open_mode: Annotated[
        bool, typer.Option("--open", envvar="HUB_OPEN", help="Whether it would run without keys.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the hub to answer.")] = 0.0,
) -> None:
    """Check this machine, the hub and the key."""
    if wait > 0:
        with contextlib.suppress(Failure):  # the check below says it
            wait_until_reachable(session.hub, "/livez", deadline_s=wait)
    findings = [_exposure(host, open_mode=open_mode), *_data_directory(data), _disk(data), _fsync(data)]
    findings += _store(store)
    findings += key_provider(os.environ, data)
    findings += _hub(session)
    if session.out.json:
        session.out.data({"findings": [asdict(each) for each in findings]})
    else:
        rows = [(each.check, each.result, each.detail) for each in findings]
        session.out.table(("check", "result", "detail"), rows, empty="")
    failed = [each for each in findings if each.result == FAIL]
    for each in findings:
        if each.result == WARN:
            session.out.talk(f"{each.check}: {each.next}")
    if failed:
        raise Failure(
            ExitCode.ERROR,
            f"{len(failed)} of {len(findings)} checks failed: {', '.join(each.check for each in failed)}.",
            next_command=failed[0].next,
            code="doctor_failed",
        )


def _exposure(host: str, *, open_mode: bool) -> Finding:
    loopback = host == "localhost" or host == "::1" or host.startswith("127.")
    if open_mode and not loopback:
        detail = f"open mode on {host} lets anyone in; the hub will refuse to start"
        return Finding("exposure", FAIL, detail, "central-hub serve --open --host 127.0.0.1")
    if not loopback:
        detail = f"{host} can be reached by others, keys travel in clear without TLS in front"
        return Finding("exposure", WARN, detail, "put a TLS-terminating proxy in front, or bind to 127.0.0.1")
    return Finding("exposure", OK, f"{host} is reachable from this machine only")


def _data_directory(data: Path) -> Iterable[Finding]:
    if not data.exists():
        yield Finding("data directory", SKIP, f"{data} does not exist yet; the first start makes it")
        return
    if not os.access(data, os.W_OK | os.X_OK):
        yield Finding("data directory", FAIL, f"{data} cannot be written", f"sudo chown -R $USER {data}")
    elif data.stat().st_mode & GROUP_AND_OTHERS:
        yield Finding("data directory", WARN, f"{data} can be read by others", f"chmod 700 {data}")
    else:
        yield Finding("data directory", OK, f"{data} is private to its owner")
    key = data / "keys" / "master.key"
    if not key.exists() and os.environ.get("HUB_KEY_PROVIDER", "file") != "file":
        return
    if not key.exists():
        yield Finding("master key", SKIP, "none yet; the first start makes it")
    elif key.stat().st_mode & GROUP_AND_OTHERS:
        yield Finding("master key", FAIL, f"{key} can be read by others", f"chmod 600 {key}")
    else:
        yield Finding("master key", OK, "private to its owner; back it up, the data cannot be read without it")


def _disk(data: Path) -> Finding:
    free = shutil.disk_usage(_existing(data)).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < DISK_FREE_BYTES_MIN:
        return Finding("disk", FAIL, detail, f"du -xh --max-depth=1 {_existing(data)} | sort -h")
    return Finding("disk", OK, detail)


def _fsync(data: Path) -> Finding:
    try:
        times = _fsync_times_ms(_existing(data))
    except OSError as error:
        return Finding("fsync", SKIP, f"cannot write here: {error.strerror}")
    detail = f"median {statistics.median(times):.2f} ms, worst of {len(times)} {max(times):.2f} ms"
    if statistics.median(times) > FSYNC_MS_MAX:
        return Finding("fsync", WARN, detail, "every write waits this long; use a local SSD for --data")
    return Finding("fsync", OK, detail)


def _fsync_times_ms(directory: Path) -> list[float]:
    times: list[float] = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(FSYNC_ROUNDS):
            began = time.perf_counter()
            file.write(os.urandom(FSYNC_BYTES))
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1_000)
    return times


def _store(store: str) -> list[Finding]:
    """Judge a database as a hub would before it starts on it."""
    if not store:
        return []
    import asyncio

    from central_hub.app import storing
    from central_hub.kernel.errors import HubError

    try:
        found = asyncio.run(storing.status(store))
    except HubError as refused:
        detail = f"{refused.message} {refused.internal}".rstrip()
        return [Finding("store", FAIL, detail, refused.next_step)]
    held = ", a hub holds it" if found.get("held_by_a_hub") else ""
    findings = [Finding("store", OK, f"{found['store']}, position {found.get('position', 0)}{held}")]
    if not found.get("server_proven", True):
        advice = "add sslmode=verify-full&sslrootcert=FILE to the store's address"
        findings.append(Finding("store tls", WARN, "what answers there does not prove that it is the server", advice))
    return findings


def _hub(session: Session) -> list[Finding]:
    before = datetime.now(UTC)
    try:
        alive = Connection(session.hub.url).request("GET", "/livez")  # without the key, which has a check of its own
    except Failure as failure:
        down = Finding("hub", FAIL, failure.message, "central-hub serve")
        return [
            down,
            judged_clock(None, before, datetime.now(UTC)),
            Finding("ready", SKIP, "no hub"),
            Finding("key", SKIP, "no hub"),
        ]
    after = datetime.now(UTC)
    return [
        Finding("hub", OK, f"answers at {session.hub.url}"),
        judged_clock(alive, before, after),
        _asked(
            "ready",
            lambda: Connection(session.hub.url).request("GET", "/readyz"),
            "it takes reads and writes",
            "central-hub health",
        ),
        _asked("key", lambda: session.hub.request("GET", "/services/"), "accepted", "export HUB_API_KEY=chk_…"),
        encryption(session),
    ]


def _asked(check: str, ask: Callable[[], Answer], good: str, next_command: str) -> Finding:
    try:
        answer = ask()
    except Failure as failure:
        return Finding(check, FAIL, failure.message, next_command)
    tier = answer.headers.get("hub-tier", "")
    return Finding(check, OK, f"{good}, tier {tier}" if tier else good)


def judged_clock(alive: Answer | None, before: datetime, now: datetime) -> Finding:
    """Compare clocks: the hub said when between `before` and `now`, however long it took to answer."""
    if now.year < YEAR_MIN:
        return Finding("clock", FAIL, f"this machine says {now:%Y-%m-%d}", "sudo timedatectl set-ntp true")
    told = alive.headers.get("date") if alive else None
    if told is None:
        return Finding("clock", OK, f"{now:%Y-%m-%d %H:%M:%S} UTC; no hub to compare with")
    at = parsedate_to_datetime(told)
    late_s, early_s = (at - now).total_seconds(), (before - at).total_seconds() - 1  # it says whole seconds
    skew_s = max(0.0, late_s, early_s)
    detail = f"{skew_s:.0f} s from the hub's"
    if skew_s > CLOCK_SKEW_S_MAX:
        return Finding("clock", WARN, detail, "expiry of keys is judged by the hub's clock: timedatectl set-ntp true")
    return Finding("clock", OK, detail)


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def port_is_free(host: str, port: int) -> bool:
    """Say whether a hub could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
