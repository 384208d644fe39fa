"""What requests weigh: sizes as callers declare them, as they turn out, and the error between. Pure.

A decision does not work with one size but with `DRAWS` of them: where nothing is declared, sizes that were seen lately
for the same kind of work; where one is declared, that one times errors that were seen lately. Exact declarations
therefore give draws that are alike, and careless ones give the spread that they have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

DRAWS: Final = 8
"""Sizes that one decision works with."""
SEEN_MAX: Final = 256
"""Sizes and errors remembered of one kind of work."""
SEEN_MIN: Final = 8
"""Errors seen before a declared size is doubted."""
ERROR_MAX: Final = 8.0
"""Largest factor that is remembered between a declared size and the true one."""

Size = tuple[float, float]
"""Input and output, in whatever unit callers of this kind of work use: tokens, rows, pixels."""

Draw = Callable[[int], int]
"""Draws that many random bits."""


class SizeBook:
    """Sizes of one kind of work."""

    __slots__ = ("_errors", "_seen")

    def __init__(self) -> None:
        self._seen: deque[Size] = deque(maxlen=SEEN_MAX)
        self._errors: deque[Size] = deque(maxlen=SEEN_MAX)

    def draws(self, declared: Size | None, draw: Draw) -> tuple[Size, ...]:
        """Return the sizes to work with; `((0, 0),)` when there is nothing to go by."""
        if declared is None:
            return tuple(_spread(self._seen, draw)) if self._seen else ((0.0, 0.0),)
        if len(self._errors) < SEEN_MIN:
            return (declared,)
        return tuple((declared[0] * one[0], declared[1] * one[1]) for one in _spread(self._errors, draw))

    def learn(self, declared: Size | None, true: Size) -> None:
        """Take in what a request turned out to weigh."""
        if true == (0.0, 0.0):
            return
        self._seen.append(true)
        if declared is not None:
            self._errors.append((_ratio(true[0], declared[0]), _ratio(true[1], declared[1])))


def _spread(known: deque[Size], draw: Draw) -> list[Size]:
    """Take `DRAWS` of them, evenly spaced from a random place: no two are the same unless there are few."""
    count = len(known)
    begin = draw(16)
    return [known[(begin + count * at // DRAWS) % count] for at in range(DRAWS)]


def _ratio(true: float, declared: float) -> float:
    if declared <= 0.0 or true <= 0.0:
        return 1.0
    return min(ERROR_MAX, max(1.0 / ERROR_MAX, true / declared))
