"""What a command says: tables or JSON on stdout, talk on stderr, colour only for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, cast

COLUMN_WIDTH_MAX: Final = 60
"""Longest cell of a table but for its last column; the JSON form is never cut."""

_STYLES: Final = {
    "healthy": "32", "active": "32", "ok": "32", "live": "32",
    "trial": "36", "past_due": "33", "deleted": "31",
    "degraded": "33", "warn": "33", "draining": "33", "unknown": "36", "skip": "36",
    "unhealthy": "31", "fail": "31", "suspended": "31", "revoked": "31", "gone": "31",
}  # fmt: skip


class Format(StrEnum):
    """How data is written."""

    TABLE = "table"
    JSON = "json"


class Output:
    """Where a command's words go.

    Args:
        form: table or JSON; JSON also turns every decoration off.
    """

    def __init__(self, form: Format) -> None:
        self.form = form
        self.stdout_is_terminal = sys.stdout.isatty()
        self.colour = form is Format.TABLE and self.stdout_is_terminal and not os.environ.get("NO_COLOR")

    @property
    def json(self) -> bool:
        """Whether the caller wants JSON."""
        return self.form is Format.JSON

    def data(self, value: object) -> None:
        """Write a value as JSON to stdout."""
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def line(self, value: object) -> None:
        """Write a value as one line of JSON, at once: for commands that never end."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def text(self, text: str) -> None:
        """Write a line of data to stdout, at once."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def talk(self, text: str) -> None:
        """Say something that is not data, after the data that was written before it."""
        sys.stdout.flush()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def redraw(self, text: str, *, last: bool) -> None:
        """Write a line over the one before it, on a terminal; the last one stays."""
        sys.stdout.write(f"\r\x1b[K{text}" + ("\n" if last else ""))
        sys.stdout.flush()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
        """Write rows under upper-case column names; `empty` is said when there are none."""
        if not rows:
            self.talk(empty)
            return
        cells = [[*(_cell(value) for value in row[:-1]), _cell(row[-1], cut=False)] for row in rows]
        widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(columns)]
        head = "  ".join(name.upper().ljust(width) for name, width in zip(columns, widths, strict=True)).rstrip()
        sys.stdout.write((f"\x1b[1m{head}\x1b[0m" if self.colour else head) + "\n")
        for row in cells:
            line = "  ".join(self._padded(text, width) for text, width in zip(row, widths, strict=True))
            sys.stdout.write(line.rstrip() + "\n")

    def fields(self, values: Mapping[str, object]) -> None:
        """Write one object as `name  value` lines."""
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            sys.stdout.write(f"{name.ljust(width)}  {self.styled(_cell(value, cut=False))}\n")

    def styled(self, text: str) -> str:
        """Colour a word that has a meaning of its own, when someone is looking."""
        style = _STYLES.get(text) if self.colour else None
        return f"\x1b[{style}m{text}\x1b[0m" if style else text

    def _padded(self, text: str, width: int) -> str:
        return self.styled(text) + " " * (width - len(text))


def _cell(value: Any, *, cut: bool = True) -> str:  # Any: JSON values
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)  # Any: as the value
        text = ", ".join(f"{name}={_cell(item)}" for name, item in named.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(_cell(item) for item in cast("Sequence[Any]", value))  # Any: as the value
    else:
        text = " ".join(str(value).split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text[: COLUMN_WIDTH_MAX - 1] + "…" if cut and len(text) > COLUMN_WIDTH_MAX else text
