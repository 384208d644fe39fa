"""What stands around a page that is typed as printed: programs on the path, a free port, a directory."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from central_hub.cli.demo.processes import free_ports
from tests.docs.console_blocks import Shell

REPOSITORY = Path(__file__).parents[2]
MAKE = shutil.which("make")

SHIMS = {
    "central-hub": f'#!/bin/sh\nexec {sys.executable} -m central_hub "$@"\n',
    "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    # `make run ARGS=…` is the demo; anything else is only looked up: it would run until stopped, or run this test.
    "make": "#!/bin/sh\n"
    'case "$1 $2" in "run ARGS="*) exec central-hub demo ${2#ARGS=} --port 0;; esac\n'
    f'exec {MAKE} --dry-run --silent -C {REPOSITORY} "$1" > /dev/null\n',
}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in SHIMS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    (port,) = free_ports(1)
    environment = {
        # nginx is where `make test` unpacks it, or where the machine keeps programs of administrators.
        "PATH": f"{programs}:{os.environ['PATH']}:{REPOSITORY / '.tools/usr/sbin'}:/usr/sbin",
        "HUB_PORT": str(port),
        "HUB_URL": f"http://127.0.0.1:{port}",
        "HUB_CACHE_DIR": str(tmp_path / "cache"),
    }
    shell = Shell(tmp_path / "work", environment)
    yield shell
    shell.close()
