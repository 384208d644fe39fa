"""Real brokers for tests, as places that relays hand events to and tests read from.

NATS and Redis start in a moment, so each test has a server of its own. Where a broker's programs are missing its tests
say so and do not run: `python -m tools.broker_servers` gets them.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from central_hub.kernel.brokers import BrokerKind
from central_hub.relays.model import Server, Settings
from tools.broker_servers import BrokerServer, KafkaServer, MissingError, NatsServer, RedisServer

USER, PASSWORD = "relay", "a-password-of-tests"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Got:
    """A message as a broker has it: what it is known by, where it lies, what order is kept within, and the event."""

    id: str
    place: str
    key: str
    event: dict[str, Any]

    @property
    def number(self) -> int:
        """The number that a test gave the event."""
        return self.event["data"]["n"]


class Place:
    """A server and one destination on it."""

    kind: BrokerKind
    deduplicates = True
    """Whether it takes a message once that it is given twice after a crash of the hub."""

    def __init__(self, server: BrokerServer, destination: str) -> None:
        self.server = server
        self.destination = destination

    def settings(self, **changes: Any) -> Settings:
        """Return what a relay to here is told."""
        given: dict[str, Any] = {
            "destination": self.destination,
            "servers": (Server(host="127.0.0.1", port=self.server.port),),
        }
        return Settings(kind=self.kind, **(given | changes))

    async def read(self) -> list[Got]:
        """Return every message, in the broker's order."""
        raise NotImplementedError

    async def write(self, *bodies: bytes, headers: dict[str, str] | None = None) -> None:
        """Put messages there, as another system would: structured, or with an event's attributes in headers."""
        raise NotImplementedError

    async def unacknowledged(self) -> int:
        """Return how many messages the hub's group has not acknowledged."""
        raise NotImplementedError


class NatsPlace(Place):
    """A JetStream stream."""

    kind = BrokerKind.NATS

    def __init__(self, server: BrokerServer, *, tls: Any = None, proof: dict[str, Any] | None = None) -> None:
        super().__init__(server, "HUB")
        self._options: dict[str, Any] = {"tls": tls, **(proof or {})}

    async def client(self) -> Any:
        """Return a connection of the test's own."""
        return await nats.connect(f"nats://127.0.0.1:{self.server.port}", allow_reconnect=False, **self._options)

    async def write(self, *bodies: bytes, headers: dict[str, str] | None = None) -> None:
        client = await self.client()
        named = {f"ce-{name}": value for name, value in (headers or {}).items() if name != "content-type"}
        if headers:
            named["content-type"] = headers.get("content-type", "application/json")
        try:
            stream = client.jetstream()
            await stream.add_stream(name=self.destination, subjects=["plant.>"])
            for body in bodies:
                await stream.publish("plant.orders", body, headers=named or None)
        finally:
            await client.close()

    async def unacknowledged(self) -> int:
        client = await self.client()
        try:
            info = await client.jetstream().consumer_info(self.destination, "central-hub")
            return (info.num_pending or 0) + (info.num_ack_pending or 0)
        finally:
            await client.close()

    async def read(self) -> list[Got]:
        client = await self.client()
        try:
            stream = client.jetstream()
            info = await stream.stream_info(self.destination)
            found = []
            for seq in range(info.state.first_seq, info.state.last_seq + 1):
                one = await stream.get_msg(self.destination, seq)
                event = json.loads(one.data)
                found.append(Got(one.headers["Nats-Msg-Id"], one.subject, "", event))
            return found
        finally:
            await client.close()


class RedisPlace(Place):
    """A stream of Redis."""

    kind = BrokerKind.REDIS

    def __init__(self, server: BrokerServer, **options: Any) -> None:
        super().__init__(server, "{hub}:events")
        self._options = options

    def client(self) -> Any:
        """Return a connection of the test's own."""
        return redis.asyncio.Redis(host="127.0.0.1", port=self.server.port, **self._options)

    async def write(self, *bodies: bytes, headers: dict[str, str] | None = None) -> None:
        async with self.client() as client:
            for body in bodies:
                await client.xadd(self.destination, {**headers, "data": body} if headers else {"event": body})

    async def unacknowledged(self) -> int:
        async with self.client() as client:
            (group,) = await client.xinfo_groups(self.destination)
        return group["pending"] + (group["lag"] or 0)

    async def read(self) -> list[Got]:
        async with self.client() as client:
            entries = await client.xrange(self.destination)
        return [
            Got(fields[b"id"].decode(), "", fields[b"key"].decode(), json.loads(fields[b"event"]))
            for _, fields in entries
        ]


class KafkaPlace(Place):
    """A topic of Kafka."""

    kind = BrokerKind.KAFKA
    deduplicates = False

    def __init__(self, server: BrokerServer, **options: Any) -> None:
        super().__init__(server, f"hub.events-{next(_numbers)}")
        self._options = options

    async def make_topic(self, *, partitions: int) -> None:
        """Make the topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{self.server.port}", **self._options)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(self.destination, partitions, 1)])
        finally:
            await admin.close()

    async def write(self, *bodies: bytes, headers: dict[str, str] | None = None) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{self.server.port}", **self._options)
        named = [(f"ce_{name}", value.encode()) for name, value in (headers or {}).items() if name != "content-type"]
        if headers:
            named.append(("content-type", headers.get("content-type", "application/json").encode()))
        await producer.start()
        try:
            for body in bodies:
                await producer.send_and_wait(self.destination, body, headers=named)
        finally:
            await producer.stop()

    async def unacknowledged(self) -> int:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=f"127.0.0.1:{self.server.port}", group_id="central-hub", enable_auto_commit=False,
            **self._options,
        )  # fmt: skip
        await consumer.start()
        try:
            part = TopicPartition(self.destination, 0)
            consumer.assign([part])
            ends = await consumer.end_offsets([part])
            return ends[part] - (await consumer.committed(part) or 0)
        finally:
            await consumer.stop()

    async def read(self) -> list[Got]:
        consumer = AIOKafkaConsumer(bootstrap_servers=f"127.0.0.1:{self.server.port}", **self._options)
        await consumer.start()
        try:
            parts = [TopicPartition(self.destination, one) for one in await _partitions(consumer, self.destination)]
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            ends = await consumer.end_offsets(parts)
            found: list[Got] = []
            for part in parts:
                while await consumer.position(part) < ends[part]:
                    for one in (await consumer.getmany(part, timeout_ms=1_000)).get(part, []):
                        headers = dict(one.headers)
                        place = f"{one.topic}/{one.partition}"
                        found.append(Got(headers["hub-id"].decode(), place, one.key.decode(), json.loads(one.value)))
            return found
        finally:
            await consumer.stop()


async def _partitions(consumer: Any, topic: str) -> set[int]:
    """Return a topic's partitions; a consumer knows a topic once it has asked for it."""
    while not consumer.partitions_for_topic(topic):
        consumer._client.add_topic(topic)
        await consumer._client.force_metadata_update()
    return consumer.partitions_for_topic(topic)


@dataclass(frozen=True)
class Certificates:
    """A certificate authority of a test's own, and a server's certificate for loopback."""

    ca: Path
    certificate: Path
    key: Path
    others_ca: Path = field(default_factory=Path)


def certificates(directory: Path) -> Certificates:
    """Make them; `others_ca` vouches for somebody else."""
    ca_key, ca = _authority("tests")
    _, other = _authority("others")
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = _builder("server", ca.subject, key).add_extension(names, critical=False).sign(ca_key, hashes.SHA256())
    paths = Certificates(*(directory / name for name in ("ca.pem", "server.pem", "server.key", "others.pem")))
    paths.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths.others_ca.write_bytes(other.public_bytes(serialization.Encoding.PEM))
    paths.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def _authority(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    basic = x509.BasicConstraints(ca=True, path_length=None)
    return key, _builder(name, subject, key).add_extension(basic, critical=True).sign(key, hashes.SHA256())


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )


def nats_place(*, current: bool, config: str = "", **options: Any) -> NatsPlace:
    """Start a NATS of a test's own."""
    return NatsPlace(NatsServer(current=current, config=config), **options)


MAKERS: dict[str, Callable[[], Place]] = {
    "nats-debian": lambda: nats_place(current=False),
    "nats-current": lambda: nats_place(current=True),
    "redis": lambda: RedisPlace(RedisServer()),
}
"""Every broker that the contract holds for."""


def started(make: Callable[[], Place]) -> Iterator[Place]:
    """Make a place and start its server; one whose programs are missing is left out, aloud."""
    try:
        place = make()
    except MissingError as missing:
        pytest.skip(str(missing))
    try:
        place.server.start()
        yield place
    finally:
        place.server.remove()


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """The Kafka that tests share: it takes seconds to start. Whoever kills it starts it again."""
    try:
        server = KafkaServer()
    except MissingError as missing:
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=[*MAKERS, "kafka"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place on each broker."""
    if request.param == "kafka":
        server: KafkaServer = request.getfixturevalue("kafka_server")
        if not server.is_ready():
            server.start()
        yield KafkaPlace(server)
    else:
        yield from started(MAKERS[request.param])
