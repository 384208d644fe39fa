"""The blocking face of durable subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self

from central_hub.sdk.events import HubEvent
from central_hub.sdk.subscriptions import Consumer, Delivery

Run = Callable[[Coroutine[Any, Any, Any]], Any]  # Any: a coroutine's, restored where it is called


class SyncDelivery:
    """A `Delivery` for code without an event loop.

    Attributes:
        event: the event.
        attempt: which delivery of the event it is, from 1.
    """

    def __init__(self, delivery: Delivery, run: Run) -> None:
        self._delivery = delivery
        self._run = run
        self.event: HubEvent = delivery.event
        self.attempt = delivery.attempt

    def ack(self) -> bool:
        """Be done with the event; as `Delivery.ack`."""
        return bool(self._run(self._delivery.ack()))

    def nack(self, *, delay_s: float | None = None, reason: str = "") -> bool:
        """Have the event come again; as `Delivery.nack`."""
        return bool(self._run(self._delivery.nack(delay_s=delay_s, reason=reason)))

    def reject(self, reason: str = "") -> bool:
        """Have the event given up; as `Delivery.reject`."""
        return bool(self._run(self._delivery.reject(reason)))


class SyncConsumer:
    """A `Consumer` for code without an event loop: `with` it, and iterate."""

    def __init__(self, consumer: Consumer, run: Run) -> None:
        self._consumer = consumer
        self._run = run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[SyncDelivery]:
        deliveries = aiter(self._consumer)

        async def following() -> Delivery | None:
            return await anext(deliveries, None)

        while (delivery := self._run(following())) is not None:
            yield SyncDelivery(delivery, self._run)

    def close(self) -> None:
        """Leave; as `Consumer.close`."""
        self._run(self._consumer.close())
