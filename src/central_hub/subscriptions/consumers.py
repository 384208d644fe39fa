"""Who takes a subscription's events: open connections, and requests that wait."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from central_hub.events.reading import Told
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.subscriptions.lines import Line
from central_hub.subscriptions.model import PULL_BYTES_MAX


class Given(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One delivery of an event: its id, which of the event's it is, and how long there is to acknowledge it."""

    id: str
    attempt: int
    ack_wait_s: float
    told: Told


class Taker(Protocol):
    """Where deliveries go. All methods return at once."""

    def can_take(self) -> bool:
        """Say whether what was given before has left."""
        ...

    def take(self, given: Given) -> bool:
        """Take a delivery; False when the consumer has gone."""
        ...

    def end(self, reason: HubError | None) -> None:
        """Be told that nothing will come any more, and why if it is not the hub that goes."""
        ...


class Consumer:
    """One that takes events of a subscription.

    Args:
        ctx: who it is.
        line: what it follows.
        taker: where events go.
        room: events that it may hold at once.
    """

    __slots__ = ("ctx", "held", "line", "room", "taker")

    def __init__(self, ctx: TenantContext, line: Line, taker: Taker, room: int) -> None:
        self.ctx = ctx
        self.line = line
        self.taker = taker
        self.room = room
        self.held = 0


class Pulling:
    """A request that takes up to some events, and waits for the first."""

    def __init__(self, limit: int) -> None:
        self.given: list[Given] = []
        self.refused: HubError | None = None
        self.changed = asyncio.Event()
        self._limit = limit
        self._bytes = 0

    def can_take(self) -> bool:
        """Say whether there is room in the answer."""
        return len(self.given) < self._limit and self._bytes < PULL_BYTES_MAX

    def take(self, given: Given) -> bool:
        """Take a delivery into the answer."""
        self.given.append(given)
        self._bytes += len(given.told.body)
        self.changed.set()
        return True

    def end(self, reason: HubError | None) -> None:
        """Stop waiting."""
        self.refused = reason
        self.changed.set()
