"""What a view's dump promises: the state as of the call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec

P = ParamSpec("P")


def at_once(dump: Callable[P, Iterator[object]]) -> Callable[P, Iterator[object]]:
    """Have all chunks of a dump put together when it is asked for: for views that hold little of one tenant."""

    @wraps(dump)
    def taken(*args: P.args, **kwargs: P.kwargs) -> Iterator[object]:
        return iter(list(dump(*args, **kwargs)))

    return taken
