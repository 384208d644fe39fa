"""Every problem code that the source raises has a page, and every page a code."""

from __future__ import annotations

import ast
from pathlib import Path

from central_hub.edge.problem_pages import load_catalogue

SOURCE = Path(__file__).resolve().parents[2] / "src" / "central_hub"
CLIENTS = {"cli", "sdk", "breakers"}
"""Rooms whose refusals no hub answers with."""
MAKERS = {"HubError", "_refused", "_malformed", "_invalid", "refusal"}


def raised_codes() -> set[str]:
    """Return the first argument of every call that makes a refusal with a literal code."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if not CLIENTS.isdisjoint(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
                continue
            first = node.args[0]
            if node.func.id in ("HubError", "HubBusy") and isinstance(first, ast.Constant):
                found.add(str(first.value))
            if node.func.id == "_refused" and path.name == "guard.py" and isinstance(first, ast.Constant):
                found.add(str(first.value))
            if node.func.id == "_malformed" and path.name == "decoding.py" and isinstance(first, ast.Constant):
                found.add(str(first.value))
    return found


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    codes, pages = raised_codes(), set(load_catalogue())
    assert codes - pages == set(), "codes without a page in edge/problem_pages.toml"
    assert pages - codes == set(), "pages without a code in the source"
