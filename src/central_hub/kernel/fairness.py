"""Whose command goes into the next group commit: deficit round robin over those who have commands waiting. Pure.

The hub's own work (what the platform writes, leases that end, verdicts) goes first, but takes no
more than its part of a group while tenants wait. Among tenants each turn is worth its weight times
`QUANTUM_BYTES`; what a turn did not use is kept for the next one while there is something waiting.
A tenant that has nothing waiting has no turn and costs nothing.

Source: M. Shreedhar, G. Varghese, Efficient Fair Queuing Using Deficit Round Robin, SIGCOMM 1995.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId

QUANTUM_BYTES: Final = 1_024
"""What a turn of weight 1 is worth: a registration or two."""

COST_BYTES_MIN: Final = 512
"""A command counts as so much at least: what it costs apart from its bytes."""

COST_BYTES_MAX: Final = 32_768
"""A command counts as so much at most, so that its turn comes after `COST_BYTES_MAX / QUANTUM_BYTES` rounds."""

FIRST_SHARE: Final = 0.5
"""Part of a group that the hub's own work may take while tenants wait."""

WEIGHT: Final = 1
WEIGHT_MAX: Final = 64

QUEUED: Final = "hub_queued_writes"
"""The limit on commands of one tenant that wait."""


class Costed(Protocol):
    """Something that waits, and what committing it costs in bytes of sealed data."""

    @property
    def bytes(self) -> int:
        """The cost; it stays the same while it waits."""
        ...


C = TypeVar("C", bound=Costed)


class Shares(Protocol):
    """What each domain may have of the queue of writes."""

    def weight_of(self, domain: DomainId) -> int:
        """Return how much of each round is the domain's, 1 or more."""
        ...

    def queued_max(self, domain: DomainId) -> int:
        """Return how many commands of the domain may wait at one time."""
        ...

    def refused(self, domain: DomainId) -> None:
        """Take note that the domain asked for more to wait."""
        ...


class EqualShares:
    """Implements `Shares`: everyone counts the same.

    Args:
        queued_max: commands of one domain that may wait.
    """

    def __init__(self, queued_max: int) -> None:
        self._queued_max = queued_max

    def weight_of(self, domain: DomainId) -> int:
        """Return 1."""
        del domain
        return WEIGHT

    def queued_max(self, domain: DomainId) -> int:
        """Return the same for everyone."""
        del domain
        return self._queued_max

    def refused(self, domain: DomainId) -> None:
        """Count nothing."""


class _Turn(Generic[C]):
    """Who has something waiting, what it is and what is left of the turn."""

    __slots__ = ("begun", "bytes", "deficit", "domain", "waiting", "worth")

    def __init__(self, domain: DomainId | None, worth: int) -> None:
        self.domain = domain
        self.worth = worth
        self.waiting: deque[C] = deque()
        self.bytes = 0
        self.deficit = 0
        self.begun = False

    def move(self, taken: list[C], most: int, room: int) -> int:
        """Take from the front until there are so many or they come to so many bytes; returns the bytes."""
        waiting = self.waiting
        if len(waiting) <= most and self.bytes <= room:
            taken.extend(waiting)
            waiting.clear()
            size, self.bytes = self.bytes, 0
            return size
        size = 0
        while waiting and most > 0 and size < room:
            item = waiting.popleft()
            taken.append(item)
            size += item.bytes
            most -= 1
        self.bytes -= size
        return size


class FairQueue(Generic[C]):
    """What waits to be committed, in the order in which it is fair to commit it.

    Every step costs the same however much waits and however many wait for their turn.

    Args:
        weight_of: a domain's weight; asked when it begins to wait.
    """

    def __init__(self, weight_of: Callable[[DomainId], int]) -> None:
        self._weight_of = weight_of
        self._first: _Turn[C] = _Turn(None, 0)
        self._turns: deque[_Turn[C]] = deque()
        self._of: dict[DomainId, _Turn[C]] = {}

    def __bool__(self) -> bool:
        return bool(self._turns or self._first.waiting)

    def __len__(self) -> int:
        return len(self._first.waiting) + sum(len(turn.waiting) for turn in self._turns)

    @property
    def waiting_domains(self) -> int:
        """How many domains have something waiting."""
        return len(self._of)

    def put(self, domain: DomainId | None, item: C) -> None:
        """Have an item wait behind what waits for the same domain.

        Args:
            domain: whose it is; None for the hub's own work.
            item: what waits.
        """
        turn = self._first if domain is None else self._of.get(domain) or self._begin(domain)
        turn.waiting.append(item)
        turn.bytes += item.bytes

    def take(self, most: int, bytes_most: int) -> list[C]:
        """Take what goes next: at most so many items, and none more once they come to so many bytes."""
        taken: list[C] = []
        room = bytes_most
        turns = self._turns
        if self._first.waiting:
            share = FIRST_SHARE if turns else 1.0
            room -= self._first.move(taken, max(1, int(most * share)), int(bytes_most * share))
        while turns and len(taken) < most and room > 0:
            turn = turns[0]
            if len(turns) == 1:
                turn.begun, turn.deficit = False, 0
                room -= turn.move(taken, most - len(taken), room)
            else:
                room = _serve(turn, taken, most, room)
            if not turn.waiting:
                turns.popleft()
                if turn.domain is not None:
                    del self._of[turn.domain]
            elif not turn.begun:
                turns.rotate(-1)
        return taken

    def _begin(self, domain: DomainId) -> _Turn[C]:
        worth = QUANTUM_BYTES * min(WEIGHT_MAX, max(WEIGHT, self._weight_of(domain)))
        turn = self._of[domain] = _Turn(domain, worth)
        self._turns.append(turn)
        return turn


def _serve(turn: _Turn[C], taken: list[C], most: int, room: int) -> int:
    """Take from a turn what it is worth, and no more than there is room for; returns the room that is left."""
    if not turn.begun:
        turn.begun = True
        turn.deficit += turn.worth
    waiting = turn.waiting
    while waiting and len(taken) < most and room > 0:
        cost = waiting[0].bytes
        counted = min(COST_BYTES_MAX, max(COST_BYTES_MIN, cost))
        if counted > turn.deficit:
            turn.begun = False
            break
        taken.append(waiting.popleft())
        turn.deficit -= counted
        turn.bytes -= cost
        room -= cost
    return room


def queue_full(limit: int) -> HubError:
    """Return the refusal of one command more than a tenant may have waiting."""
    return HubError(
        "write_queue_full",
        Kind.LIMIT,
        f"{limit} writes of this tenant are waiting to become durable, which is the limit.",
        next_step="Wait for answers before sending more, and try again as Retry-After says.",
        retry_after_s=1,
        fields={"limit": limit, "remaining": 0, "violated-policies": [QUEUED]},
    )
