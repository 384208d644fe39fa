"""Tells the other hubs which instances follow values here, and what they say of them, while something is rolled out.

The hub that steps a rollout judges it by all instances, whichever hub they are connected to. Soft, told again every
`TELL_EVERY_S`: one that is not heard of for longer than a broken stream is opened again counts as lost.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final
from weakref import WeakKeyDictionary

import msgspec

from central_hub.kernel.ids import DomainId
from central_hub.kernel.signals import SIGNAL_BYTES_MAX, Signals
from central_hub.rollouts.followers import Follower, FollowerBook, ToldFollower
from central_hub.rollouts.view import RolloutsView

KIND: Final = "followers"
TELL_EVERY_S: Final = 0.8
TOLD_AT_ONCE_MAX: Final = 5_000
"""Instances told of in one round; others wait for their turn in the next."""
SLICE: Final = 20


class FollowersPassed:
    """Tells of followers, and takes what other hubs tell.

    Args:
        signals: how hubs speak to each other.
        book: who follows what.
        view: whether something is rolled out.
    """

    def __init__(self, signals: Signals, book: FollowerBook, view: RolloutsView) -> None:
        self._signals = signals
        self._book = book
        self._view = view
        self._told: WeakKeyDictionary[Follower, tuple[int, int]] = WeakKeyDictionary()
        self._decoder = msgspec.msgpack.Decoder(list[ToldFollower])
        signals.on(KIND, self.take)

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            if not self._signals.anybody or not self._view.any_open:
                continue
            near = list(islice(self._book.near(), TOLD_AT_ONCE_MAX))
            for start in range(0, len(near), SLICE):
                self.tell(near[start : start + SLICE])
                await asyncio.sleep(0)

    def tell(self, followers: list[Follower]) -> None:
        """Tell of some followers now."""
        self._send([self._said(one) for one in followers])

    def _send(self, told: list[ToldFollower]) -> None:
        body = msgspec.msgpack.encode(told)
        if len(body) <= SIGNAL_BYTES_MAX:
            self._signals.send(KIND, body)
        elif len(told) > 1:
            half = len(told) // 2
            self._send(told[:half])
            self._send(told[half:])

    def _said(self, one: Follower) -> ToldFollower:
        requests, errors = self._told.get(one, (0, 0))
        self._told[one] = (one.requests, one.errors)
        return ToldFollower(
            one.domain, one.key, one.principal, one.tier, one.etag, one.refused, one.reason, one.since_ms,
            one.requests - requests, one.errors - errors,
        )  # fmt: skip

    def take(self, body: bytes) -> None:
        """Take what another hub tells."""
        for told in self._decoder.decode(body):
            self._book.heard(DomainId(told.domain), told.key, told)
