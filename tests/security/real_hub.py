"""A real hub in a process of its own, with the key of its operator: what the tests here attack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from central_hub.cli.demo.processes import free_ports

READY_S = 60.0
STOP_S = 20.0
ASK_S = 20.0
SCOPES = [
    "audit:read", "config:read", "flags:admin", "flags:read", "flags:write", "gateways:admin", "health:read",
    "keys:admin", "metrics:read", "platform:admin",
    "registry:admin", "registry:read", "registry:shared", "registry:write", "tenant:assert", "tenants:admin",
]  # fmt: skip


@dataclass(slots=True)
class RealHub:
    """A running hub; `key` may do everything for every tenant."""

    port: int
    process: subprocess.Popen[str]
    log: Path
    key: str = ""
    lane: str = ""

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Send one well-formed request; returns the status and the decoded body."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ASK_S) as answer:
                status, raw = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                status, raw = refused.code, refused.read()
        return status, json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode()

    def must(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request that has to succeed; returns its decoded body."""
        status, answer = self.ask(method, path, body, **headers)
        assert status < 300, (method, path, status, answer)
        return answer

    def log_position(self) -> int:
        """Return the position of the log's head."""
        return self.metric("central_hub_log_position")

    def metric(self, name: str) -> int:
        """Return a metric that has no labels."""
        line = next(line for line in self.metrics().splitlines() if line.startswith(name + " "))
        return int(line.split()[1])

    def metrics(self) -> str:
        """Return the metrics as they are written."""
        return str(self.must("GET", "/metrics"))


@contextmanager
def running_hub(directory: Path, *options: str) -> Iterator[RealHub]:
    """Start a hub with keys and end it in order."""
    (port,) = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    log = directory / "hub.log"
    command = ["serve", "--port", str(port), "--data", str(directory / "data"), *options]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "central_hub", *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        hub = RealHub(port, process, log, process.stdout.readline().strip())
        _wait_until_ready(hub)
        hub.key = hub.must("POST", "/keys", {"name": "operator", "scopes": SCOPES})["api_key"]
        yield hub
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _wait_until_ready(hub: RealHub) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert hub.process.poll() is None, hub.log.read_text()
        try:
            if hub.ask("GET", "/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("the hub did not become ready: " + hub.log.read_text())
