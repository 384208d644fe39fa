"""A real hub in a process of its own, started by the command line under test."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from central_hub.cli.connection import Connection, wait_until_reachable
from central_hub.cli.demo.processes import free_ports
from central_hub.cli.main import main

READY_S = 20.0


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Hub:
    """A running hub and how to type commands at it."""

    url: str
    token: str
    process: subprocess.Popen[str]
    directory: Path

    def run(self, *words: str, key: str | None = None) -> Done:
        """Run a command in this process, as the shell would."""
        environment = clean_environment() | {"HUB_URL": self.url, "HUB_API_KEY": self.token if key is None else key}
        with pytest.MonkeyPatch.context() as patch:
            for name in set(os.environ) - set(environment):
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
                try:
                    main(words)
                except SystemExit as ended:
                    return Done(ended.code if isinstance(ended.code, int) else 0, out.getvalue(), err.getvalue())
        return Done(0, out.getvalue(), err.getvalue())

    def json(self, *words: str, key: str | None = None) -> Any:
        done = self.run(*words, "-o", "json", key=key)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def tenant(self, name: str, tier: str = "pro") -> str:
        """Create a tenant; returns the secret of a key of its own."""
        self.json("tenant", "create", name, "--tier", tier)
        return self.json("key", "create", name)["api_key"]


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    directory = tmp_path_factory.mktemp("hub")
    (port,) = free_ports(1)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "central_hub",
                "serve",
                "--port",
                str(port),
                "--data",
                str(directory / "data"),
                "--webhook-networks",
                "127.0.0.0/8",
                "--webhook-http",
            ],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    token = process.stdout.readline().strip()
    running = Hub(f"http://127.0.0.1:{port}", token, process, directory)
    try:
        wait_until_reachable(Connection(running.url), "/readyz", deadline_s=READY_S)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@pytest.fixture
def unique() -> str:
    """A name nobody else in this session uses."""
    return f"n{time.monotonic_ns():x}"
