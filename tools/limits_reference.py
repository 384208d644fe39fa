"""Writes docs/reference/limits.md from the named constants of the source: every limit, timeout and size there is.

A limit is a number that a module names in capitals and whose name says what it is: it ends in `_MAX` or `_MIN`, or in
a unit. What stands below it as a docstring is its meaning; where nothing does, the name is spelled out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).resolve().parent.parent / "src"
PACKAGE: Final = "central_hub"
LEFT_OUT: Final = frozenset({"cli"})
"""The demo's figures are no limits of the hub."""

NO_LIMITS: Final = frozenset({"DAY_MS", "MINUTE_MS"})

NAME: Final = re.compile(r"^[A-Z][A-Z0-9_]*_(?:MAX|MIN|S|MS|BYTES)$")
UNITS: Final = (
    (re.compile(r"_PER_S$"), "per second"),
    (re.compile(r"_BYTES(_|$)"), "bytes"),
    (re.compile(r"_MS(_|$)"), "ms"),
    (re.compile(r"_S(_|$)"), "s"),
    (re.compile(r"_LENGTH_"), "characters"),
    (re.compile(r"_DEPTH_"), "levels"),
    (re.compile(r"_BITS_"), "bits"),
)

OPENING: Final = """# Limits

Every queue, page, body, header, retry and wait has a limit, and every limit a name in the source. What an operator can
change is in [settings](settings.md); the rest is fixed, so that a hub behaves the same everywhere.
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """One named number."""

    module: str
    name: str
    value: float
    meaning: str

    @property
    def unit(self) -> str:
        """What the number counts, as far as the name says."""
        return next((unit for pattern, unit in UNITS if pattern.search(self.name)), "")


def page() -> str:
    """Return the page after its first line."""
    lines = [OPENING]
    limits = list(_limits())
    for folder in sorted({_folder(limit) for limit in limits}):
        lines += [f"## {folder}\n", "| limit | value | unit | meaning | where |", "|---|---|---|---|---|"]
        lines += [_row(limit) for limit in limits if _folder(limit) == folder]
        lines.append("")
    return "\n".join(lines)


def _limits() -> Iterator[Limit]:
    for path in sorted((SOURCE / PACKAGE).rglob("*.py")):
        names = path.relative_to(SOURCE).with_suffix("").parts
        if names[1] in LEFT_OUT:
            continue
        yield from _named_in(path, ".".join(names))


def _named_in(path: Path, module: str) -> Iterator[Limit]:
    body = ast.parse(path.read_text("utf-8")).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        target = _target(statement)
        if target is None or target in NO_LIMITS or not NAME.match(target):
            continue
        value: object = getattr(import_module(module), target)
        if isinstance(value, int | float):
            yield Limit(module, target, value, _docstring(following) or _spelled_out(target))


def _target(statement: ast.stmt) -> str | None:
    """Return the name a statement gives a value that is written there, not asked of the machine."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, value = statement.target, statement.value
    else:
        return None
    asked = any(isinstance(node, ast.Call) for node in ast.walk(value))
    return target.id if isinstance(target, ast.Name) and not asked else None


def _docstring(statement: ast.stmt | None) -> str:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return ""
    text = statement.value.value
    return " ".join(text.split()).replace("|", "\\|") if isinstance(text, str) else ""


def _spelled_out(name: str) -> str:
    words = name.lower().split("_")
    bound = {"max": ", at most", "min": ", at least"}.get(words[-1], "")
    said = " ".join(word for word in words if word not in ("max", "min", "s", "ms", "bytes"))
    return said[0].upper() + said[1:] + bound


def _folder(limit: Limit) -> str:
    return limit.module.split(".")[1]


def _row(limit: Limit) -> str:
    where = "/".join(limit.module.split(".")[1:])
    value = f"{limit.value:,}" if isinstance(limit.value, int) else f"{limit.value:,.10g}"
    return f"| `{limit.name}` | {value} | {limit.unit} | {limit.meaning} | `{where}` |"
