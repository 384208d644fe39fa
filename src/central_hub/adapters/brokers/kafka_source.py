"""Events from a topic of Kafka, whose offsets are committed when what is before them is recorded.

One hub at a time has the relay, so it takes all partitions by itself: no group has to agree on who does, and whoever
comes next goes on at the offsets of the group's name. Partitions that are added later are taken with the next source.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# As in `kafka_link`.

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka

from central_hub.adapters.brokers.ending import ended_within
from central_hub.adapters.brokers.kafka_link import STOP_TIMEOUT_S, knock, proof_of, reason
from central_hub.kernel.brokers import (
    CONNECT_TIMEOUT_S,
    RECEIVE_MAX,
    RECEIVE_WAIT_S,
    BrokerError,
    BrokerTarget,
    Received,
    Source,
    Trouble,
)


class KafkaSource:
    """One consumer; made by `open`."""

    def __init__(self, consumer: Any) -> None:  # Any: the library has no annotations
        self._consumer = consumer
        self._received = False

    @classmethod
    async def open(cls, target: BrokerTarget, tls: ssl.SSLContext | None) -> Source:
        """Connect, and take every partition.

        Raises:
            BrokerError: it cannot be reached, or there is no such topic.
        """
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what goes wrong is told by the source
        await knock(target, tls)
        consumer = AIOKafkaConsumer(
            group_id=target.group, enable_auto_commit=False,
            auto_offset_reset="earliest" if target.beginning else "latest", **proof_of(target, tls),
        )  # fmt: skip
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S * 2):
                await consumer.start()
                parts = await _partitions(consumer, target.destination)
                consumer.assign([TopicPartition(target.destination, part) for part in parts])
        except BaseException as error:
            await _let_go(consumer)
            if isinstance(error, kafka.KafkaConnectionError):  # somebody answered just now: the library says no more
                raise BrokerError(Trouble.DENIED, "it answers, and lets this user in at no address") from None
            if isinstance(error, Exception):
                raise reason(error) from None
            raise
        return cls(consumer)

    async def receive(self) -> Sequence[Received]:
        """Return what is next, at most `RECEIVE_MAX`; see the port."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + RECEIVE_WAIT_S):
                parts = await self._consumer.getmany(timeout_ms=int(RECEIVE_WAIT_S * 1_000), max_records=RECEIVE_MAX)
        except Exception as error:
            raise reason(error) from None
        found = [one for part in parts.values() for one in part]
        self._received = bool(found)
        return [
            Received(
                body=one.value or b"", position=f"{one.topic}/{one.partition}/{one.offset}",
                headers=tuple((_header(name), value.decode("latin-1")) for name, value in one.headers),
            )
            for one in found
        ]  # fmt: skip

    async def acknowledge(self) -> None:
        """Commit the offsets of everything that was received; see the port."""
        if not self._received:
            return
        self._received = False
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._consumer.commit()
        except Exception as error:
            raise reason(error) from None

    async def close(self) -> None:
        """Let go of the partitions."""
        await _let_go(self._consumer)


def _header(name: str) -> str:
    """Return a header's name as the binding for HTTP has it. Source: CloudEvents 1.0.2, Kafka binding: `ce_`."""
    lower = name.lower()
    return f"ce-{lower[3:]}" if lower.startswith("ce_") else lower


async def _let_go(consumer: Any) -> None:  # Any: the library has no annotations
    if not await ended_within(STOP_TIMEOUT_S, consumer.stop()):
        await ended_within(STOP_TIMEOUT_S, consumer._client.close())


async def _partitions(consumer: Any, topic: str) -> Iterable[int]:  # Any: the library has no annotations
    """Return a topic's partitions; a consumer that is assigned to nothing has no way of its own to ask for them."""
    return await consumer._client._wait_on_metadata(topic)
