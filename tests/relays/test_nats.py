"""What is JetStream's own: subjects, streams that the relay makes or finds, refusals, credentials, TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from central_hub.kernel.brokers import Trouble
from central_hub.kernel.ids import PLATFORM
from tests.brokers import PASSWORD, USER, NatsPlace, certificates, nats_place, started
from tests.relays.support import linked, numbers, trouble_of
from tests.unit.relays.house import ctx

BOTH = pytest.mark.parametrize("current", [False, True], ids=["debian", "current"])


def ready(*, current: bool, config: str = "", **options: Any) -> Iterator[NatsPlace]:
    yield from started(lambda: nats_place(current=current, config=config, **options))  # type: ignore[misc]


@pytest.fixture(params=[False, True], ids=["debian", "current"])
def plain(request: pytest.FixtureRequest) -> Iterator[NatsPlace]:
    yield from ready(current=request.param)


@pytest.fixture(params=[False, True], ids=["debian", "current"])
def small(request: pytest.FixtureRequest) -> Iterator[NatsPlace]:
    yield from ready(current=request.param, config="max_payload: 16384\n")


@pytest.fixture(params=[False, True], ids=["debian", "current"])
def guarded(request: pytest.FixtureRequest) -> Iterator[NatsPlace]:
    config = f"authorization {{ user: {USER}, password: {PASSWORD} }}\n"
    yield from ready(current=request.param, config=config, proof={"user": USER, "password": PASSWORD})


async def test_subjects_name_tenant_category_and_type(plain: NatsPlace) -> None:
    async with linked() as house:
        await house.create(settings=plain.settings(prefix="plant.eu"))
        await house.publish(1)
        await house.tell()
        await house.settled()
        assert [one.place for one in await plain.read()] == [
            "plant.eu.acme.domain.com.example.placed",
            "plant.eu.acme.tenant.io.centralhub.tenant.created.v1",
        ]


async def test_a_stream_that_is_there_stays_as_it_is(plain: NatsPlace) -> None:
    client = await plain.client()
    await client.jetstream().add_stream(name="HUB", subjects=["hub.>"], max_msgs=5)
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(*range(10))
        await house.settled()
        info = await client.jetstream().stream_info("HUB")
        assert (info.config.max_msgs, info.state.last_seq) == (5, 10)
    await client.close()


async def test_a_stream_that_keeps_other_subjects_is_said_to_be_no_destination(plain: NatsPlace) -> None:
    client = await plain.client()
    await client.jetstream().add_stream(name="HUB", subjects=["other.>"])
    await client.close()
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(1)
        await trouble_of(house, Trouble.NO_DESTINATION)


async def test_a_stream_that_others_write_to_keeps_the_order_all_the_same(plain: NatsPlace) -> None:
    client = await plain.client()
    stream = client.jetstream()
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(0)
        await house.settled()
        others = asyncio.create_task(_write(stream))
        for start in range(1, 201, 20):
            await house.publish(*range(start, start + 20))
        await house.settled()
        others.cancel()
        info = await stream.stream_info("HUB")
        found = [await stream.get_msg("HUB", seq) for seq in range(1, info.state.last_seq + 1)]
        ours = [one for one in found if one.headers and "Nats-Msg-Id" in one.headers]
        assert [ours.index(one) for one in ours] == list(range(201))
        assert len(found) > 201
        order = [int(one.data.rpartition(b'"n": ')[2].split(b"}")[0]) for one in ours]
        assert order == list(range(201))
    await client.close()


async def test_an_event_above_the_servers_largest_is_set_aside_in_its_place(small: NatsPlace) -> None:
    async with linked() as house:
        await house.create(settings=small.settings())
        await house.publish(1, 2)
        await house.publish(3, size=20_000)
        await house.publish(4)
        await house.settled()
        assert numbers(await small.read()) == [1, 2, 4]
        (parked,) = house.view.parked(PLATFORM, house.view.relays(PLATFORM)[0].id)
        assert (parked.seq, parked.trouble) == (3, Trouble.TOO_LARGE)
        assert parked.bytes > 20_000


async def test_an_event_above_the_streams_largest_is_set_aside_in_its_place(plain: NatsPlace) -> None:
    client = await plain.client()
    await client.jetstream().add_stream(name="HUB", subjects=["hub.>"], max_msg_size=8_000)
    await client.close()
    async with linked() as house:
        await house.create(settings=plain.settings())

        await house.publish(1, 2)
        await house.publish(3, size=10_000)
        await house.publish(4, 5)
        await house.settled()
        assert [one.number for one in await plain.read()] == [1, 2, 4, 5]
        assert house.line().parked == 1


async def test_a_full_stream_is_waited_for(plain: NatsPlace) -> None:
    client = await plain.client()
    await client.jetstream().add_stream(name="HUB", subjects=["hub.>"], max_msgs=3, discard="new")
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(*range(6))
        await trouble_of(house, Trouble.FULL)
        assert house.line().sent == 3
        await client.jetstream().purge_stream("HUB")
        await house.settled()
        assert [one.number for one in await plain.read()] == [3, 4, 5]
    await client.close()


async def test_wrong_credentials_are_said_and_right_ones_taken_up(guarded: NatsPlace) -> None:
    async with linked() as house:
        house.secrets["relays/out"] = f"{USER}:wrong"
        await house.create(settings=guarded.settings(secret="relays/out"))
        await house.publish(1)
        await trouble_of(house, Trouble.DENIED)
        assert "wrong" not in house.line().failing.detail
        house.secrets["relays/out"] = f"{USER}:{PASSWORD}"
        await house.settled()
        assert numbers(await guarded.read()) == [1]


async def test_no_credentials_where_some_are_needed_are_said_too(guarded: NatsPlace) -> None:
    async with linked() as house:
        await house.create(settings=guarded.settings())
        await trouble_of(house, Trouble.DENIED)


@BOTH
async def test_a_user_that_may_not_publish_there_is_said_to_be_denied(current: bool) -> None:
    config = (
        f"authorization {{ users = [ {{ user: {USER}, password: {PASSWORD}, permissions: "
        '{ publish: ["$JS.API.>", "hub.acme.>"] } } ] }\n'
    )
    for place in ready(current=current, config=config, proof={"user": USER, "password": PASSWORD}):
        async with linked() as house:
            house.secrets["relays/out"] = f"{USER}:{PASSWORD}"
            await house.create(settings=place.settings(secret="relays/out"))
            await house.publish(1)
            await house.publish(2, tenant="globex")
            await trouble_of(house, Trouble.DENIED)
            assert numbers(await place.read()) == [1]
            await house.relays.delete(ctx(), "out")


@BOTH
async def test_tls_holds_for_whom_the_named_authority_vouches(current: bool, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    config = f'tls {{ cert_file: "{made.certificate}", key_file: "{made.key}" }}\n'
    tls = ssl.create_default_context(cafile=str(made.ca))
    for place in ready(current=current, config=config, tls=tls):
        async with linked() as house:
            await house.create(settings=place.settings(tls=True, ca=made.others_ca.read_text()))
            await house.publish(1)
            await trouble_of(house, Trouble.TLS_FAILED)
            await house.relays.change(ctx(), "out", place.settings(tls=True, ca=made.ca.read_text()))
            await house.settled()
            assert numbers(await place.read()) == [1]


async def test_a_server_without_jetstream_is_said_to_be_no_destination(tmp_path: Path) -> None:
    place = nats_place(current=False)
    config = place.server.directory / "nats.conf"
    config.write_text(config.read_text().split("jetstream")[0])
    try:
        place.server.start()
        async with linked() as house:
            await house.create(settings=place.settings())
            await trouble_of(house, Trouble.NO_DESTINATION)
    finally:
        place.server.remove()


async def _write(stream: Any) -> None:
    while True:
        await stream.publish("hub.somebody.else", b"{}")
        await asyncio.sleep(0.001)
