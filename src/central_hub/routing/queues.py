"""The queue of one instance as this hub foresees it: what it decided, and when each of that will have ended. Pure.

Requests are taken to be served in order of arrival by `slots` at a time. A decision opens an entry with the seconds it
is foreseen to take (one value per draw of its size); an outcome, a report of the instance or time closes it. Times are
seconds on a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapreplace
from math import inf
from typing import Final

PARTICLES: Final = 8
OVERDUE_SHARE: Final = 0.25
"""What is overdue is expected to take this share of its expected time from now on."""
HAD_SHARE: Final = 0.5
"""Of its expected time that a silent entry has had before it is taken to have ended early."""
ENTRIES_MAX: Final = 4_096
"""Entries of one instance; past it the oldest is taken to have ended."""


class Entry:
    """A decision that is not known to have ended.

    `silent` means that nobody is expected to tell its end: it ends by itself. `clear` means that how long it takes
    will be known well: when all that is before it has ended is going to be told.
    """

    __slots__ = ("at_s", "clear", "decision", "mean_s", "most_s", "seconds", "silent", "started_s", "until_s")

    def __init__(self, decision: Hashable, at_s: float, seconds: tuple[float, ...], *, silent: bool) -> None:
        self.decision = decision
        self.at_s = at_s
        self.seconds = seconds
        self.mean_s = sum(seconds) / len(seconds)
        self.most_s = max(seconds)
        self.silent = silent
        self.clear = True
        self.started_s: float | None = None
        self.until_s = inf
        """When its outcome is not waited for any longer."""


class Queue:
    """One instance's queue.

    Args:
        slots: requests it works on at a time, at least 1.
    """

    __slots__ = ("entries", "factor", "guessed_s", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.factor = 1.0
        self.entries: list[Entry] = []
        self.guessed_s = -inf
        """When an entry last ended of which nobody told."""

    @property
    def in_flight(self) -> int:
        """How many entries are open."""
        return len(self.entries)

    def copied(self) -> Queue:
        """Return a queue that stands where this one does, and goes its own way."""
        other = Queue(self.slots)
        other.factor, other.guessed_s = self.factor, self.guessed_s
        for entry in self.entries:
            # Nobody will tell of a copy: it ends when it should.
            one = Entry(entry.decision, entry.at_s, entry.seconds, silent=True)
            one.started_s = entry.started_s
            other.entries.append(one)
        return other

    def open(self, entry: Entry) -> None:
        """Add an entry behind all others."""
        if len(self.entries) >= ENTRIES_MAX:
            del self.entries[0]
        guessed = entry.at_s - self.guessed_s < entry.mean_s * self.factor
        entry.clear = not guessed and not any(one.silent for one in self.entries)
        self.entries.append(entry)
        self.start(entry.at_s)

    def start(self, now_s: float) -> None:
        """Give slots to those whose turn it is."""
        for entry in self.entries[: self.slots]:
            if entry.started_s is None:
                entry.started_s = max(now_s, entry.at_s)

    def close(self, decision: Hashable, end_s: float) -> Entry | None:
        """Take an entry out that ended then; None when it is not there (any more)."""
        for place, entry in enumerate(self.entries):
            if entry.decision == decision:
                del self.entries[place]
                self.start(end_s)
                return entry
        return None

    def fewer(self, count: int, at_s: float) -> None:
        """Let so many entries fewer be there, as the instance said that it holds less than was foreseen then.

        What is going to be told and should have ended counts first; then silent ones that had their time, or most.
        """
        running = [one for one in self.entries[: self.slots] if one.started_s is not None]
        due = sorted(running, key=self._end_s)
        count -= sum(not one.silent and self._end_s(one) <= at_s for one in due)
        had = [
            one for one in due if one.silent and self._end_s(one) - at_s < (1.0 - HAD_SHARE) * one.mean_s * self.factor
        ]
        for one in had[: max(0, count)]:
            self.entries.remove(one)
        self.start(at_s)

    def _end_s(self, entry: Entry) -> float:
        began_s = entry.at_s if entry.started_s is None else entry.started_s
        return began_s + entry.mean_s * self.factor

    def expire(self, now_s: float) -> None:
        """Let end what nobody tells the end of and should have ended by now."""
        while True:
            ended: Entry | None = None
            end_s = inf
            for entry in self.entries[: self.slots]:
                if entry.silent and entry.started_s is not None:
                    until_s = entry.started_s + entry.mean_s * self.factor
                    if until_s <= now_s and until_s < end_s:
                        ended, end_s = entry, until_s
            if ended is None:
                return
            self.entries.remove(ended)
            self.guessed_s = end_s
            self.start(end_s)

    def free_s(self, now_s: float, told_after_s: float) -> tuple[float, ...]:
        """Return, for each particle, when a request that arrives now would begin to be worked on; `-inf` for now.

        Args:
            now_s: the time.
            told_after_s: how long outcomes take to be told: what is late by less may have ended.
        """
        if len(self.entries) < self.slots:
            return _FREE
        slots, factor = self.slots, self.factor
        running = self.entries[:slots]
        waiting = self.entries[slots:]
        found: list[float] = []
        for particle in range(PARTICLES):
            free: list[float] = []
            for entry in running:
                seconds = entry.seconds[particle % len(entry.seconds)] * factor
                end_s = (entry.at_s if entry.started_s is None else entry.started_s) + seconds
                if end_s < now_s - told_after_s and not entry.silent:
                    end_s = now_s + OVERDUE_SHARE * seconds
                free.append(end_s)
            free.sort()
            for entry in waiting:
                first = free[0]
                seconds = entry.seconds[particle % len(entry.seconds)] * factor
                heapreplace(free, (first if first > now_s else now_s) + seconds)
            found.append(free[0])
        return tuple(found)

    def due_s(self) -> float:
        """Return when the queue has to be looked at again if nothing is told; `inf` for not at all."""
        if not self.entries:
            return inf
        return min(
            (entry.at_s if entry.started_s is None else entry.started_s) + entry.mean_s * self.factor
            for entry in self.entries[: self.slots]
        )


_FREE: Final = (-inf,) * PARTICLES
