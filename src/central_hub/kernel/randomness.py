"""Random bytes in small portions, from a source whose every call costs more than the bytes. Pure but for the source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

RANDOM_STOCK_BYTES: Final = 4_096

Randomness = Callable[[int], bytes]


class RandomPool:
    """Hands out random bytes from a stock: a call to the source costs more than the bytes."""

    __slots__ = ("_at", "_source", "_stock")

    def __init__(self, source: Randomness) -> None:
        self._source = source
        self._stock = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return `count` bytes that nobody else gets."""
        end = self._at + count
        if end > len(self._stock):
            if count > RANDOM_STOCK_BYTES:
                return self._source(count)
            self._stock, self._at, end = self._source(RANDOM_STOCK_BYTES), 0, count
        taken = self._stock[self._at : end]
        self._at = end
        return taken
