"""Subscriptions over a WebSocket, against a real hub: deliveries, acknowledgements, refusals, and who may connect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import pytest

from benchmarks.hub_process import HubProcess, running_hub

pytest.importorskip("websockets", reason="without it the hub takes no WebSockets")

SCOPES = ["events:read", "events:write", "subscriptions:read", "subscriptions:admin", "subscriptions:consume"]


def publish(hub: HubProcess, key: str, *ids: str) -> None:
    events = [{"specversion": "1.0", "type": "com.a.placed", "source": "/a", "id": one, "data": one} for one in ids]
    hub.must("POST", "/events", events, key=key)


@asynccontextmanager
async def connected(
    hub: HubProcess, key: str, path: str, **lines: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open a WebSocket."""
    headers = {"authorization": f"Bearer {key}", **lines}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{hub.port}{path}", headers=headers) as socket,
    ):
        yield socket


async def refused(hub: HubProcess, key: str, path: str, **lines: str) -> int:
    """Return the status that a request to become a WebSocket is refused with."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with connected(hub, key, path, **lines):
            pass
    return caught.value.status


_inbox: WeakKeyDictionary[aiohttp.ClientWebSocketResponse, list[dict[str, Any]]] = WeakKeyDictionary()


async def heard(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """Return the next message of a kind; those of other kinds wait for who asks for them."""
    inbox = _inbox.setdefault(socket, [])
    async with asyncio.timeout(5):
        while True:
            for at, said in enumerate(inbox):
                if said["type"] == kind:
                    return inbox.pop(at)
            inbox.append(await socket.receive_json())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("lane", ["protocol", "asgi", "off"])
async def test_events_are_given_and_acknowledged_over_a_socket(tmp_path: Path, lane: str) -> None:
    with running_hub(tmp_path / "data", lane=lane) as hub:
        acme, globex = [await asyncio.to_thread(hub.tenant, name, "pro", SCOPES) for name in ("acme", "globex")]
        blind = await asyncio.to_thread(hub.tenant, "blind", "pro", ["registry:read"])
        at = "/subscriptions/orders/socket"
        wanted = {"name": "orders", "filter": {"types": ["com.*"]}, "terms": {"backoff_s": [0]}}
        await asyncio.to_thread(hub.must, "POST", "/subscriptions", wanted, key=acme)
        assert await refused(hub, "nobody", at) == 401
        assert await refused(hub, blind, at) == 403
        assert await refused(hub, globex, at) == 404
        assert await refused(hub, acme, at, origin="https://evil.example") == 403
        assert await refused(hub, acme, at, **{"x-tenant-id": "globex"}) == 403
        assert (await asyncio.to_thread(hub.call, "GET", at, key=acme))[1]["code"] == "upgrade_required"
        await asyncio.to_thread(publish, hub, acme, "a", "b", "c")
        own = f"http://127.0.0.1:{hub.port}"
        async with connected(hub, acme, at + "?max_held=2", origin=own) as socket:
            assert (await heard(socket, "open"))["max_held"] == 2
            first, second = await heard(socket, "delivery"), await heard(socket, "delivery")
            assert [one["event"]["data"] for one in (first, second)] == ["a", "b"]
            await socket.send_json({"ack": [first["id"]], "nack": [{"id": second["id"]}], "ref": "r1"})
            settled = await heard(socket, "settled")
            assert (settled["ref"], settled["acked"], settled["nacked"], settled["unknown"]) == ("r1", 1, 1, [])
            again = [await heard(socket, "delivery"), await heard(socket, "delivery")]
            assert sorted((one["event"]["data"], one["attempt"]) for one in again) == [("b", 2), ("c", 1)]
            for wrong in ("{", '{"ack": 1}', '{"acks": []}'):
                await socket.send_str(wrong)
                assert (await heard(socket, "error"))["code"] == "invalid_body"
            await socket.send_json({"ack": [one["id"] for one in again]})
            assert (await heard(socket, "settled"))["acked"] == 2
            await asyncio.to_thread(hub.call, "DELETE", "/subscriptions/orders", key=acme)
            assert (await heard(socket, "end"))["code"] == "subscription_not_found"
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


@pytest.mark.timeout(60)
async def test_a_message_that_is_too_large_ends_the_socket_and_nothing_else(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        acme = await asyncio.to_thread(hub.tenant, "acme", "pro", SCOPES)
        await asyncio.to_thread(hub.must, "POST", "/subscriptions", {"name": "orders"}, key=acme)
        async with connected(hub, acme, "/subscriptions/orders/socket") as socket:
            await heard(socket, "open")
            await socket.send_str("x" * 100_000)
            async with asyncio.timeout(5):
                assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert (await asyncio.to_thread(hub.call, "GET", "/subscriptions/orders", key=acme))[0] == 200


@pytest.mark.timeout(60)
async def test_a_hub_that_stops_ends_its_sockets(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        acme = await asyncio.to_thread(hub.tenant, "acme", "pro", SCOPES)
        await asyncio.to_thread(hub.must, "POST", "/subscriptions", {"name": "orders"}, key=acme)
        async with connected(hub, acme, "/subscriptions/orders/socket") as socket:
            await heard(socket, "open")
            hub.process.terminate()
            async with asyncio.timeout(5):
                assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            assert await asyncio.to_thread(hub.process.wait, 15) == 0
