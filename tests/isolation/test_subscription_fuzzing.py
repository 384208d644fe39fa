"""Made-up subscriptions, positions and ids of deliveries, by two tenants: nobody is given a foreign event.

Both tenants use the same names and guess each other's deliveries; every event carries whose it is. The short form runs
always, the full one with a million requests under `-m slow`.
"""

from __future__ import annotations

import random

import msgspec
import pytest

from tests.isolation.world import World, running

TENANTS = ("acme", "globex")
NAMES = ("orders", "all", "late", "none")
PATTERNS = ("*", "com.*", "*.placed", "io.centralhub.*", "com.a.placed", "TenantCreated")
SHORT = 1_500
FULL = 1_000_000


def target_and_body(draw: random.Random, known: list[str]) -> tuple[str, str, object]:
    """Return something that a tenant may try: valid, odd, or made of what the other one was given."""
    name = draw.choice(NAMES)
    one = f"/subscriptions/{name}"
    position = f"memory.{draw.randrange(-2, 400)}"
    made_up = [f"{position}.{draw.randrange(4)}", "x", position, f"other.{draw.randrange(9)}.1"]
    delivery = draw.choice([*known[-50:], *made_up])
    deliver = draw.choice(
        [{"policy": "all"}, {"policy": "last"}, {"policy": "new"}, {"policy": "by_position", "position": position}]
    )
    terms = {"max_deliveries": draw.choice([1, 5]), "backoff_s": [0], "max_in_flight": draw.choice([1, 100])}
    wanted = {"types": draw.sample(PATTERNS, draw.randrange(3))}
    return draw.choice(
        [
            ("POST", "/subscriptions", {"name": name, "filter": wanted, "deliver": deliver, "terms": terms}),
            ("POST", f"{one}/pull?limit={draw.randrange(1, 20)}", None),
            ("POST", f"{one}/pull?limit={draw.randrange(1, 20)}", None),
            ("POST", f"{one}/pull?limit={draw.randrange(1, 20)}", None),
            ("POST", f"{one}/settle", {draw.choice(["ack", "extend", "release"]): [delivery]}),
            ("POST", f"{one}/settle", {"nack": [{"id": delivery, "delay_s": 0, "reject": draw.random() < 0.3}]}),
            ("POST", f"{one}/move", deliver),
            ("PATCH", one, {"filter": wanted}),
            ("GET", one, None),
            ("GET", f"{one}/letters", None),
            ("POST", f"{one}/letters/replay", {"limit": 5}),
            ("GET", f"/events?after={position}&limit=20", None),
            ("POST", f"/platform{one}/pull", None),
            ("DELETE", one, None) if draw.random() < 0.05 else ("GET", "/subscriptions", None),
        ]
    )


async def try_many(count: int, seed: int) -> tuple[int, int, list[str]]:
    """Return how many events were given, to how many requests that succeeded, and every foreign one."""
    draw = random.Random(seed)
    known: list[str] = []
    foreign: list[str] = []
    given = succeeded = 0
    async with running() as world:
        for tenant in TENANTS:
            await world.tenant(tenant, "enterprise")
        for number in range(count):
            tenant = draw.choice(TENANTS)
            if draw.random() < 0.1:
                await publish(world, tenant, number)
            method, target, body = target_and_body(draw, known)
            answer = await world.ask(method, target, key=tenant, body=body)
            world.clock.advance(20)
            succeeded += answer.status < 300
            other = TENANTS[tenant == TENANTS[0]]
            if other.encode() in answer.body and b'"code"' not in answer.body:
                foreign.append(f"{tenant}: {method} {target}: {answer.body[:300]!r}")
            if target.partition("?")[0].endswith("/pull") and answer.status == 200:
                deliveries = msgspec.json.decode(answer.body)["deliveries"]
                given += len(deliveries)
                known += [one["id"] for one in deliveries]
                foreign += [str(one) for one in deliveries if one["event"]["tenantid"] != tenant]
            if number % 50 == 49:
                world.hub.features.subscribing.lapses.look()
                await world.hub.features.subscribing.lapses.park()
    return given, succeeded, foreign


async def publish(world: World, tenant: str, number: int) -> None:
    """Publish an event that says whose it is."""
    event = {"specversion": "1.0", "type": "com.a.placed", "source": f"/{tenant}", "id": f"e-{number}", "data": tenant}
    await world.ask("POST", "/events", key=tenant, body=event)


@pytest.mark.timeout(120)
async def test_nobody_is_given_a_foreign_event() -> None:
    given, succeeded, foreign = await try_many(SHORT, seed=1)
    assert foreign == []
    assert given > 100, "hardly anything was given"
    assert succeeded > SHORT / 4


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(100))
async def test_nobody_of_many_is_given_a_foreign_event(seed: int) -> None:
    given, _, foreign = await try_many(FULL // 100, seed=100 + seed)
    assert foreign == []
    assert given > 1_000
