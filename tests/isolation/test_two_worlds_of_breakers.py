"""Two worlds that differ in one tenant's breakers only: what another tenant sees of its own is the same to the byte.

Route classes are each tenant's own words here. What holds for everyone who uses a shared service may hang on everyone,
and has tests of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from central_hub.edge.pipeline import Answer
from tests.isolation.moves import CANARY
from tests.isolation.world import World, running

STEPS = 1_500
SERVICES = ("risk", "prices", "private", "nowhere")
Step = tuple[str, str, Any]


def script(seed: int, mark: str) -> Iterator[Step]:
    """Yield what a tenant says and asks of breakers, for ever; valid, invalid and hostile."""
    rng = random.Random(seed)
    other = "globex" if mark == "a" else "acme"
    while True:
        service, calls = rng.choice(SERVICES), rng.randrange(4, 12)
        row = {"service_name": service, "route_class": mark, "calls": calls, "failures": rng.choice((0, calls, calls))}
        yield rng.choice(
            (
                ("POST", "/circuits", {"caller": f"p-{rng.randrange(4)}", "reports": [row]}),
                ("POST", "/circuits", {"caller": f"p-{rng.randrange(4)}", "reports": [row, {**row, "slow": calls}]}),
                ("POST", "/circuits", {"caller": "p-1", "reports": [{**row, "probes": 3, "probes_failed": calls % 2}]}),
                ("POST", "/circuits", {"caller": "p-1", "reports": [{**row, "tenant_id": other}]}),
                ("POST", "/circuits", {"caller": "p-1", "reports": [{**row, "failures": 99}]}),
                ("GET", "/circuits", None),
                ("GET", f"/circuits/{service}", None),
                ("GET", f"/circuits/{service}?tenant_id={other}", None),
                ("POST", f"/circuits/{service}/probes", {"route_class": mark, "count": 2}),
                ("POST", f"/circuits/{service}/probes", {"route_class": mark, "tenant_id": other}),
            )
        )


async def lived(seed: int, *, with_b: bool) -> list[Answer]:
    """Return what acme was answered, with or without what globex does."""
    answers: list[Answer] = []
    async with running(seed=seed) as world:
        for name in ("acme", "globex"):
            await world.tenant(name, "enterprise")
            await world.register("private", key=name)
        for service in ("risk", "prices"):
            await world.register(service, key="root")
        world.fix_ids()
        a, b, rng = script(seed, "a"), script(seed + 1, CANARY), random.Random(seed)
        for _ in range(STEPS):
            world.clock.advance(rng.choice((1, 10, 500, 3_000)))
            answers.append(await done(world, "acme", next(a)))
            for _ in range(rng.randrange(3)):
                world.clock.advance(1)
                if with_b:
                    await done(world, "globex", next(b))
    return answers


async def done(world: World, key: str, step: Step) -> Answer:
    method, target, body = step
    answer = await world.ask(method, target, key=key, body=body)
    await world.hub.features.breaking.shared.settle()
    return answer


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_tenant_cannot_tell_what_another_ones_breakers_do(seed: int) -> None:
    alone, together = await lived(seed, with_b=False), await lived(seed, with_b=True)
    for step, (one, two) in enumerate(zip(alone, together, strict=True)):
        assert (one.status, one.headers, one.body) == (two.status, two.headers, two.body), f"step {step}"
        assert CANARY.encode() not in two.body
    said = b"".join(answer.body for answer in alone)
    assert all(state in said for state in (b'"OPEN"', b'"HALF_OPEN"', b'"CLOSED"', b'"probes_failed"', b'"granted":2'))
    assert {answer.status for answer in alone} >= {200, 202, 404, 422}
