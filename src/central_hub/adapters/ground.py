"""What a log stands on, row by row: for moving a hub from one store to another, and for nothing else.

Rows move as they are, sealed and chained; nobody opens them on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

Row = tuple[Any, ...]  # Any: the columns' types differ


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is, and which history it is."""

    pos: int
    incarnation: str
    records: int
    results: int
    told: int
    domains: int
    data_keys: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written."""
        return self.pos == 0 and self.data_keys == 0


class Ground(Protocol):
    """A store's tables while no hub runs on it. `take` and `put` name them; `put` happens whole or not at all."""

    async def extent(self) -> Extent:
        """Return how much there is."""
        ...

    async def records(self, after: int, limit: int) -> list[Row]:
        """Return rows of the log after a position, in order."""
        ...

    async def results(self, after: tuple[str, str, str], limit: int) -> list[Row]:
        """Return first results after a key, in the order of their keys."""
        ...

    async def told(self, after: tuple[str, str], limit: int) -> list[Row]:
        """Return names of records that are written once after a name, in the order of names."""
        ...

    async def small(self, table: str) -> list[Row]:
        """Return the rows of `heads`, `anchors` or `data_keys`, as they came in."""
        ...

    async def begin(self) -> None:
        """Begin to put rows."""
        ...

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        """Put rows into `log`, `results`, `told`, `heads`, `anchors` or `data_keys`."""
        ...

    async def finish(self, pos: int, incarnation: str) -> None:
        """Say where the log ends and which history it is, and make durable what was put."""
        ...

    async def rename(self, incarnation: str) -> None:
        """Give the history another name: whoever runs a hub on it after all is noticed."""
        ...

    async def close(self) -> None:
        """Let go; what was begun and not finished is undone."""
        ...
