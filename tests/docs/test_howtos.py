"""Every how-to with commands is typed as printed, from top to bottom, in one shell against a real hub.

Only the surroundings differ from a reader's: see `conftest.py`; ports of services are free ones.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from central_hub.cli.demo.processes import free_ports
from tests.docs.console_blocks import Command, File, Shell, steps
from tools.postgres_server import SUPERUSER, MissingError, PostgresServer, programs
from tools.system_programs import TOOLS, find, libraries

HOWTOS = Path(__file__).parents[2] / "docs" / "howto"
PAGES = [page for page in sorted(HOWTOS.glob("*.md")) if "```console" in page.read_text("utf-8")]
PROMTOOL = shutil.which("promtool")
_SERVICE_PORT = re.compile(r"\b80[0-9]{2}\b")


def with_free_ports(text: str) -> str:
    """Replace each service port of a page by one that is free here."""
    ports = sorted(set(_SERVICE_PORT.findall(text)))
    free = dict(zip(ports, free_ports(len(ports)), strict=True))
    return _SERVICE_PORT.sub(lambda found: str(free[found.group()]), text)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_howto_works_as_printed(page: Path, shell: Shell, request: pytest.FixtureRequest) -> None:
    text = page.read_text("utf-8")
    if "$ nginx " in text and shutil.which("nginx", path=shell.environment["PATH"]) is None:
        pytest.skip("nginx is not on the path; make test unpacks it")
    for program in ("nats-server", "redis-server"):
        if f"$ {program} " in text and find(program) is None:
            pytest.skip(f"{program} is not here: python -m tools.broker_servers")
    if "$ psql " in text:
        _with_postgres(request, shell)
    if "$ redis-server " in text and TOOLS in (find("redis-server") or Path()).parents:
        shell.run(Command(f'export LD_LIBRARY_PATH="{libraries()}"', []))
    todo = steps(with_free_ports(text))
    assert any(isinstance(step, Command) for step in todo)
    for step in todo:
        shell.run(step)


def _with_postgres(request: pytest.FixtureRequest, shell: Shell) -> None:
    """Let `psql` reach a new server as somebody who may make roles; without one the page is left out, loudly."""
    try:
        server = PostgresServer.initialised()
    except MissingError as missing:
        pytest.skip(str(missing))
    request.addfinalizer(server.remove)
    where = f"PGHOST=127.0.0.1 PGPORT={server.port} PGUSER={SUPERUSER} PGDATABASE=postgres"
    shell.run(Command(f'export {where} PATH="$PATH:{programs()}"', []))


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on the path; make test unpacks it")
def test_prometheus_takes_the_configuration_that_is_shown(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    page = (HOWTOS / "run-as-a-service.md").read_text("utf-8")
    (shown,) = (step for step in steps(page) if isinstance(step, File) and step.name == "prometheus.yml")
    (tmp_path / shown.name).write_text(shown.text)
    (tmp_path / "prometheus.key").touch()
    done = subprocess.run(
        [PROMTOOL, "check", "config", tmp_path / shown.name], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
