"""Which tenant lives in which cell. A tenant is never divided: its order, its sums and its keys are one domain's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from typing import Final

MASK: Final = (1 << 64) - 1


def mixed(number: int) -> int:
    """Return a number that looks random, the same for the same (S. Vigna's splitmix64)."""
    number = (number + 0x9E3779B97F4A7C15) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def jumped(key: int, cells: int) -> int:
    """Return a cell by hash, such that one more cell takes its even part from all others and moves nobody else.

    Source: J. Lamping, E. Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014.
    """
    before, at = -1, 0
    while at < cells:
        before = at
        key = (key * 2862933555777941757 + 1) & MASK
        at = int((before + 1) * (1 << 31) / ((key >> 33) + 1))
    return before


def by_hash(sizes: Sequence[int], cells: int) -> list[int]:
    """Place tenants by hash alone: no directory is needed, and no tenant's size is looked at."""
    return [jumped(mixed(tenant), cells) for tenant in range(len(sizes))]


def by_two_choices(sizes: Sequence[int], cells: int) -> list[int]:
    """Place each tenant, as they come, in the emptier of two cells that a hash names.

    Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
    """
    held = [0] * cells
    placed = [0] * len(sizes)
    for tenant in sorted(range(len(sizes)), key=mixed):  # they come in no order of size
        one, other = mixed(2 * tenant) % cells, mixed(2 * tenant + 1) % cells
        cell = one if held[one] <= held[other] else other
        held[cell] += sizes[tenant]
        placed[tenant] = cell
    return placed


def by_room(sizes: Sequence[int], cells: int) -> list[int]:
    """Place tenants, the largest first, each in the emptiest cell: what a directory that is looked after comes to.

    Source: R. L. Graham, "Bounds on Multiprocessing Timing Anomalies", 1969; at most a third above the best.
    """
    heap = [(0, cell) for cell in range(cells)]
    heapify(heap)
    placed = [0] * len(sizes)
    for tenant in sorted(range(len(sizes)), key=lambda tenant: (-sizes[tenant], tenant)):
        held, cell = heap[0]
        placed[tenant] = cell
        heapreplace(heap, (held + sizes[tenant], cell))
    return placed


PLACEMENTS: Final[dict[str, Callable[[Sequence[int], int], list[int]]]] = {
    "by hash": by_hash,
    "the emptier of two": by_two_choices,
    "the emptiest, largest first": by_room,
}


def held(sizes: Sequence[int], placed: Sequence[int], cells: int) -> list[int]:
    """Return how many instances each cell holds."""
    found = [0] * cells
    for tenant, cell in enumerate(placed):
        found[cell] += sizes[tenant]
    return found
