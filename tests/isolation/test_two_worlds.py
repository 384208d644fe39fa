"""Two worlds: tenant A does the same in both, tenant B acts in only one, and A cannot tell which.

Every answer A gets is compared byte for byte, head and body, positions and entity tags included.
Time is an argument of the hub, so times are compared too. Only what is fresh randomness by design is
taken out: the sealed decision id and signing secrets (their length stays), signatures, and the random half of ids of
records and webhooks (their time stays).
"""

from __future__ import annotations

import os
import random
import re
from typing import Any

import msgspec
import pytest

from central_hub.edge.pipeline import Answer
from central_hub.kernel.ids import DomainId
from central_hub.kernel.messaging import Target
from tests.isolation.moves import CANARY, script
from tests.isolation.world import World, running

BOOLEAN = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
STEPS = int(os.environ.get("HUB_TEST_TWO_WORLD_STEPS", "2500"))
"""Steps of tenant A in the short form."""

FULL_STEPS = 100_000

WEBHOOK_ID = re.compile(rb"(wh_[0-9a-f]{12})7[0-9a-f]{19}")
SIGNING_SECRET = re.compile(rb"whsec_[A-Za-z0-9+/=]+")
PLACE = re.compile(r"\{webhook:(\d)\}")
TOLD = re.compile(rb"io\.centralhub\.([a-z.-]+)\.v1")
STEPS_THAT_TELL = 2_500
"""From so many steps on every kind of answer and of event is certain to have been seen."""
RECORD_ID = re.compile(rb"([0-9a-f]{8}-[0-9a-f]{4}-)7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def _furnish(world: World) -> None:
    for name, tier in (("acme", "pro"), ("globex", "enterprise")):
        await world.tenant(name, tier)
    await world.register("gold", key="root", subscription_requirements=["enterprise"])
    await world.register("prices", key="root")
    rules = [{"variant": "on", "percentage": 50}]
    for key, more in (
        ("plain", {"overridable": True}),
        ("half", {"overridable": True, "rules": rules}),
        ("mine", {"only_tenants": ["acme"]}),
        ("theirs", {"only_tenants": ["globex"]}),
    ):
        await world.must("PUT", f"/flags/{key}", key="root", body=BOOLEAN | more)
    for path, shared in (("of-all", True), ("of-platform", False)):
        await world.must("PUT", f"/secrets/value?path={path}", key="root", body={"value": path, "shared": shared})


async def _tick(world: World) -> None:
    """Let time pass in both worlds alike: leases end, what changed is journaled."""
    world.clock.advance(400)
    world.hub.discovery.keeper.look(limit=10_000)
    await world.hub.discovery.monitor.journal.write()
    world.hub.features.quotas.keeper.look(10_000)
    await world.hub.features.quotas.endings.write()
    await world.hub.features.rolling_out.stepping.look()
    world.hub.features.hooking.noticing.sweep()
    await world.hub.features.hooking.noticing.look()
    await world.hub.features.hooking.deliveries.step()
    await world.hub.features.hooking.deliveries.flush()


async def _operate(world: World, tenant: str, step: int) -> None:
    """Let the operator give a tenant more than its plan, and take it back."""
    at = f"/tenants/{tenant}"
    lasting = {"feature": "custom_models", "value": True, "expires_at_ms": world.clock.now_ms() + 5_000}
    await world.must("POST", at + "/grants", key="root", body=lasting)
    await world.must("PUT", at + "/overrides/max_data_storage_mb", key="root", body={"value": step})
    await world.ask("PUT", at + "/secrets/value?path=db/password", key="root", body={"value": f"{tenant}-{step}"})
    layer = {"resource_limits": {"max_data_storage_mb": 10 + step % 90}}
    await world.must("PATCH", "/config/layers/global", key="root", body=layer, headers={"if-match": "*"})
    # Each tier has a layer of its own: what is rolled out to everyone is the operator's, and hangs on everyone.
    tier = {"acme": "pro", "globex": "enterprise"}[tenant]
    body = {
        "changes": [{"layer": {"tier": tier, "service": "prices"}, "if_match": "*", "document": layer}],
        "strategy": {"kind": "canary", "tenants": [tenant], "bake_s": 1},
    }
    await world.ask("POST", "/rollouts", key="root", body=body)
    if step % 50 == 0:
        await world.must("DELETE", at + "/overrides/max_data_storage_mb", key="root")
        for layer in (await world.must("GET", at + "/grants", key="root"))["layers"]:
            await world.must("DELETE", f"{at}/grants/{layer['id']}", key="root")


async def _single_out(world: World, tenant: str, step: int) -> None:
    """Let the operator give one tenant a variant by rule and by override; another one is not to notice."""
    rules = [{"variant": "on", "tenants": [tenant], "percentage": step % 100}, {"variant": "on", "percentage": 50}]
    body = BOOLEAN | {"overridable": True, "rules": rules, "description": CANARY}
    await world.must("PUT", "/flags/half", key="root", body=body, headers={"if-match": "*"})
    await world.must(
        "PUT",
        f"/flags/only-{tenant}",
        key="root",
        body=BOOLEAN | {"only_tenants": [tenant]},
        headers={"if-match": "*"} if step else {},
    )
    at = f"/tenants/{tenant}/secrets/value?path=of-operator"
    await world.must(
        "PUT", at, key="root", body={"value": f"{CANARY}-{step}"}, headers={"if-match": "*"} if step else {}
    )
    await world.must("PUT", f"/tenants/{tenant}/flags/plain", key="root", body={"variant": "on", "reason": CANARY})


def _named(world: World, tenant: str, target: str) -> str:
    """Put the id of one of a tenant's webhooks where its place stands; an id that is none past the last."""
    at = PLACE.search(target)
    if at is None:
        return target
    hooks = world.hub.core.webhooks.webhooks(DomainId(tenant))
    place = int(at[1])
    return target.replace(at[0], hooks[place].id if place < len(hooks) else "wh_" + "0" * 32)


async def _live(seed: int, steps: int, *, with_b: bool) -> tuple[list[Answer], list[Any]]:
    answers: list[Answer] = []
    async with running(seed=seed) as world:
        await _furnish(world)
        world.fix_ids()
        a, b = script(seed, tenant="acme", mark="a"), script(seed + 1, tenant="globex", mark=CANARY)
        rng = random.Random(seed)
        for step in range(steps):
            world.clock.advance(1)
            method, target, body = next(a)
            target = _named(world, "acme", target)
            answers.append(
                await world.ask(
                    method, target, key="acme", body=body, headers={"x-service-name": "orders", "if-match": "*"}
                )
            )
            moves = rng.randrange(3)
            for _ in range(moves):
                world.clock.advance(1)  # ids are told apart by their time
                if not with_b:
                    continue
                method, target, body = next(b)
                target = _named(world, "globex", target)
                await world.ask(
                    method, target, key="globex", body=body, headers={"x-service-name": "prices", "if-match": "*"}
                )
            if step % 10 == 9:
                await _tick(world)
            if step % 25 == 0:
                world.clock.advance(1)
                await _operate(world, "acme", step)
                world.clock.advance(1)
                if with_b:
                    await _operate(world, "globex", step)
                    move = "suspend" if step % 100 == 0 else "resume"
                    await world.ask("POST", f"/tenants/globex/{move}", key="root")
                    await _single_out(world, "globex", step)
        return answers, world.endpoints.got.get("acme", [])


async def _compare(seed: int, steps: int) -> None:
    alone, told_alone = await _live(seed, steps, with_b=False)
    together, told_together = await _live(seed, steps, with_b=True)
    for step, (one, two) in enumerate(zip(alone, together, strict=True)):
        assert (one.status, _lines(one), _body(one)) == (two.status, _lines(two), _body(two)), f"step {step}"
        assert CANARY.encode() not in two.body
    assert [_message(*each) for each in told_alone] == [_message(*each) for each in told_together]
    assert not any(CANARY.encode() in body for _, _, body in told_together)
    if steps >= STEPS_THAT_TELL:
        told = {word for _, _, body in told_alone for word in TOLD.findall(body)}
        assert told >= {b"config.changed", b"flags.changed", b"webhook.delivery-parked", b"webhook.disabled"}, told
        assert {answer.status for answer in alone} >= {200, 201, 202, 204, 403, 404, 422}


def _plain(body: bytes) -> bytes:
    """Take out the random halves of ids, and signing secrets; lengths stay."""
    ids = WEBHOOK_ID.sub(rb"\1", RECORD_ID.sub(rb"\1", body))
    return SIGNING_SECRET.sub(lambda found: b"x" * len(found[0]), ids)


def _message(target: Target, headers: dict[str, str], body: bytes) -> tuple[Target, list[str], bytes]:
    """Return what a webhook was sent, without the signature, which hangs on the random half of the id."""
    return target, sorted(headers.keys()), _plain(body)


def _lines(answer: Answer) -> list[tuple[bytes, bytes]]:
    return answer.headers


def _body(answer: Answer) -> bytes:
    """Take out what is random by design, and nothing else."""
    body = _plain(answer.body)
    if b'"decision_id"' not in body:
        return body
    document = msgspec.json.decode(body)
    document["decision_id"] = len(document["decision_id"])
    return msgspec.json.encode(document)


def test_only_randomness_is_taken_out() -> None:
    """Times, positions and names survive the normalising; a record id keeps its time."""
    seen = Answer(200, [], (b'{"seq":7,"at":"2023","record_id":"018bcfe5-6800-7cd0-a72c-d8be6f9f6209"}',))
    assert _body(seen) == b'{"seq":7,"at":"2023","record_id":"018bcfe5-6800-"}'


@pytest.mark.timeout(300)
async def test_a_tenant_cannot_tell_whether_another_one_acts() -> None:
    await _compare(7, STEPS)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
async def test_a_tenant_cannot_tell_over_a_hundred_thousand_steps() -> None:
    for seed in range(10):
        await _compare(seed, FULL_STEPS // 10)
