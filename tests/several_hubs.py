"""Several real hubs on one PostgreSQL, for tests and benchmarks: each its own process, on its own port."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.hub_process import STOP_TIMEOUT_S, HubProcess, await_ready, free_port
from central_hub.tenants.secrets import SECRET_RANDOM_BYTES, mint_bootstrap


class Hubs:
    """Starts, kills and stops hubs that share a store."""

    def __init__(self, directory: Path, store: str, **options: str) -> None:
        self._directory = directory
        self.token = mint_bootstrap(secrets.token_bytes(SECRET_RANDOM_BYTES))
        self._options = {
            "store": store,
            "key_provider": "env",
            "master_key": secrets.token_hex(32),
            "bootstrap_token": self.token,
            "log_level": "info",
            "probe_loopback": "true",
            **options,
        }
        self.hubs: dict[int, HubProcess] = {}

    def start(self, port: int | None = None, *, store: str = "") -> HubProcess:
        """Start a hub and wait until it is ready."""
        hub = self.launch(port, store=store)
        await_ready(hub, self.log_of(hub.port))
        return hub

    def launch(self, port: int | None = None, *, store: str = "") -> HubProcess:
        """Start a hub and do not wait."""
        port = port or free_port()
        options = self._options | ({"store": store} if store else {})
        environment = {**os.environ, **{f"HUB_{name.upper()}": value for name, value in options.items()}}
        environment["HUB_ADVERTISE"] = url(port)
        command = [sys.executable, "-m", "central_hub", "serve", "--port", str(port)]
        command += ["--data", str(self._directory / f"data-{port}")]
        with self.log_of(port).open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.hubs[port] = HubProcess(process, port, self.token)
        return self.hubs[port]

    def log_of(self, port: int) -> Path:
        return self._directory / f"hub-{port}.log"

    def kill(self, hub: HubProcess) -> None:
        """Kill a hub with SIGKILL."""
        self.hubs.pop(hub.port)
        hub.process.kill()
        hub.process.wait()

    def stop(self, hub: HubProcess) -> None:
        """Stop a hub in order."""
        self.hubs.pop(hub.port)
        hub.process.send_signal(signal.SIGTERM)
        hub.process.wait(STOP_TIMEOUT_S)

    @property
    def urls(self) -> str:
        """The addresses of all of them, as the SDK takes them."""
        return ",".join(url(port) for port in self.hubs)

    def end(self) -> None:
        for hub in self.hubs.values():
            hub.process.send_signal(signal.SIGCONT)
            hub.process.send_signal(signal.SIGTERM)
        for hub in self.hubs.values():
            try:
                hub.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                hub.process.kill()
                hub.process.wait()


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def several_hubs(directory: Path, store: str, count: int, **options: str) -> Generator[tuple[Hubs, list[HubProcess]]]:
    """Run `count` hubs that share a store until the block ends; all of them are on a settled roster."""
    hubs = Hubs(directory, store, **options)
    try:
        started = [hubs.start() for _ in range(count)]
        until(lambda: all(is_settled(hub, count) for hub in started), within_s=15)
        yield hubs, started
    finally:
        hubs.end()


def cluster(hub: HubProcess) -> Mapping[str, Any]:
    """Return what a hub says of the cluster."""
    status, answer = hub.call("GET", "/cluster")
    assert status == 200, answer
    return answer


def is_settled(hub: HubProcess, count: int) -> bool:
    """Say whether a hub sees so many hubs that all go by one roster."""
    seen = cluster(hub)
    return bool(seen["settled"] and seen["holds"] and len(seen["members"]) == count)


def until(true: Callable[[], object], *, within_s: float) -> float:
    """Wait until something is true; returns the seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, f"it was not true within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - began
