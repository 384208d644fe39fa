"""A client of several hubs: it turns to the next one when one is away, and is never told less than it wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from central_hub.cli.connection import Connection
from central_hub.kernel.errors import HubError
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import HubProtocol, HubReply

Answer = Callable[[web.Request], web.StreamResponse]


def minted() -> str:
    return "key"


def linked(*urls: str) -> HubLink:
    return HubLink(HubProtocol(",".join(urls), mint=minted))


def unavailable(code: str = "store_unavailable") -> web.Response:
    return web.json_response({"code": code}, status=503)


@asynccontextmanager
async def hub(answer: Answer, asked: list[web.Request]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_addresses_are_taken_apart_and_gone_round() -> None:
    protocol = HubProtocol("http://a:1/, http://b:2,http://a:1", mint=minted, first=3)
    assert protocol.base_urls == ("http://a:1", "http://b:2")
    assert protocol.base_url == "http://b:2"
    assert protocol.move_from("http://b:2")
    assert protocol.base_url == "http://a:1"
    assert protocol.move_from("http://b:2"), "somebody else turned already"
    assert protocol.base_url == "http://a:1"
    assert not HubProtocol("http://a:1", mint=minted).move_from("http://a:1")


@pytest.mark.parametrize("text", ["", "http://a:1,", "http://a:1,ftp://b", ",http://a:1"])
def test_what_is_no_list_of_hubs_is_refused(text: str) -> None:
    with pytest.raises(HubError) as refused:
        HubProtocol(text, mint=minted)
    assert refused.value.code == "invalid_hub_url"


async def test_a_hub_that_is_away_is_passed_over_and_the_one_that_was_found_is_kept() -> None:
    asked: list[web.Request] = []
    async with hub(lambda _: web.json_response({}), asked) as there:
        link = linked("http://127.0.0.1:1", there)
        await link.open()
        for _ in range(3):
            assert (await link.send(link.protocol.get("/x"))).status == 200
        assert (link.protocol.base_url, link.moves, len(asked)) == (there, 1, 3)
        await link.close()


async def test_when_all_are_away_the_last_reason_is_told() -> None:
    link = linked("http://127.0.0.1:1", "http://127.0.0.1:2")
    await link.open()
    with pytest.raises(HubError) as refused:
        await link.send(link.protocol.get("/x"))
    assert refused.value.code == "hub_unreachable"
    await link.close()


async def test_a_write_that_one_hub_cannot_take_goes_to_the_next_under_the_same_key() -> None:
    first: list[web.Request] = []
    second: list[web.Request] = []
    async with (
        hub(lambda _: unavailable(), first) as one,
        hub(lambda _: web.json_response({}, status=201), second) as two,
    ):
        link = linked(one, two)
        await link.open()
        assert (await link.send(link.protocol.command("POST", "/x", {}))).status == 201
        assert first[0].headers["idempotency-key"] == second[0].headers["idempotency-key"]
        await link.close()


async def test_when_no_hub_can_take_it_the_refusal_is_returned_after_each_was_asked_once() -> None:
    asked: list[web.Request] = []
    async with hub(lambda _: unavailable(), asked) as one, hub(lambda _: unavailable(), asked) as two:
        link = linked(one, two)
        await link.open()
        assert (await link.send(link.protocol.command("POST", "/x", {}))).status == 503
        assert len(asked) == 2
        await link.close()


async def test_a_refusal_that_every_hub_would_make_is_not_taken_to_another() -> None:
    asked: list[web.Request] = []
    async with (
        hub(lambda _: web.json_response({"code": "auth_stale"}, status=503), asked) as one,
        hub(lambda _: web.json_response({}), asked) as two,
    ):
        link = linked(one, two)
        await link.open()
        assert (await link.send(link.protocol.get("/x"))).status == 503
        assert len(asked) == 1
        await link.close()


async def test_another_hub_than_the_one_that_took_the_last_write_is_asked_for_no_less() -> None:
    first: list[web.Request] = []
    second: list[web.Request] = []
    answer = web.json_response
    async with (
        hub(lambda _: answer({}, headers={"hub-seq": "inc.7.8"}), first) as one,
        hub(lambda _: answer({}), second) as two,
    ):
        link = linked(one, two)
        await link.open()
        await link.send(link.protocol.command("POST", "/x", {}))
        await link.send(link.protocol.get("/x"))
        assert "hub-min-seq" not in first[1].headers
        link.protocol.move_from(one)
        await link.send(link.protocol.get("/x"))
        await link.send(link.protocol.command("POST", "/x", {}))
        assert [each.headers["hub-min-seq"] for each in second] == ["inc.7.8", "inc.7.8"]
        await link.close()


async def test_a_hub_that_lost_the_store_is_left_and_not_for_ever_in_turns() -> None:
    asked: list[web.Request] = []
    stale = lambda _: web.json_response({}, headers={"hub-stale-ms": "9000"})  # noqa: E731  # one word twice
    async with hub(stale, asked) as one, hub(stale, asked) as two:
        link = linked(one, two)
        await link.open()
        for _ in range(5):
            await link.send(link.protocol.get("/x"))
        assert link.moves == 1
        assert link.turned.is_set()
        await link.close()


async def test_the_command_line_asks_the_first_that_takes_the_connection() -> None:
    asked: list[web.Request] = []
    async with hub(lambda _: web.json_response({"a": 1}), asked) as there:
        connection = Connection(f"127.0.0.1:1,{there}")
        assert await asyncio.to_thread(connection.get, "/x") == {"a": 1}
        assert connection.url == there


def test_an_answer_is_stale_only_when_it_says_so() -> None:
    from central_hub.sdk.protocol import is_stale

    for said, stale in (({}, False), ({"hub-stale-ms": "2000"}, False), ({"hub-stale-ms": "2001"}, True)):
        assert is_stale(HubReply(status=200, headers=said, body=b"")) is stale
