"""A hub raises its own limit on open files, so that connections are not refused by a shell's default."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from central_hub.app.serving import allow_open_files
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(allow_open_files(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "after"),
    [
        (200, 600, 500, 500),  # raised to what is wanted
        (200, 600, 900, 600),  # as far as it goes
        (200, 600, 100, 200),  # never lowered
    ],
)
def test_the_soft_limit_is_raised_within_the_hard_one(soft: int, hard: int, wanted: int, after: int) -> None:
    numbers = (str(soft), str(hard), str(wanted))
    done = subprocess.run([sys.executable, "-c", SCRIPT, *numbers], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{after} {after} {hard}"
