"""Reads `.sql` files of a store: each query is named and may be described."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_NAMED: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def text_of(package: str, file: str) -> str:
    """Return a file under the `sql` folder of a package."""
    return resources.files(package).joinpath("sql", file).read_text("utf-8")


def named(text: str) -> dict[str, str]:
    """Return the queries of a file's text, by name."""
    parts = _NAMED.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
