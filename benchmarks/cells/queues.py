"""One server, first come, first served. All times are seconds."""

from __future__ import annotations


class Server:
    """A server that works through what it is given, in order.

    It has no queue of things, only the moment at which it will have done all it was given: what comes next starts then
    (D. V. Lindley, "The theory of queues with a single server", 1952).

    Args:
        share: what is left of it beside steady work, more than 0 and at most 1; slows down everything alike.
    """

    __slots__ = ("done_s", "share", "worked_s")

    def __init__(self, share: float = 1.0) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"a server has between nothing and all of itself left, not {share}")
        self.share = share
        self.done_s = 0.0
        self.worked_s = 0.0

    def offer(self, at_s: float, work_s: float) -> tuple[float, float]:
        """Give it work; returns when that starts and when it is done."""
        start_s = max(at_s, self.done_s)
        self.done_s = start_s + work_s / self.share
        self.worked_s += work_s
        return start_s, self.done_s

    def waits_s(self, at_s: float) -> float:
        """Return how long what came now would wait."""
        return max(0.0, self.done_s - at_s)


def spread(count: int, parts: int, turn: int = 0) -> list[int]:
    """Divide a number of things over parts as evenly as whole numbers can; the sum is `count`.

    Args:
        count: how many, at least 0.
        parts: how many parts, at least 1.
        turn: which part is the first to get one more, so that it is not always the same.
    """
    each, more = divmod(count, parts)
    return [each + (1 if (part - turn) % parts < more else 0) for part in range(parts)]
