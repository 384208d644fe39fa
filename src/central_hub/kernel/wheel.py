"""A hierarchical timing wheel: when leases end and probes are due. Pure; time is an argument.

Renewing only writes the new deadline: the timer stays in its slot and is moved when the slot
comes up, so a lease that beats ten times a TTL is moved once. Slots are dicts, so cancelling
leaves nothing behind, and bit masks of occupied slots make any stretch of idle time one step.

Source: G. Varghese and A. Lauck, Hashed and Hierarchical Timing Wheels, SOSP 1987; placement by
the highest differing bit as in tokio's timer.
"""

from __future__ import annotations

from math import ceil
from typing import Final, Generic, TypeVar

LEVEL_BITS: Final = (8, 6, 6, 6, 6, 6)
SHIFTS: Final = (0, 8, 14, 20, 26, 32)
HORIZON_MS: Final = 1 << 38
"""Farthest deadline from the wheel's zero: 8.7 years."""

ADVANCE_SLICE: Final = 256
"""Timers touched in one call of `advance`: about a millisecond of work at most."""

Key = TypeVar("Key")


class Timer(Generic[Key]):
    """Something due at a time. Owned by one wheel; `deadline_ms` changes through the wheel only."""

    __slots__ = ("deadline_ms", "key", "level", "slot", "tick")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.deadline_ms = 0.0
        self.tick = -1
        self.level = -1
        self.slot = -1

    @property
    def waiting(self) -> bool:
        """Whether it is in the wheel."""
        return self.level >= 0


class TimingWheel(Generic[Key]):
    """Timers in order of their deadline, to the millisecond, never early.

    Args:
        now_ms: the clock's value that stands for the wheel's zero.
    """

    def __init__(self, now_ms: float) -> None:
        self._zero_ms = now_ms
        self._tick = 0
        self._slots: list[list[dict[Timer[Key], None]]] = [[{} for _ in range(1 << bits)] for bits in LEVEL_BITS]
        self._masks = [0] * len(LEVEL_BITS)
        self._count = 0
        self._unfinished: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self._count

    def set(self, timer: Timer[Key], deadline_ms: float) -> None:
        """Make a timer due at `deadline_ms`, whether it waits already or not; O(1).

        A later deadline than it is filed under costs one store.
        """
        timer.deadline_ms = deadline_ms
        if timer.level >= 0:
            if deadline_ms - self._zero_ms >= timer.tick:
                return
            self._take_out(timer)
        self._file(timer)

    def cancel(self, timer: Timer[Key]) -> None:
        """Take a timer out; one that does not wait is left alone."""
        if timer.level >= 0:
            self._take_out(timer)

    def advance(self, now_ms: float, limit: int = ADVANCE_SLICE) -> tuple[list[Timer[Key]], bool]:
        """Move time forward and return what came due, in order of deadline.

        Args:
            now_ms: never less than before.
            limit: timers to touch at most.

        Returns:
            The timers that came due (no longer in the wheel), and whether there is more to do for
            this `now_ms` (call again, after letting others run).
        """
        target = int(now_ms - self._zero_ms)
        due: list[Timer[Key]] = []
        touched = 0
        while True:
            level, tick = self._unfinished or self._next()
            if level < 0 or tick > target:
                self._tick = max(self._tick, target)
                return due, False
            self._tick = max(self._tick, tick)
            index = tick >> SHIFTS[level] & (1 << LEVEL_BITS[level]) - 1
            slot = self._slots[level][index]
            while slot:
                if touched >= limit:
                    # What has not come down yet may be due before what has: it comes first next time.
                    self._unfinished = (level, tick)
                    return due, True
                touched += 1
                timer = next(iter(slot))
                self._take_out(timer)
                if level == 0 and timer.deadline_ms - self._zero_ms <= tick:
                    due.append(timer)
                else:
                    self._file(timer)
            self._unfinished = None

    def next_ms(self) -> float | None:
        """Return a time before which nothing is due, None when nothing waits."""
        level, tick = self._unfinished or self._next()
        return None if level < 0 else tick + self._zero_ms

    def _next(self) -> tuple[int, int]:
        """Return the first occupied slot: a lower level's slots all come before a higher level's."""
        for level, mask in enumerate(self._masks):
            if mask:
                shift = SHIFTS[level]
                index = (mask & -mask).bit_length() - 1
                block = shift + LEVEL_BITS[level]
                return level, (self._tick >> block << block) | index << shift
        return -1, 0

    def _file(self, timer: Timer[Key]) -> None:
        tick = ceil(timer.deadline_ms - self._zero_ms)
        if tick < self._tick:
            tick = self._tick
        assert tick < HORIZON_MS, "a deadline beyond the wheel's horizon"
        difference = tick ^ self._tick
        level = 0 if difference < 256 else (difference.bit_length() - 9) // 6 + 1
        index = tick >> SHIFTS[level] & (1 << LEVEL_BITS[level]) - 1
        self._slots[level][index][timer] = None
        self._masks[level] |= 1 << index
        timer.tick, timer.level, timer.slot = tick, level, index
        self._count += 1

    def _take_out(self, timer: Timer[Key]) -> None:
        slot = self._slots[timer.level][timer.slot]
        del slot[timer]
        if not slot:
            self._masks[timer.level] &= ~(1 << timer.slot)
        timer.level = -1
        self._count -= 1
