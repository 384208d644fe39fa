"""Whose turn it is: round the domains, one of each domain's in turn. Synchronous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from central_hub.kernel.ids import DomainId

T = TypeVar("T")

_NOBODY: Final[Mapping[DomainId, int]] = {}


class Rounds(Generic[T]):
    """What waits for its turn, by domain; who had a turn stands behind the others.

    Every step costs the same however much waits.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[DomainId, dict[T, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, domain: DomainId, item: T) -> None:
        """Let something wait; what waits keeps its place."""
        self._waiting.setdefault(domain, {})[item] = None

    def discard(self, domain: DomainId, item: T) -> None:
        """Let something wait no longer."""
        waiting = self._waiting.get(domain)
        if waiting is not None and item in waiting:
            del waiting[item]
            if not waiting:
                del self._waiting[domain]

    def take(self, busy: Mapping[DomainId, int] = _NOBODY, most: int = 1) -> T | None:
        """Return what is next of the next domain that has fewer than `most` under way."""
        for domain, waiting in self._waiting.items():
            if busy.get(domain, 0) < most:
                item = next(iter(waiting))
                del waiting[item], self._waiting[domain]
                if waiting:
                    self._waiting[domain] = waiting
                return item
        return None
