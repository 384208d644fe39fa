"""A hub whose standard streams are closed or full starts, answers and ends like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from central_hub.cli.connection import Connection, wait_until_reachable
from central_hub.cli.demo.processes import free_ports
from tests.cli.conftest import clean_environment

READY_S = 30.0


@pytest.mark.parametrize("redirection", ["<&- >&- 2>&-", ">&-", "2>&-", "<&-"])
def test_a_hub_without_standard_streams_serves_and_ends(redirection: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = f"exec {sys.executable} -m central_hub serve --port {port} --data data {redirection}"
    process = subprocess.Popen(["/bin/sh", "-c", command], cwd=tmp_path, env=clean_environment())
    try:
        wait_until_reachable(Connection(f"http://127.0.0.1:{port}"), "/readyz", deadline_s=READY_S)
        process.terminate()
        assert process.wait(READY_S) == 0
    finally:
        process.kill()
        process.wait()
