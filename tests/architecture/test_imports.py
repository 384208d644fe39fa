"""Who may import whom, and that the base install stays the light SDK."""

from __future__ import annotations

import ast
import importlib
import json
import statistics
import subprocess
import sys
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.source_tree import PACKAGE, ROOT, python_files, tree_of

IMPORT_MS_MAX: Final = 150.0
IMPORT_TRIES: Final = 7
SUBPROCESS_TIMEOUT_S: Final = 60

SERVER_PACKAGES: Final = (
    "apsw",
    "cryptography",
    "fastapi",
    "httptools",
    "jwt",
    "prometheus_client",
    "psutil",
    "pydantic",
    "pydantic_settings",
    "rich",
    "starlette",
    "structlog",
    "typer",
    "uvicorn",
)
SERVER_ROOMS: Final = ("adapters", "app", "cli", "edge", "interop", "monitoring", "settings", "tenants")
PROMISED: Final = {"BaseService", "HubClient", "ServiceConfig"}

LOAD_ALL: Final = """
import json, sys
import central_hub
for name in central_hub.__all__:
    getattr(central_hub, name)
print(json.dumps(sorted(sys.modules)))
"""

MEASURE: Final = """
import time
started = time.perf_counter()
from central_hub import HubClient
print((time.perf_counter() - started) * 1000)
"""


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=SUBPROCESS_TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=SUBPROCESS_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout


def test_every_public_name_of_the_sdk_loads_without_the_server() -> None:
    loaded = set(json.loads(_python(LOAD_ALL)))
    assert not loaded & set(SERVER_PACKAGES)
    assert not [name for room in SERVER_ROOMS for name in loaded if f"{name}.".startswith(f"central_hub.{room}.")]


def test_the_public_names_are_sorted_and_exist() -> None:
    package = importlib.import_module("central_hub")
    assert list(package.__all__) == sorted(package.__all__)
    assert set(package.__all__) >= PROMISED
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


@pytest.mark.timing
def test_importing_the_client_takes_less_than_150_ms() -> None:
    _python(MEASURE)  # compiles what has no bytecode yet
    took = [float(_python(MEASURE)) for _ in range(IMPORT_TRIES)]
    assert statistics.median(took) < IMPORT_MS_MAX, took


def test_no_modules_import_each_other() -> None:
    modules = {module_of(path): path for path in python_files("src")}
    imports = {name: imported_by(path, modules.keys()) - {name} for name, path in modules.items()}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"a circle, lazy imports and those for types included: {' <- '.join(error.args[1])}")


def module_of(path: Path) -> str:
    """Return a file's module name; a package is its `__init__`."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported_by(path: Path, known: Collection[str]) -> set[str]:
    """Return the modules that a file imports from, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            below = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in known else node.module for name in below}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found & set(known)
