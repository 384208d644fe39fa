"""Sizes, names and manners that hold everywhere. When one of these fails, the message says what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.architecture.source_tree import (
    FOLDERS,
    PACKAGE,
    FunctionNode,
    functions_of,
    name_of,
    python_files,
    tracked_text_files,
    tree_of,
)

FILE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 70

ROOT_NAMES: Final = {
    "__init__",
    "__main__",
    "adapters",
    "app",
    "breakers",
    "cli",
    "cluster",
    "configuration",
    "edge",
    "events",
    "flags",
    "health",
    "interop",
    "kernel",
    "monitoring",
    "plans",
    "quotas",
    "registry",
    "relays",
    "rollouts",
    "routing",
    "sdk",
    "secrets",
    "settings",
    "subscriptions",
    "tenants",
    "webhooks",
}
"""What stands at the root of the package. A new name needs a decision record in docs/adr."""

EMPTY_NAMES: Final = {"utils", "util", "common", "helpers", "helper", "core", "managers", "manager", "misc", "base"}
SHADOWED: Final = {"logging", "proto", "types", "typing", "json", "time", "asyncio", "http", "socket", "signal", "ssl"}

# Put together from halves, so that this file does not contain what it looks for.
UNSPEAKABLE: Final = (
    "/wo" + "rk/",
    "/tmp/" + "hub/",
    "/home/" + "user",
    "pyth" + "onhosted",
    "Co-Authored" + "-By",
    "AI-" + "generated",
)
UNFINISHED: Final = re.compile(r"\b(" + "TO" + "DO|FIX" + r"ME|XX" + r"X)\b")


def test_no_file_is_longer_than_500_lines() -> None:
    long = [
        f"{name_of(path)}: {lines}"
        for path in python_files(*FOLDERS)
        if (lines := len(path.read_text("utf-8").splitlines())) > FILE_LINES_MAX
    ]
    assert not long, f"split these along what they own: {long}"


def test_no_function_is_longer_than_70_lines() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}: {lines}"
        for path in python_files(*FOLDERS)
        for node in functions_of(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, f"branch in the parent, move the leaves out: {long}"


def test_the_root_of_the_package_holds_only_argued_names() -> None:
    found = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found <= ROOT_NAMES, f"a new name at the root needs a decision record: {sorted(found - ROOT_NAMES)}"


def test_no_module_has_a_name_that_says_nothing_or_shadows_the_standard_library() -> None:
    bad = [
        name_of(path)
        for path in python_files("src")
        if {path.stem, *path.relative_to(PACKAGE).parts[:-1]} & EMPTY_NAMES or path.stem in SHADOWED
    ]
    assert not bad, f"name what it is for: {bad}"


def test_every_package_has_an_init_so_that_checks_see_it() -> None:
    folders = {path.parent for path in python_files("src")}
    assert not [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()]


def test_everything_public_has_a_docstring() -> None:
    missing = [
        f"{name_of(path)}:{line} {name}" for path in python_files("src", "tools") for line, name in _undocumented(path)
    ]
    assert not missing, f"say in one imperative line what it does: {missing}"


def test_no_failure_is_swallowed_without_a_name() -> None:
    swallowed = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files("src", "tools", "benchmarks")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and _does_nothing(node)
    ]
    assert not swallowed, f"catch what you mean, or count and log it: {swallowed}"


def test_tests_use_no_mocks() -> None:
    mocking = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files("tests", "benchmarks")
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unittest"))
        or (isinstance(node, ast.Import) and any(alias.name.startswith("unittest") for alias in node.names))
    ]
    assert not mocking, f"use the memory adapters and the manual clock: {mocking}"


def test_every_ignore_carries_its_reason_on_the_line() -> None:
    marker = re.compile(r"#\s*(type: ignore|pyright: ignore|noqa)(\[[^\]]*\]|: ?[A-Z0-9, ]+)?(?P<rest>.*)")
    bare = [
        f"{name_of(path)}:{number}"
        for path in python_files("src")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if (found := marker.search(line)) and len(found["rest"].strip(" #-")) < len("why")
    ]
    assert not bare, f"say why on the line: {bare}"


def test_nothing_tracked_names_a_machine_a_tool_of_a_workplace_or_unfinished_work() -> None:
    found: list[str] = []
    for path in tracked_text_files():
        if path.name == "LICENSE" or path.suffix == ".lock":
            continue
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
            if any(word in line for word in UNSPEAKABLE) or UNFINISHED.search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()[:80]}")
    assert not found, found


def _undocumented(path: Path) -> Iterator[tuple[int, str]]:
    tree = tree_of(path)
    if ast.get_docstring(tree) is None and tree.body:
        yield 1, "the module"
    yield from _undocumented_in(tree.body, "")


def _undocumented_in(body: list[ast.stmt], owner: str) -> Iterator[tuple[int, str]]:
    for node in body:
        if not isinstance(node, FunctionNode | ast.ClassDef) or node.name.startswith("_"):
            continue
        if isinstance(node, FunctionNode) and _is_another_face(node):
            continue
        if ast.get_docstring(node) is None:
            yield node.lineno, owner + node.name
        if isinstance(node, ast.ClassDef):
            yield from _undocumented_in(node.body, f"{node.name}.")


def _is_another_face(node: FunctionNode) -> bool:
    """Say whether a function is an overload, a setter or an override, documented at its first face."""
    names = {ast.unparse(decorator) for decorator in node.decorator_list}
    return bool(names & {"overload", "override", "typing.overload"}) or any(name.endswith(".setter") for name in names)


def _catches_all(node: ast.ExceptHandler) -> bool:
    return node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}


def _does_nothing(node: ast.ExceptHandler) -> bool:
    return all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in node.body
    )
