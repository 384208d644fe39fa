"""A limit that a service spends by itself: slices of the tenant's budget, taken ahead of need, never past the limit.

A decision is made in memory. The hub is asked for the next slice while there is still some of the last, so that it is
asked once in hundreds of decisions, and decisions go on while it is away, until what is in hand is spent or its period
ends. What a process holds when it dies is lost until then; what it does not need it gives back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from dataclasses import dataclass
from typing import Final, Self

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.client import HubClient
from central_hub.sdk.protocol import segment
from central_hub.sdk.resources import TenantResourceLimitExceeded, tenant_of

WANTED_FIRST: Final = 50
WANTED_MIN: Final = 10
WANTED_MAX: Final = 1_000_000
WANTED_GROWTH: Final = 8
"""How many times more than the last time may be asked for at once."""
HOLD_S: Final = 10.0
"""How long a slice should last at the pace at which decisions were asked for since the last one."""
LOW_WATER: Final = 4
"""The next slice is asked for when a quarter of the last is left."""
IDLE_S: Final = 5.0
"""What nobody has spent from for so long is given back."""
AWAY_RETRY_S: Final = 1.0
AWAY_RETRY_S_MAX: Final = 5.0
"""Shortest and longest time between two attempts to reach a hub that is away; it doubles."""
EMPTY_RETRY_S: Final = 5.0
EMPTY_DECISIONS: Final = 100
"""While the limit is used up the hub is asked again after so many refused decisions at the earliest."""
WAIT_S: Final = 2.0


@dataclass(slots=True)
class _Slice:
    """What is left of a slice, and until when on this process's clock."""

    id: str
    left: int
    until_s: float


class TenantBudget:
    """Decides whether a tenant may do one more of something that its plan counts over a period.

    Use it as `async with TenantBudget(hub, "api_calls_per_hour") as budget`, then `budget.spend()` for each call.

    Args:
        hub: an open client.
        limit: name of the limit.
        tenant_id: whose; None for the key's own tenant.
        holder: tells this spender from others with the same credential; a random name by default.
    """

    def __init__(self, hub: HubClient, limit: str, *, tenant_id: str | None = None, holder: str = "") -> None:
        self.hub = hub
        self.limit = limit
        self._tenant_id = tenant_id
        self._holder = holder or os.urandom(8).hex()
        self._slices: deque[_Slice] = deque()
        self._wanted = WANTED_FIRST
        self._low = 0
        self._need = asyncio.Event()
        self._answered = asyncio.Event()
        self._asking = asyncio.Lock()
        self._closing = False
        self._asked_s = self._spent_s = time.monotonic()
        self._demanded = 0
        self._ask_at_s = 0.0
        self._away_s = AWAY_RETRY_S
        self._ends_s = float("inf")
        self._denied_since = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.refusal: HubError | None = None
        self.admitted = 0
        self.denied = 0
        self.hub_calls = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Take the first slice, if the hub is there, and begin to keep one in hand.

        Raises:
            HubError: what the hub refused for good: `unknown_limit`, a missing scope.
        """
        self._closing = False
        await self._ask()
        if self.refusal is not None and self.refusal.kind not in (Kind.LIMIT, Kind.UNAVAILABLE, Kind.TIMEOUT):
            raise self.refusal
        self._tasks = [
            asyncio.create_task(self._keep(), name="central_hub.budget"),
            asyncio.create_task(self._give_back_idle(), name="central_hub.budget_idle"),
        ]

    async def close(self) -> None:
        """Stop, and give back what is in hand."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S), self._asking:  # a slice that is on its way is given back too
                self._closing = True
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await self._give_back()

    @property
    def in_hand(self) -> int:
        """How much can be spent now without the hub."""
        self._drop_ended(time.monotonic())
        return sum(one.left for one in self._slices)

    def spend(self, amount: int = 1) -> bool:
        """Decide in memory, without I/O: True and spent, or False and nothing was."""
        now_s = self._spent_s = time.monotonic()
        self._demanded += amount
        first = self._slices[0] if self._slices else None
        if first is not None and first.left >= amount and now_s < first.until_s:
            first.left -= amount  # nearly every decision ends here
            self.admitted += 1
            if first.left <= self._low and len(self._slices) == 1:
                self._need.set()
            return True
        return self._spend_slowly(amount, now_s)

    async def admit(self, amount: int = 1, *, wait_s: float = WAIT_S) -> None:
        """Spend, waiting for the hub where nothing is in hand.

        Raises:
            TenantResourceLimitExceeded: the limit is used up.
            HubError: what else the hub refused; `hub_unreachable`.
        """
        until_s = time.monotonic() + wait_s
        while not self.spend(amount):
            if self.refusal is not None and self._ask_at_s > time.monotonic():
                raise self.refusal
            self._answered.clear()
            self._need.set()
            try:
                async with asyncio.timeout(until_s - time.monotonic()):
                    await self._answered.wait()
            except TimeoutError:
                raise self.refusal or HubError(
                    "hub_unreachable",
                    Kind.UNAVAILABLE,
                    "The hub did not answer in time.",
                    next_step="Try again, or refuse the call.",
                ) from None

    def _spend_slowly(self, amount: int, now_s: float) -> bool:
        self._drop_ended(now_s)
        if sum(one.left for one in self._slices) < amount:
            self.denied += 1
            self._denied_since += 1
            self._need.set()
            return False
        left = amount
        while left:
            first = self._slices[0]
            part = min(left, first.left)
            first.left -= part
            left -= part
            if not first.left:
                self._slices.popleft()
        self.admitted += 1
        if sum(one.left for one in self._slices) <= self._low:
            self._need.set()
        return True

    def _drop_ended(self, now_s: float) -> None:
        while self._slices and (not self._slices[0].left or now_s >= self._slices[0].until_s):
            self._slices.popleft()

    async def _keep(self) -> None:
        while True:
            await self._need.wait()
            self._need.clear()
            now_s = time.monotonic()
            empty = self.refusal is not None and self.refusal.kind is Kind.LIMIT and now_s < self._ends_s
            if now_s < self._ask_at_s or (empty and self._denied_since < EMPTY_DECISIONS):
                continue  # the next decision that finds nothing asks again
            async with self._asking:
                if not self._closing:
                    await self._ask()

    async def _ask(self) -> None:
        sent_s = time.monotonic()
        self._adapt(sent_s)
        self._asked_s = sent_s
        self._denied_since = 0
        self.hub_calls += 1
        body = {"limit": self.limit, "amount": self._wanted, "holder": self._holder}
        try:
            path = f"/tenants/{await self._tenant()}/slices"
            answer = await self.hub.command("POST", path, body, attempts=1)
        except HubError as error:
            self._refused(error)
        else:
            until_s = sent_s + answer["expires_in_ms"] / 1_000
            self._slices.append(_Slice(answer["slice_id"], answer["granted"], until_s))
            self._low = answer["granted"] // LOW_WATER
            self.refusal = None
            self._away_s = AWAY_RETRY_S
        self._answered.set()

    def _refused(self, error: HubError) -> None:
        now_s = time.monotonic()
        if error.kind is Kind.LIMIT:
            wait_s = float(error.retry_after_s or EMPTY_RETRY_S)
            self._ends_s = now_s + wait_s
            self._ask_at_s = now_s + min(wait_s, EMPTY_RETRY_S)
            self.refusal = TenantResourceLimitExceeded(error) if error.code == "quota_exceeded" else error
        else:
            self._ask_at_s = now_s + self._away_s
            self._away_s = min(AWAY_RETRY_S_MAX, self._away_s * 2)
            self.refusal = error

    def _adapt(self, now_s: float) -> None:
        if not self.hub_calls:
            return
        wanted = int(self._demanded * HOLD_S / max(now_s - self._asked_s, 0.001))
        self._wanted = max(WANTED_MIN, min(wanted, self._wanted * WANTED_GROWTH, WANTED_MAX))
        self._demanded = 0

    async def _give_back_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_S)
            if time.monotonic() - self._spent_s >= IDLE_S:
                await self._give_back()

    async def _give_back(self) -> None:
        while self._slices:
            one = self._slices.popleft()
            if not one.left or time.monotonic() >= one.until_s:
                continue
            self.hub_calls += 1
            path = f"/tenants/{await self._tenant()}/slices/{segment(one.id)}/return"
            try:
                await self.hub.command("POST", path, {"limit": self.limit, "unused": one.left}, attempts=1)
            except HubError as error:
                self.refusal = error  # lost until the period ends: it can be spent by nobody, so nothing is exceeded

    async def _tenant(self) -> str:
        if self._tenant_id is None:
            self._tenant_id = await tenant_of(self.hub)
        return segment(self._tenant_id)
