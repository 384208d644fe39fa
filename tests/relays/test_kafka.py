"""What is Kafka's own: topics, partitions by key, sizes, credentials, TLS. On Apache Kafka itself."""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from central_hub.kernel.brokers import Trouble
from central_hub.kernel.ids import PLATFORM
from tests.brokers import PASSWORD, USER, KafkaPlace, certificates, started
from tests.relays.support import linked, numbers, trouble_of
from tests.unit.relays.house import ctx
from tools.broker_servers import KafkaServer


def ready(settings: dict[str, str], **options: Any) -> Iterator[KafkaPlace]:
    yield from started(lambda: KafkaPlace(KafkaServer(settings), **options))  # type: ignore[misc]


async def test_an_aggregate_lies_in_one_partition_in_order(kafka_server: KafkaServer) -> None:
    place = KafkaPlace(kafka_server)
    await place.make_topic(partitions=4)
    async with linked() as house:
        await house.create(settings=place.settings())
        for start in range(0, 200, 10):
            await house.publish(*range(start, start + 10), tenant=f"t{start // 10 % 2}", subject=f"s{start // 10 % 5}")
        await house.settled()
        parts: dict[str, set[str]] = defaultdict(set)
        order: dict[str, list[int]] = defaultdict(list)
        for one in await place.read():
            parts[one.key].add(one.place)
            order[one.key].append(one.number)
        assert len(order) == 10
        assert all(len(found) == 1 for found in parts.values())
        assert len({next(iter(found)) for found in parts.values()}) > 1
        assert all(found == sorted(found) for found in order.values())


async def test_sizes_topics_and_users_of_a_guarded_broker() -> None:
    """One broker that asks for a user, takes small messages only and makes no topics; it takes seconds to start."""
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    settings = {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config":
            f'{login} username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}";',
        "message.max.bytes": "12000",
        "auto.create.topics.enable": "false",
    }  # fmt: skip
    proof = {
        "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": USER,
        "sasl_plain_password": PASSWORD,
    }  # fmt: skip
    for place in ready(settings, **proof):
        async with linked() as house:
            house.secrets["relays/out"] = f"{USER}:wrong-one"
            await house.create(settings=place.settings(secret="relays/out", mechanism="PLAIN"))
            await house.publish(1, 2)
            await trouble_of(house, Trouble.DENIED)
            assert "wrong-one" not in house.line().failing.detail
            house.secrets["relays/out"] = f"{USER}:{PASSWORD}"
            await trouble_of(house, Trouble.NO_DESTINATION)
            await place.make_topic(partitions=1)
            await house.settled()
            await house.publish(3, size=20_000)
            await house.publish(*range(4, 60))
            await house.settled()
            assert numbers(await place.read()) == [1, 2, *range(4, 60)]
            (parked,) = house.view.parked(PLATFORM, house.view.relays(PLATFORM)[0].id)
            assert (parked.seq, parked.trouble) == (3, Trouble.TOO_LARGE)


async def test_tls_holds_for_whom_the_named_authority_vouches(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    keys = made.key.read_text() + made.certificate.read_text()
    settings = {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(tmp_path / "keys.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(made.ca),
    }
    (tmp_path / "keys.pem").write_text(keys)
    trusted = ssl.create_default_context(cafile=str(made.ca))
    for place in ready(settings, security_protocol="SSL", ssl_context=trusted):
        async with linked() as house:
            await house.create(settings=place.settings(tls=True, ca=made.others_ca.read_text()))
            await house.publish(1)
            await trouble_of(house, Trouble.TLS_FAILED)
            await house.relays.change(ctx(), "out", place.settings(tls=True, ca=made.ca.read_text()))
            await house.settled()
            assert numbers(await place.read()) == [1]
