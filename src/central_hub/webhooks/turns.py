"""Whose turn it is: round the tenants, within the limits of what is under way. Synchronous.

Endpoints whose last attempt failed stand in a ring of their own, so that however many hang they never hold all the
places.
"""

from __future__ import annotations

from collections.abc import Mapping

from central_hub.kernel.ids import DomainId
from central_hub.webhooks.lines import Line
from central_hub.webhooks.model import FAILING_IN_FLIGHT_MAX, IN_FLIGHT_MAX, IN_FLIGHT_PER_TENANT_MAX


class _Ring:
    """Lines by tenant; who had a turn stands behind the others."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[DomainId, dict[Line, None]] = {}

    def add(self, line: Line) -> None:
        self._lines.setdefault(line.domain, {})[line] = None

    def discard(self, line: Line) -> None:
        lines = self._lines.get(line.domain)
        if lines is not None and line in lines:
            del lines[line]
            if not lines:
                del self._lines[line.domain]

    def take(self, busy: Mapping[DomainId, int], most: int) -> Line | None:
        """Return the next line of the next tenant that has fewer than `most` under way."""
        for domain, lines in self._lines.items():
            if busy.get(domain, 0) < most:
                line = next(iter(lines))
                del lines[line], self._lines[domain]
                if lines:
                    self._lines[domain] = lines
                return line
        return None


class Turns:
    """Gives places to lines that have something to do.

    Args:
        most: lines under way at once.
        most_failing: of those, endpoints whose last attempt failed.
        most_per_tenant: of one tenant.
    """

    def __init__(
        self,
        *,
        most: int = IN_FLIGHT_MAX,
        most_failing: int = FAILING_IN_FLIGHT_MAX,
        most_per_tenant: int = IN_FLIGHT_PER_TENANT_MAX,
    ) -> None:
        self._most = most
        self._most_failing = most_failing
        self._most_per_tenant = most_per_tenant
        self._well = _Ring()
        self._failing = _Ring()
        self._under_way: dict[Line, bool] = {}
        self._failing_under_way = 0
        self._busy: dict[DomainId, int] = {}

    @property
    def under_way(self) -> int:
        """How many have a place."""
        return len(self._under_way)

    def add(self, line: Line) -> None:
        """Let a line wait for its turn; one that waits keeps its place in the ring."""
        (self._failing if line.failing.failures else self._well).add(line)

    def discard(self, line: Line) -> None:
        """Let a line wait no longer."""
        self._well.discard(line)
        self._failing.discard(line)

    def has(self, line: Line) -> bool:
        """Say whether a line has a place."""
        return line in self._under_way

    def take(self) -> Line | None:
        """Give a place to the line whose turn it is; None when nobody waits or there is no place."""
        if len(self._under_way) >= self._most:
            return None
        line = self._well.take(self._busy, self._most_per_tenant)
        failing = line is None
        if line is None and self._failing_under_way < self._most_failing:
            line = self._failing.take(self._busy, self._most_per_tenant)
        if line is None:
            return None
        self._under_way[line] = failing
        self._failing_under_way += failing
        self._busy[line.domain] = self._busy.get(line.domain, 0) + 1
        return line

    def give_back(self, line: Line) -> None:
        """Take a place back."""
        self._failing_under_way -= self._under_way.pop(line)
        left = self._busy[line.domain] - 1
        if left:
            self._busy[line.domain] = left
        else:
            del self._busy[line.domain]
