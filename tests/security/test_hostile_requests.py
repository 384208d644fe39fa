"""Malformed, oversized, slow and cut requests over raw sockets: refused or hung up on, and nothing has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from central_hub.edge.problem_pages import load_catalogue
from tests.security.hostile import attacks
from tests.security.raw_requests import Attack, Heard, answers, body, request, strike
from tests.security.real_hub import RealHub, running_hub

AT_ONCE = 48
LANE_COMMANDS_MIN = 20
LANES = ("protocol", "asgi", "off")


@pytest.fixture(scope="module", params=LANES)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    with running_hub(tmp_path_factory.mktemp("hub"), "--lane", request.param) as running:
        for tenant in ("acme", "globex"):
            running.must("POST", "/tenants", {"id": tenant, "name": tenant, "tier": "pro"})
        running.lane = request.param
        yield running


async def strike_all(port: int, every: list[Attack]) -> dict[str, Heard]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(attack: Attack) -> tuple[str, Heard]:
        async with slots:
            return attack.name, await strike(port, attack)

    return dict(await asyncio.gather(*(one(attack) for attack in every)))


def faults(attack: Attack, heard: Heard) -> Iterator[str]:
    """Yield what is wrong with what was heard: anything but refusals in problem documents and a closed connection."""
    if not heard.closed:
        yield f"{attack.name}: left open after {heard.said[:60]!r}"
    codes = load_catalogue()
    got = list(answers(heard.said))
    if attack.count not in (None, len(got)):
        yield f"{attack.name}: {len(got)} answers for {attack.count}"
    for answer in got:
        if answer.status in attack.fine:
            continue
        if not 400 <= answer.status < 500:
            yield f"{attack.name}: {answer.status}"
        elif answer.code not in codes:
            yield f"{attack.name}: {answer.status} with {answer.media_type} '{answer.code}'"


@pytest.mark.timeout(240)
async def test_no_attack_changes_anything_or_gets_more_than_a_refusal(hub: RealHub) -> None:
    before = await asyncio.to_thread(hub.log_position)
    every = attacks(hub.key)
    heard = await strike_all(hub.port, every)
    found = [fault for attack in every for fault in faults(attack, heard[attack.name])]
    assert found == []
    assert await asyncio.to_thread(hub.log_position) == before
    assert "intruder" not in (await asyncio.to_thread(hub.must, "GET", "/services/"))["services"]
    assert await asyncio.to_thread(hub.ask, "GET", "/livez") == (200, {"status": "alive"})
    assert 'status="5' not in await asyncio.to_thread(hub.metrics)
    assert "Traceback" not in hub.log.read_text()
    if hub.lane == "protocol":  # otherwise the lane was not attacked
        assert await asyncio.to_thread(hub.metric, "central_hub_lane_commands_total") > LANE_COMMANDS_MIN


async def test_the_request_that_the_attacks_are_built_around_is_taken(hub: RealHub) -> None:
    """Otherwise every attack would be refused for another reason than its own."""
    heard = await strike(hub.port, Attack("none", (request(hub.key, body(name="guest")),)))
    assert [answer.status for answer in answers(heard.said)] == [201]
