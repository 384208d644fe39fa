"""The latest records of a domain, as they are told, for those who follow it live: encoded once, shared by all."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from central_hub.events.reading import Told
from central_hub.subscriptions.model import RECENT_BYTES_MAX, RECENT_MAX


class Recent:
    """A gapless run of records that ends where the domain's log does; bounded in number and bytes.

    Args:
        after: the position that the first one follows.
    """

    __slots__ = ("_bytes", "_records", "begins_after", "followers")

    def __init__(self, after: int) -> None:
        self.begins_after = after
        self.followers = 0
        self._records: deque[Told | None] = deque()
        self._bytes = 0

    def add(self, seq: int, told: Told | None) -> None:
        """Take the record that was applied; what is no event is None."""
        if seq != self.begins_after + len(self._records) + 1:
            self._records.clear()  # never seen: better to read the log than to leave something out
            self._bytes = 0
            self.begins_after = seq - 1
        self._records.append(told)
        self._bytes += 0 if told is None else len(told.body)
        while len(self._records) > RECENT_MAX or self._bytes > RECENT_BYTES_MAX:
            gone = self._records.popleft()
            self._bytes -= 0 if gone is None else len(gone.body)
            self.begins_after += 1

    def after(self, seq: int) -> Iterator[tuple[int, Told | None]] | None:
        """Return the records after a position; None when they are not all at hand."""
        if seq < self.begins_after:
            return None
        return enumerate(islice(self._records, seq - self.begins_after, None), seq + 1)
