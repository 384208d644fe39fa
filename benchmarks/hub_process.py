"""A real hub in its own process, for benchmarks and tests that need one: start, ask, measure, stop."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from central_hub.tenants.secrets import SECRET_RANDOM_BYTES, mint_bootstrap

READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class HubProcess:
    """A running hub. `bootstrap` may do everything in its first hour."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, bootstrap: str) -> None:
        self.process = process
        self.port = port
        self.bootstrap = bootstrap

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:  # Any: JSON
        """Send one request; returns status and decoded JSON (or the raw bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            lines = {"authorization": f"Bearer {key or self.bootstrap}", **(headers or {})}
            if body is not None:
                lines["content-type"] = "application/json"
            connection.request(method, path, None if body is None else json.dumps(body), lines)
            answer = connection.getresponse()
            raw = answer.read()
            with contextlib.suppress(ValueError):
                return answer.status, json.loads(raw)
            return answer.status, raw
        finally:
            connection.close()

    def fetch(self, path: str, key: str) -> bytes:
        """Return the body of a read that has to succeed, as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status} {raw!r}")
        return raw

    def must(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Any:  # Any: JSON
        """Send one request that has to succeed."""
        status, answer = self.call(method, path, body, key=key)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer

    def tenant(self, tenant_id: str, tier: str, scopes: list[str] | None = None) -> str:
        """Create a tenant with one key; returns the key."""
        self.must("POST", "/tenants", {"id": tenant_id, "name": tenant_id, "tier": tier})
        body: dict[str, object] = {"name": "bench"}
        if scopes is not None:
            body["scopes"] = scopes
        answer = self.must("POST", f"/tenants/{tenant_id}/keys", body)
        return str(answer["api_key"])

    def cpu_s(self) -> float:
        """Return the processor seconds the hub has used."""
        return cpu_s(self.process.pid)


def cpu_s(pid: int) -> float:
    """Return the processor seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_hub(
    data: Path, *, cpu: int | None = None, launcher: Sequence[str] = ("-m", "central_hub"), **options: str
) -> Iterator[HubProcess]:
    """Run a hub on a free port until the block ends.

    Args:
        data: its data directory.
        cpu: core it is pinned to.
        launcher: what the interpreter is given to run the command line.
        options: settings by name, as `HUB_*` has them.
    """
    port = free_port()
    token = mint_bootstrap(secrets.token_bytes(SECRET_RANDOM_BYTES))
    environment = {**os.environ, "HUB_BOOTSTRAP_TOKEN": token, "HUB_LOG_LEVEL": "warning"}
    environment.update({f"HUB_{name.upper()}": value for name, value in options.items()})
    command = [sys.executable, *launcher, "serve", "--port", str(port), "--data", str(data)]
    log = (data.parent / f"hub-{port}.log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        if cpu is not None:
            os.sched_setaffinity(process.pid, {cpu})
        hub = HubProcess(process, port, token)
        await_ready(hub, Path(log.name))
        yield hub
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def await_ready(hub: HubProcess, log: Path) -> None:
    """Wait until a hub answers that it is ready."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if hub.process.poll() is not None:
            break
        with contextlib.suppress(OSError, http.client.HTTPException):
            if hub.call("GET", "/readyz")[0] == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the hub did not get ready:\n{log.read_text()[-4000:]}")
