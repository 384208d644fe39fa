"""What is Redis' own: the marker in the transaction, what was lost, room, credentials, TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from central_hub.adapters.brokers.redis_link import marker_of
from central_hub.kernel.brokers import Trouble
from tests.brokers import PASSWORD, USER, RedisPlace, certificates, started
from tests.relays.support import linked, numbers, trouble_of
from tests.unit.relays.house import ctx
from tools.broker_servers import RedisServer


def ready(settings: str = "", **options: Any) -> Iterator[RedisPlace]:
    yield from started(lambda: RedisPlace(RedisServer(settings=settings), **options))  # type: ignore[misc]


@pytest.fixture
def plain() -> Iterator[RedisPlace]:
    yield from ready()


def test_a_marker_lies_in_the_streams_hash_slot() -> None:
    assert marker_of("{hub}:events", "out") == "{hub}:events:relay:out"
    assert marker_of("events", "out") == "{events}:relay:out"
    assert marker_of("{}:events", "out") == "{{}:events}:relay:out"


async def test_entries_name_what_a_consumer_looks_for_first(plain: RedisPlace) -> None:
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(1)
        await house.settled()
        async with plain.client() as client:
            ((_, fields),) = await client.xrange(plain.destination)
        assert (fields[b"type"], fields[b"tenantid"], fields[b"key"]) == (
            b"com.example.placed", b"acme", b"acme/event/orders",
        )  # fmt: skip


async def test_what_redis_lost_it_is_given_again(plain: RedisPlace) -> None:
    """As after a crash between two syncs, or the promotion of a replica that was behind."""
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(*range(5))
        await house.settled()
        async with plain.client() as client:
            before = await client.dump(plain.destination), await client.dump(marker_of(plain.destination, "out"))
            await house.publish(*range(5, 10))
            await house.settled()
            await client.restore(plain.destination, 0, before[0], replace=True)
            await client.restore(marker_of(plain.destination, "out"), 0, before[1], replace=True)
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await house.publish(10)
        await house.until(lambda: house.line().acked == house.runner.pos)
        assert [one.number for one in await plain.read()] == list(range(11))


async def test_a_marker_without_its_entry_is_not_believed(plain: RedisPlace) -> None:
    async with linked() as first:
        await first.create(settings=plain.settings())
        await first.publish(1)
        await first.settled()
        await first.following.flush()
        async with plain.client() as client:
            await client.hset(marker_of(plain.destination, "out"), mapping={"pos": 4, "id": "nothing"})
    async with linked(before=first) as second:
        await second.publish(2, 3)
        await second.settled()
        assert numbers(await plain.read()) == [1, 2, 3]


async def test_an_emptied_redis_is_given_what_follows(plain: RedisPlace) -> None:
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(1)
        await house.settled()
        async with plain.client() as client:
            await client.flushall()
        await house.publish(2)
        await house.settled()
        assert numbers(await plain.read()) == [2]


async def test_a_stream_keeps_about_as_much_as_it_was_told(plain: RedisPlace) -> None:
    async with linked() as house:
        await house.create(settings=plain.settings(keep=100))
        await house.publish(*range(1_000))
        await house.settled()
        kept = await plain.read()
        assert 100 <= len(kept) <= 300
        assert kept[-1].number == 999


async def test_a_key_that_holds_something_else_is_said_to_be_no_destination(plain: RedisPlace) -> None:
    async with plain.client() as client:
        await client.set(plain.destination, "text")
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(1)
        await trouble_of(house, Trouble.NO_DESTINATION)
        async with plain.client() as client:
            await client.delete(plain.destination)
        await house.settled()
        assert numbers(await plain.read()) == [1]


async def test_a_key_that_becomes_something_else_under_way_loses_nothing(plain: RedisPlace) -> None:
    async with linked() as house:
        await house.create(settings=plain.settings())
        await house.publish(1)
        await house.settled()
        async with plain.client() as client:
            await client.set(plain.destination, "text")
            await house.publish(2, 3)
            await trouble_of(house, Trouble.NO_DESTINATION)
            await client.delete(plain.destination)
        await house.settled()
        assert numbers(await plain.read()) == [2, 3]


async def test_a_full_redis_is_waited_for(plain: RedisPlace) -> None:
    async with linked() as house, plain.client() as client:
        await client.config_set("maxmemory-policy", "noeviction")
        await house.create(settings=plain.settings())
        await house.publish(1)
        await house.settled()
        await client.config_set("maxmemory", 1_000_000)
        await house.publish(2, 3)
        await trouble_of(house, Trouble.FULL)
        await client.config_set("maxmemory", 0)
        await house.settled()
        assert numbers(await plain.read()) == [1, 2, 3]


async def test_a_replica_is_passed_over_until_it_is_promoted(plain: RedisPlace) -> None:
    async with plain.client() as client:
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        async with linked() as house:
            await house.create(settings=plain.settings())
            await house.publish(1)
            await trouble_of(house, Trouble.UNREACHABLE)
            await client.execute_command("REPLICAOF", "NO", "ONE")
            await house.settled()
            assert numbers(await plain.read()) == [1]


@pytest.mark.parametrize(
    ("settings", "right", "options"),
    [
        (f"requirepass {PASSWORD}", PASSWORD, {"password": PASSWORD}),
        (f"user default off\nuser {USER} on >{PASSWORD} ~* &* +@all", f"{USER}:{PASSWORD}",
         {"username": USER, "password": PASSWORD}),
    ],
    ids=["password", "user"],
)  # fmt: skip
async def test_wrong_credentials_are_said_and_right_ones_taken_up(
    settings: str, right: str, options: dict[str, str]
) -> None:
    for place in ready(settings, **options):
        async with linked() as house:
            house.secrets["relays/out"] = f"{USER}:wrong-one"
            await house.create(settings=place.settings(secret="relays/out"))
            await house.publish(1)
            await trouble_of(house, Trouble.DENIED)
            assert "wrong-one" not in house.line().failing.detail
            house.secrets["relays/out"] = right
            await house.settled()
            assert numbers(await place.read()) == [1]


async def test_a_user_that_may_not_add_is_said_to_be_denied() -> None:
    settings = f"user {USER} on >{PASSWORD} ~* &* +@all -xadd"
    for place in ready(settings):
        async with linked() as house:
            house.secrets["relays/out"] = f"{USER}:{PASSWORD}"
            await house.create(settings=place.settings(secret="relays/out"))
            await house.publish(1)
            await trouble_of(house, Trouble.DENIED)
            assert await place.read() == []


async def test_tls_holds_for_whom_the_named_authority_vouches(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    server = RedisServer()
    tls = f"tls-port {server.port}\nport 0\ntls-cert-file {made.certificate}\ntls-key-file {made.key}\n"
    config = server.directory / "redis.conf"
    tls += f"tls-ca-cert-file {made.ca}\ntls-auth-clients no\n"
    config.write_text(config.read_text().replace(f"port {server.port}\n", "") + tls)
    server.is_ready = lambda: "Ready to accept connections" in server.log()  # type: ignore[method-assign]
    for place in started(lambda: RedisPlace(server, ssl=True, ssl_ca_certs=str(made.ca))):
        async with linked() as house:
            await house.create(settings=place.settings(tls=True, ca=made.others_ca.read_text()))
            await house.publish(1)
            await trouble_of(house, Trouble.TLS_FAILED)
            await house.relays.change(ctx(), "out", place.settings(tls=True, ca=made.ca.read_text()))
            await house.settled()
            assert numbers(await place.read()) == [1]
            await asyncio.sleep(0)
