"""Reads the `.sql` files beside this module: each query is named and may be described."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_NAMED: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(file: str) -> dict[str, str]:
    """Return the queries of a file under `sql/`, by name."""
    text = resources.files("central_hub.adapters.sqlite").joinpath("sql", file).read_text("utf-8")
    parts = _NAMED.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
