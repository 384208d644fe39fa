"""Reads the source tree for the tests of this folder: files, syntax trees, what git tracks."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "src" / "central_hub"
FOLDERS: Final = ("src", "tests", "tools", "benchmarks", "examples")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: str) -> list[Path]:
    """Return every Python file below the folders of the root, sorted; a folder need not exist."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def functions_of(path: Path) -> Iterator[FunctionNode]:
    """Yield every function of a file, methods and nested ones included."""
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, FunctionNode))


def name_of(path: Path) -> str:
    """Return a path as it is printed: from the root, with forward slashes."""
    return path.relative_to(ROOT).as_posix()


def tracked_text_files() -> list[Path]:
    """Return what git tracks and is text; without git, every text file outside hidden folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]
