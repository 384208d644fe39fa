"""What deploy/ installs is a whole hub: built from exactly what the image copies, and run.

The image itself is not built and systemd does not run here; what they would do is taken from
their files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from central_hub.cli.demo.processes import free_ports
from central_hub.settings import Settings

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "deploy" / "Dockerfile").read_text("utf-8")
UNIT = (REPOSITORY / "deploy" / "central-hub.service").read_text("utf-8")
TEMPLATE = (REPOSITORY / "deploy" / "central-hub@.service").read_text("utf-8")
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
BUILD_S = 60.0
READY_S = 20.0


def copied() -> list[str]:
    """Return what the image copies from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()]


def pip(directory: Path, *words: str) -> None:
    """Run pip without a network."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what the image copies, build it as the image does, and return where it is installed."""
    build, target = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("installed")
    for source in copied():
        found, place = REPOSITORY / source, build / source
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, place)
    assert "--no-deps --no-build-isolation ." in DOCKERFILE
    pip(build, "install", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target), ".")
    return target


def answered(url: str) -> bytes:
    """Return what a hub answers, once it is ready."""
    until = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.read()
        except OSError:  # URLError is one
            assert time.monotonic() < until, f"no answer from {url}"
            time.sleep(0.05)


@pytest.mark.timeout(150)
def test_what_the_image_holds_is_a_whole_hub_and_its_health_check_finds_it(installed: Path, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUB_", "PYTHON"))}
    environment |= {"PYTHONPATH": str(installed), "HUB_PORT": str(port), "HUB_DATA": str(tmp_path / "data")}
    where = "import central_hub, sys; sys.stdout.write(central_hub.__file__)"
    loaded = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert Path(loaded.stdout).is_relative_to(installed)
    with (tmp_path / "log").open("wb") as log:
        hub = subprocess.Popen(
            [sys.executable, "-m", "central_hub", "serve"], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    try:
        assert json.loads(answered(f"http://127.0.0.1:{port}/readyz")) == {"status": "ready"}
        assert b"service_not_found" in answered(f"http://127.0.0.1:{port}/problems")
        (check,) = re.findall(r'\["python", "-c", "(.+)"\]', DOCKERFILE)
        command = [sys.executable, "-c", check.replace("7000", str(port))]
        subprocess.run(command, check=True, timeout=10)
        hub.terminate()
        assert hub.wait(timeout=20) == 0
    finally:
        hub.kill()
        hub.wait()
    assert subprocess.run(command, capture_output=True, timeout=10, check=False).returncode != 0


def test_the_image_copies_only_what_is_let_into_its_context() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text("utf-8").split()
    assert lines[0] == "*"
    let_in = {line.removeprefix("!") for line in lines[1:]}
    assert {source.rstrip("/").split("/")[0] for source in copied()} <= let_in


@pytest.mark.parametrize("text", [DOCKERFILE, UNIT, TEMPLATE], ids=["image", "unit", "template"])
def test_every_variable_that_is_set_is_a_setting(text: str) -> None:
    names = set(re.findall(r"\bHUB_([A-Z_]+)=", text))
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="no systemd-analyze here: apt-get install systemd")
@pytest.mark.parametrize(("name", "text"), [("central-hub.service", UNIT), ("central-hub@a.service", TEMPLATE)])
def test_systemd_takes_the_unit(name: str, text: str, tmp_path: Path) -> None:
    assert SYSTEMD_ANALYZE is not None
    (program,) = re.findall(r"^ExecStart=(\S+) serve$", text, re.MULTILINE)
    unit = tmp_path / name
    unit.write_text(text.replace(program, sys.executable))
    done = subprocess.run([SYSTEMD_ANALYZE, "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    unit.write_text(unit.read_text().replace("Restart=on-failure", "Restart=sometimes"))
    worse = subprocess.run([SYSTEMD_ANALYZE, "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert "restart" in worse.stderr


def test_one_of_several_hubs_is_held_as_tightly_as_one() -> None:
    def walls(unit: str) -> str:
        return unit.partition("NoNewPrivileges=")[2].partition("[Install]")[0]

    assert walls(TEMPLATE) == walls(UNIT) != ""
    assert "HUB_DATA=/var/lib/central-hub/%i" in TEMPLATE
