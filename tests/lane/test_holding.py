"""Who was told to wait and does not is not read until it is time; nobody else waits with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from central_hub.edge import connection, holding
from central_hub.edge.holding import Hold, Ledger, hold_of
from central_hub.edge.server import LaneMode
from central_hub.edge.shares import HubLimits, Share, too_fast
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from tests.lane.test_lane import packet
from tests.lane.test_protocol import Modes, serving
from tests.lane.world import World

BUSY = packet(key=b"chk_busy_1")
"""A read of the tenant that may ask twice, and then every other second; time stands still in a world."""
WAIT_S = 0.6


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HOLD_S_MAX", WAIT_S)


class Connection:
    """A client's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, *requests: bytes) -> int:
        """Send requests in one packet and wait for the first answer; returns its status."""
        self.writer.write(b"".join(requests))
        return await self.answer()

    async def answer(self) -> int:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await self.reader.readexactly(int(length.partition(b":")[2]))
        return int(head.split(b" ")[1])


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def refused(client: Connection) -> None:
    """Use up what the busy tenant may ask, and be told to wait."""
    statuses = [await client.ask(BUSY) for _ in range(3)]
    assert statuses == [200, 200, 429]


@Modes
async def test_who_goes_on_is_not_read_until_it_is_time_and_then_served(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as (port, _), connected(port) as client:
        await refused(client)
        world.clock.advance(60_000)
        begun = time.monotonic()
        assert await client.ask(BUSY) == 200
        assert WAIT_S * 0.9 <= time.monotonic() - begun < 3 * WAIT_S
        assert (world.ledger.connections, world.ledger.bytes, world.ledger.holds) == (0, 0, 1)
        assert await client.ask(BUSY) == 200


@Modes
async def test_who_waits_as_told_is_served_at_once(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as (port, _), connected(port) as client:
        await refused(client)
        world.clock.advance(60_000)
        await asyncio.sleep(WAIT_S)
        begun = time.monotonic()
        assert await client.ask(BUSY) == 200
        assert time.monotonic() - begun < WAIT_S
        assert world.ledger.holds == 0


@Modes
async def test_another_callers_request_on_the_same_connection_does_not_wait(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as (port, _), connected(port) as client:
        await refused(client)
        begun = time.monotonic()
        assert await client.ask(packet()) == 200
        assert time.monotonic() - begun < WAIT_S


@Modes
async def test_other_connections_do_not_wait(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as (port, _), connected(port) as client, connected(port) as other:
        await refused(client)
        client.writer.write(BUSY)
        begun = time.monotonic()
        assert [await other.ask(packet()) for _ in range(5)] == [200] * 5
        assert await other.ask(BUSY) == 429  # told on this connection for the first time
        assert time.monotonic() - begun < WAIT_S
        assert world.ledger.connections == 1


@Modes
@pytest.mark.parametrize("line", [b"x-forwarded-for: 10.1.1.1", b"Via: 1.1 proxy", b"forwarded: for=10.1.1.1"])
async def test_what_comes_through_a_proxy_that_says_so_is_refused_each_time(mode: LaneMode, line: bytes) -> None:
    world = World()
    forwarded = BUSY.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")
    async with serving(world, mode) as (port, _), connected(port) as client:
        begun = time.monotonic()
        assert [await client.ask(forwarded) for _ in range(6)][2:] == [429] * 4
        assert time.monotonic() - begun < WAIT_S


@Modes
async def test_requests_that_came_with_the_refused_one_wait_too_and_are_answered_in_order(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as (port, _), connected(port) as client:
        begun = time.monotonic()
        assert [await client.ask(*[BUSY] * 5), await client.answer(), await client.answer()] == [200, 200, 429]
        assert time.monotonic() - begun < WAIT_S
        world.clock.advance(60_000)
        assert [await client.answer(), await client.answer()] == [200, 200]
        assert time.monotonic() - begun >= WAIT_S * 0.9


@Modes
async def test_a_hub_that_stops_does_not_wait_for_them(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as (port, _), connected(port) as client:
        await refused(client)
        client.writer.write(BUSY)
        await asyncio.sleep(WAIT_S / 3)
        assert world.ledger.connections == 1
        begun = time.monotonic()
    assert time.monotonic() - begun < 2
    assert (world.ledger.connections, world.ledger.bytes) == (0, 0)


async def test_a_client_that_leaves_while_it_is_held_leaves_nothing_behind() -> None:
    world = World()
    async with serving(world) as (port, _):
        async with connected(port) as client:
            await refused(client)
            client.writer.write(BUSY)
            await asyncio.sleep(WAIT_S / 3)
            share = world.shares["initech"]
            assert (world.ledger.connections, share.held) == (1, 1)
        await asyncio.sleep(3 * WAIT_S)
        assert (world.ledger.connections, world.ledger.bytes, share.held) == (0, 0, 0)


async def test_an_idle_connection_that_was_held_is_closed_when_its_time_is_up() -> None:
    world = World()
    async with serving(world, keep_alive_s=1) as (port, _), connected(port) as client:
        await refused(client)
        world.clock.advance(60_000)
        assert await client.ask(BUSY) == 200
        begun = time.monotonic()
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
        assert 0.5 < time.monotonic() - begun < 3


async def test_what_would_be_too_much_to_keep_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HELD_BYTES_MAX", len(BUSY) + 10)
    world = World()
    async with serving(world) as (port, _), connected(port) as one, connected(port) as two:
        await refused(one)
        assert await two.ask(BUSY) == 429
        one.writer.write(BUSY)
        await asyncio.sleep(WAIT_S / 4)
        two.writer.write(BUSY)
        assert await asyncio.wait_for(two.reader.read(), 5) == b""
        assert (world.ledger.connections, world.ledger.closed) == (1, 1)


def ctx_of(
    kind: PrincipalKind, *, home: str = "acme", assertable: frozenset[str] | None = frozenset()
) -> TenantContext:
    principal = Principal(id="k", kind=kind, home=DomainId(home), scopes=frozenset(), assertable=assertable)
    return TenantContext(principal=principal, tenant_id=TenantId("acme"), tier="pro", rank=1)


def held(ctx: TenantContext | None, *, unproven: bool = False, headers: tuple[tuple[bytes, bytes], ...] = ()) -> bool:
    return hold_of(too_fast("x", 1.0, 1.0), headers, ctx, Ledger(), unproven=unproven) is not None


def test_only_who_speaks_for_nobody_else_is_held() -> None:
    assert held(ctx_of(PrincipalKind.KEY))
    assert held(ctx_of(PrincipalKind.ANONYMOUS))
    assert held(None, unproven=True)
    assert not held(None)
    assert not held(ctx_of(PrincipalKind.KEY, assertable=frozenset({"globex"})))
    assert not held(ctx_of(PrincipalKind.KEY, assertable=None))
    assert not held(ctx_of(PrincipalKind.KEY, home=PLATFORM))
    for kind in (PrincipalKind.GATEWAY, PrincipalKind.OPEN, PrincipalKind.BOOTSTRAP, PrincipalKind.LEGACY):
        assert not held(ctx_of(kind)), kind
    assert not held(ctx_of(PrincipalKind.KEY), headers=((b"x-real-ip", b"10.1.1.1"),))


def test_a_packet_is_held_only_when_it_begins_a_request_of_the_same_caller() -> None:
    share = Share(lambda tier: HubLimits())
    hold = Hold(1.0, b"Bearer chk_a", Ledger(), share)
    head = b"GET / HTTP/1.1\r\nhost: x\r\nAuthorization: Bearer chk_a\r\n\r\n"
    assert hold.concerns(head)
    assert hold.concerns(head + b"body")
    assert not hold.concerns(head[:-2])
    assert not hold.concerns(head.replace(b"chk_a", b"chk_b"))
    assert not hold.concerns(head.replace(b"Authorization: Bearer chk_a\r\n", b""))
    assert not hold.concerns(head.replace(b"host: x", b"authorization: Bearer chk_a"))
    assert not hold.concerns(head.replace(b"host: x", b"x-forwarded-for: 1"))
    assert not hold.concerns(head.replace(b"GET /", b"PUT /services/risk/instances/i-1/heartbeat"))
    assert not hold.concerns(head.replace(b"GET /", b"POST /services/heartbeats"))
    assert hold.concerns(head.replace(b"GET /", b"GET /services/heartbeats"))
    nobody = Hold(1.0, b"", Ledger(), None)
    assert nobody.concerns(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert not nobody.concerns(head)


@Modes
async def test_of_many_requests_in_one_packet_few_are_parsed_before_their_turn(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as (port, server), connected(port) as client:
        count = 3_000
        client.writer.write(packet() * count)
        await asyncio.sleep(0.05)
        waiting = [len(each.pipeline) for each in server.server_state.connections]  # type: ignore[union-attr]  # uvicorn's
        assert max(waiting) <= connection.HEAD_PIECE_BYTES // len(packet()) + 2
        assert [await client.answer() for _ in range(count)] == [200] * count


@Modes
async def test_a_packet_of_requests_from_who_hammers_costs_one_answer_and_is_kept_as_it_is(mode: LaneMode) -> None:
    world = World()
    async with serving(world, mode) as (port, server), connected(port) as client:
        await refused(client)
        client.writer.write(BUSY * 2_000)
        await asyncio.sleep(WAIT_S / 3)
        assert world.ledger.connections == 1
        assert world.ledger.bytes > 10_000
        assert not any(each.pipeline for each in server.server_state.connections)  # type: ignore[union-attr]  # as above
