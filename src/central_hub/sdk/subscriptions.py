"""Durable subscriptions for services: events are given out until they are acknowledged, over connections that break.

    async with hub.subscribe("orders", types=["com.example.*"]) as deliveries:
        async for delivery in deliveries:
            await handle(delivery.event)
            await delivery.ack()

What is in this process's hands is asked longer for by itself; what it has not handled when it leaves is given back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any, Final, Self

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.events import HubEvent, event_of
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import HubRequest, problem, read, segment
from central_hub.sdk.sse import Event, SseParser

HELD: Final = 32
"""Events that a consumer holds at once when nothing else is said."""
HOLD_S: Final = 600.0
"""How long an event is kept from others while it is handled, when nothing else is said."""
SETTLED_AT_ONCE: Final = 500
LEAVE_S: Final = 5.0
REDIRECTED: Final = 307
REDIRECTS_MAX: Final = 3
PASSING: Final = (Kind.UNAVAILABLE, Kind.LIMIT, Kind.INTERNAL, Kind.ELSEWHERE)

Json = dict[str, Any]  # Any: a JSON document


class Delivery:
    """One delivery of an event. Say what became of it: `ack`, `nack` or `reject`, once.

    Attributes:
        event: the event.
        attempt: which delivery of the event it is, from 1.
    """

    __slots__ = ("_consumer", "attempt", "event", "id", "settled", "since_s")

    def __init__(self, consumer: Consumer, delivery_id: str, event: HubEvent) -> None:
        self._consumer = consumer
        self.id = delivery_id
        self.event = event
        self.attempt = int(delivery_id.rpartition(".")[2])
        self.settled = False
        self.since_s = time.monotonic()

    async def ack(self) -> bool:
        """Be done with the event; returns once that is kept: it does not come again.

        Returns:
            False when the hub knows of no such delivery any more: the event may come again.

        Raises:
            HubError: what the hub refused; `hub_unreachable` after a few tries.
        """
        return await self._consumer.say(self, {"ack": [self.id]})

    async def nack(self, *, delay_s: float | None = None, reason: str = "") -> bool:
        """Have the event come again, after `delay_s` or what the subscription says; as `ack`."""
        said: Json = {"id": self.id, "reason": reason}
        if delay_s is not None:
            said["delay_s"] = delay_s
        return await self._consumer.say(self, {"nack": [said]})

    async def reject(self, reason: str = "") -> bool:
        """Have the event given up: handling it again is of no use; as `ack`."""
        return await self._consumer.say(self, {"nack": [{"id": self.id, "reject": True, "reason": reason}]})


class Consumer:
    """Follows one subscription: iterate over it. Use it as `async with`, so that it leaves in order.

    Args:
        link: how the hub is reached.
        path: the subscription's.
        making: what to create it with when it is not there; None for not to.
        max_held: events held at once.
        hold_s: how long an event is asked longer for while it is handled.
    """

    def __init__(
        self, link: HubLink, path: str, making: Mapping[str, object] | None, *, max_held: int, hold_s: float
    ) -> None:
        self._link = link
        self._path = path
        self._making = making
        self._max_held = max_held
        self._hold_s = hold_s
        self._hub: str | None = None
        self._ack_wait_s = 30.0
        self._held: dict[str, Delivery] = {}
        self._coming: deque[Delivery] = deque()
        self._waiting: list[tuple[Json, asyncio.Future[bool]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._extending: asyncio.Task[None] | None = None
        self._deliveries: AsyncGenerator[Delivery] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Delivery]:
        if self._deliveries is None:
            self._deliveries = self._follow()
        return self._deliveries

    async def close(self) -> None:
        """Leave: what was not handled goes to others at once. Where the hub is away it does when its time is over."""
        if self._extending is not None:
            self._extending.cancel()
        deliveries, self._deliveries = self._deliveries, None
        if deliveries is not None:
            await deliveries.aclose()
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=LEAVE_S)
        held = [*self._held, *(one.id for one in self._coming)]
        self._held.clear()
        self._coming.clear()
        if held:
            try:
                async with asyncio.timeout(LEAVE_S):
                    await self._settle({"release": held})
            except (HubError, TimeoutError):
                pass  # they come to others when their time is over

    async def say(self, delivery: Delivery, said: Json) -> bool:
        """Tell the hub what became of a delivery; what is said at one time shares a request."""
        delivery.settled = True
        self._held.pop(delivery.id, None)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((said, future))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name="central_hub.settling")
        return await future

    async def _send(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:SETTLED_AT_ONCE], self._waiting[SETTLED_AT_ONCE:]
            together: dict[str, list[object]] = {}
            for said, _ in some:
                for name, what in said.items():
                    together.setdefault(name, []).extend(what)
            try:
                answer = await self._settle(together)
            except HubError as error:
                if error.code == "hub_unreachable":
                    self._hub = None
                for _, future in some:
                    if not future.done():
                        future.set_exception(error)
                continue
            unknown = frozenset(answer["unknown"])
            for said, future in some:
                if not future.done():
                    future.set_result(_id_in(said) not in unknown)

    async def _settle(self, said: Mapping[str, object]) -> Json:
        """Send what is said, to whichever hub has the subscription; saying it again changes nothing."""
        request = self._link.protocol.command("POST", f"{self._path}/settle", said)
        left = REDIRECTS_MAX
        while True:
            reply = await self._link.send_until(request, base_url=self._hub)
            if reply.status != REDIRECTED:
                answer: Json = read(reply)
                return answer
            refused = problem(reply)
            left -= 1
            if not left:
                raise refused
            self._elsewhere(refused)

    async def _follow(self) -> AsyncGenerator[Delivery]:
        backoff = Backoff()
        while True:
            least_s = 0
            try:
                request = self._link.protocol.get(f"{self._path}/stream", {"max_held": self._max_held})
                async with self._link.stream(request, base_url=self._hub) as (_, chunks):
                    parser = SseParser()
                    async for chunk in chunks:
                        backoff.reset()
                        for one in parser.feed(chunk):
                            self._take(one)
                        while self._coming:
                            delivery = self._coming.popleft()
                            self._held[delivery.id] = delivery
                            delivery.since_s = time.monotonic()
                            yield delivery
            except HubError as refused:
                if refused.code == "subscription_not_found" and self._making is not None:
                    await self._create()
                    continue
                if refused.code == "owned_elsewhere":
                    self._elsewhere(refused)
                elif refused.code == "hub_unreachable":
                    self._hub = None
                elif refused.kind not in PASSING and refused.code != "subscription_moved":
                    raise
                least_s = refused.retry_after_s or 0
            await asyncio.sleep(backoff.next_s(random.random(), at_least_s=least_s))  # noqa: S311  # jitter

    def _take(self, one: Event) -> None:
        if one.name == "open":
            self._ack_wait_s = float(msgspec.json.decode(one.data)["ack_wait_s"])
            if self._extending is None or self._extending.done():
                self._extending = asyncio.create_task(self._extend(), name="central_hub.extending")
        elif one.name == "end":
            said = msgspec.json.decode(one.data)
            raise HubError(
                said["code"], _ENDED.get(said["code"], Kind.CONFLICT), said["detail"],
                next_step="Look at the subscription.", fields={"snapshot": said.get("snapshot")},
            )  # fmt: skip
        elif one.name == "event":
            self._coming.append(Delivery(self, one.id, event_of(one.data, "")))

    async def _extend(self) -> None:
        """Ask longer for what is being handled, well before its time is over."""
        while True:
            await asyncio.sleep(self._ack_wait_s / 3)
            now_s = time.monotonic()
            held = [one.id for one in self._held.values() if now_s - one.since_s < self._hold_s]
            for gone in [one for one in self._held.values() if now_s - one.since_s >= self._hold_s]:
                del self._held[gone.id]
            try:
                for start in range(0, len(held), SETTLED_AT_ONCE):
                    await self._settle({"extend": held[start : start + SETTLED_AT_ONCE]})
            except HubError:
                pass  # tried again in a while; then it comes again elsewhere

    async def _create(self) -> None:
        try:
            read(await self._link.send_until(self._made()))
        except HubError as refused:
            if refused.code != "subscription_exists":
                raise

    def _made(self) -> HubRequest:
        return self._link.protocol.command("POST", self._path.rpartition("/")[0], self._making)

    def _elsewhere(self, refused: HubError) -> None:
        hub = refused.fields.get("hub")
        if isinstance(hub, str) and hub.startswith(("http://", "https://")):
            self._hub = hub.rstrip("/")


_ENDED: Final[Mapping[str, Kind]] = {"position_gone": Kind.GONE, "subscription_not_found": Kind.NOT_FOUND}


def _id_in(said: Json) -> str:
    (what,) = said.values()
    return what[0] if isinstance(what[0], str) else what[0]["id"]


def consumer_of(
    link: HubLink,
    name: str,
    *,
    types: Iterable[str],
    services: Iterable[str],
    categories: Iterable[str],
    sources: Iterable[str],
    deliver: str | Mapping[str, str],
    terms: Mapping[str, object] | None,
    create: bool,
    max_held: int,
    hold_s: float,
) -> Consumer:
    """Return what follows a subscription; see `HubClient.subscribe`."""
    wanted = {"types": types, "services": services, "categories": categories, "sources": sources}
    making: Json | None = None
    if create:
        making = {
            "name": name,
            "filter": {key: list(words) for key, words in wanted.items() if words},
            "deliver": {"policy": deliver} if isinstance(deliver, str) else dict(deliver),
        }
        if terms:
            making["terms"] = dict(terms)
    return Consumer(link, f"/subscriptions/{segment(name)}", making, max_held=max_held, hold_s=hold_s)
