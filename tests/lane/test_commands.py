"""A command on the lane is on its way for a while: what arrives behind it, and what ends meanwhile."""

from __future__ import annotations

import asyncio

from central_hub.edge.lane.protocol import BEHIND_BYTES_MAX
from tests.lane.test_lane import packet
from tests.lane.world import MemoryTransport, Server, World


def register(name: bytes, more: bytes = b"") -> bytes:
    body = b'{"name":"%b"}' % name
    return (
        b"POST /services/register HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer chk_acme_1\r\n%b"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (more, len(body), body)
    )


class Slow:
    """A lane connection to a world whose commits wait until they are let go."""

    def __init__(self) -> None:
        self.world = World()
        self.gate = self.world.commit_waits = asyncio.Event()
        self.server = Server(self.world, lane=True)
        self.protocol, self.transport = self.server.connect()

    async def send(self, *packets: bytes) -> None:
        for each in packets:
            self.transport.feed(each)
        await self.turn()

    async def turn(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def out(self) -> bytes:
        return bytes(self.transport.out)


def order(out: bytes) -> list[bytes]:
    """Return the bodies in order, shortened."""
    return [part.partition(b"\r\n\r\n")[2][:14] for part in out.split(b"HTTP/1.1 ")[1:]]


async def test_what_arrives_behind_a_command_is_answered_after_it_in_order() -> None:
    slow = Slow()
    await slow.send(register(b"one"), packet(b"a"), register(b"two")[:40], register(b"two")[40:], b"nonsense\r\n\r\n")
    assert slow.out == b""
    slow.gate.set()
    await slow.server.settle()
    assert order(slow.out)[:3] == [b'{"name":"one"}', b'{"service_name', b'{"name":"two"}']
    assert slow.out.count(b"HTTP/1.1 400") == 1
    assert slow.world.lane.commands == 1, "one came in two parts"


async def test_a_client_that_sends_on_and_on_is_not_read_any_further() -> None:
    slow = Slow()
    await slow.send(register(b"one"), packet(b"a") * (BEHIND_BYTES_MAX // len(packet(b"a")) + 2))
    assert slow.transport.paused
    slow.gate.set()
    await slow.server.settle()
    assert not slow.transport.paused
    assert slow.out.count(b"HTTP/1.1 200") > 100


async def test_an_orderly_end_waits_for_the_answer() -> None:
    slow = Slow()
    await slow.send(register(b"one"))
    assert len(slow.server.state.tasks) == 1, "whoever stops the server sees that something is on its way"
    slow.protocol.shutdown()
    assert not slow.transport.closing
    slow.gate.set()
    await slow.turn()
    assert order(slow.out) == [b'{"name":"one"}']
    assert slow.transport.closing
    assert not slow.server.state.tasks


async def test_a_client_that_left_is_told_nothing() -> None:
    slow = Slow()
    await slow.send(register(b"one"), packet(b"a"))
    slow.transport.close()
    await slow.turn()
    slow.gate.set()
    await slow.turn()
    assert slow.out == b""
    assert not slow.server.state.tasks


async def test_an_idle_timer_does_not_end_a_command() -> None:
    slow = Slow()
    await slow.send(register(b"one"))
    slow.protocol.timeout_keep_alive_handler()
    assert not slow.transport.closing
    slow.gate.set()
    await slow.turn()
    assert order(slow.out) == [b'{"name":"one"}']


async def test_a_correlation_id_belongs_to_one_request_only() -> None:
    slow = Slow()
    slow.gate.set()
    await slow.send(register(b"one", b"X-Correlation-Id: c-1\r\n"))
    await slow.send(register(b"two"))
    one, two = slow.out.split(b'{"name":"one"}')
    assert b"x-correlation-id: c-1\r\n" in one
    assert b"x-correlation-id" not in two
    assert isinstance(slow.transport, MemoryTransport)
