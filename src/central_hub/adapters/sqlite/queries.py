"""The queries of the embedded store."""

from __future__ import annotations

from central_hub.adapters.named_queries import named, text_of


def load(file: str) -> dict[str, str]:
    """Return the queries of a file under `sql/`, by name."""
    return named(text_of("central_hub.adapters.sqlite", file))
