"""Who tells how requests went: whoever did once is expected to, and whoever never does is not waited for. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

CALLERS_MAX: Final = 10_000
TELLING_SHARE: Final = 0.8
"""From this share of telling callers on, an unknown one is expected to tell."""


class Callers:
    """Callers of one fleet; past `CALLERS_MAX` the one that was heard of first is forgotten."""

    __slots__ = ("_known", "_telling")

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, bool] = OrderedDict()
        self._telling = 0

    def tells(self, caller: Hashable) -> bool:
        """Say whether a caller is known to tell."""
        return self._known.get(caller, False)

    def will_tell(self, caller: Hashable) -> bool:
        """Say whether a caller is expected to tell: it did, or most others do; at first everyone is."""
        known = self._known.get(caller)
        return (self._telling + 1) / (len(self._known) + 1) >= TELLING_SHARE if known is None else known

    def showed(self, caller: Hashable, *, tells: bool) -> None:
        """Take note that a caller told, or did not when it should have; who told once is one who tells."""
        known = self._known.get(caller)
        if known is None or tells > known:
            self._known[caller] = tells
            self._telling += tells
            if len(self._known) > CALLERS_MAX:
                self._telling -= self._known.popitem(last=False)[1]
