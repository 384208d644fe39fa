"""Webhooks through the pipeline of a whole hub: status, shapes, refusals, and what the trail shows."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from central_hub.edge.pipeline import Answer
from central_hub.kernel.messaging import Outcome
from central_hub.settings import Settings
from central_hub.webhooks.routes import PINGS_AT_ONCE_MAX
from tests.isolation.world import World, running

AT = "/tenants/acme/webhooks"
URL = "https://hooks.example/in"
LEVEL = "io.centralhub.quota.level-reached.v1"
CONFIG = "io.centralhub.config.changed.v1"


def body(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def made(world: World, **fields: Any) -> Any:
    await world.tenant("acme", "free")
    return await world.must("POST", AT, key="acme", body={"url": URL, **fields})


async def told(world: World) -> list[Any]:
    """Let what is to be told be told; returns the events."""
    await world.hub.features.hooking.noticing.look()
    await world.hub.features.hooking.deliveries.step()
    return [msgspec.json.decode(data) for _, _, data in world.endpoints.got.get("acme", [])]


async def test_a_webhook_has_the_shape_that_was_promised() -> None:
    async with running() as world:
        answer = await made(world, events=[LEVEL], service="risk", description="alerts")
        assert answer["secret"].startswith("whsec_")
        shown = answer["webhook"]
        assert {name: shown[name] for name in ("url", "events", "service", "environment", "status")} == {
            "url": URL, "events": [LEVEL], "service": "risk", "environment": None, "status": "enabled",
        }  # fmt: skip
        assert (shown["failures"], shown["dead_letters"], shown["reason"]) == (0, 0, "")
        one = f"{AT}/{shown['webhook_id']}"
        assert await world.must("GET", one, key="acme") == shown
        assert (await world.must("GET", AT, key="acme"))["webhooks"] == [shown]
        disabled = await world.must("POST", f"{one}/disable", key="acme")
        assert (disabled["status"], disabled["reason"]) == ("disabled", "asked")
        assert (await world.must("POST", f"{one}/enable", key="acme"))["status"] == "enabled"
        for _ in range(2):
            assert (await world.ask("DELETE", one, key="acme")).status == 204
        assert body(await world.ask("GET", one, key="acme"))["code"] == "webhook_not_found"


async def test_a_secret_is_shown_once_and_never_stored_by_the_way() -> None:
    async with running() as world:
        answer = await made(world)
        one = f"{AT}/{answer['webhook']['webhook_id']}"
        rotated = await world.must("POST", f"{one}/rotate", key="acme", body={"grace_s": 60})
        assert rotated["secret"] not in ("", None, answer["secret"])
        assert rotated["webhook"]["previous_secret_until"] == "2023-11-14T22:14:20.000Z"
        made_answer = await world.ask("POST", f"{one}/rotate", key="acme")
        assert (b"cache-control", b"no-store") in made_answer.headers
        trail = await world.ask("GET", "/tenants/acme/audit", key="acme")
        shown = await world.ask("GET", one, key="acme")
        exported = await world.ask("GET", "/tenants/acme/export", key="root")
        for secret in (answer["secret"], rotated["secret"]):
            raw = secret.removeprefix("whsec_").encode()
            assert all(raw not in one.body for one in (trail, shown, exported))
        assert b"WebhookCreated" in trail.body


async def test_a_repeated_request_makes_no_second_webhook() -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        key = {"idempotency-key": "k1"}
        first = await world.must("POST", AT, key="acme", body={"url": URL}, headers=key)
        again = await world.must("POST", AT, key="acme", body={"url": URL}, headers=key)
        assert again == first | {"secret": None}
        assert len((await world.must("GET", AT, key="acme"))["webhooks"]) == 1


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"url": "http://hooks.example/"}, 422, "invalid_webhook_url"),
        ({"url": "https://u@hooks.example/"}, 422, "invalid_webhook_url"),
        ({"url": "https://169.254.169.254/"}, 403, "webhook_address_denied"),
        ({"url": URL, "events": ["io.centralhub.nothing.v1"]}, 422, "unknown_event_type"),
        ({"url": URL, "events": ["x"] * 33}, 422, "invalid_body"),
        ({"url": URL, "service": "No Name"}, 422, "invalid_body"),
        ({"url": URL, "surprise": 1}, 422, "invalid_body"),
        ({}, 422, "invalid_body"),
    ],
)
async def test_what_cannot_be_created_is_refused(wanted: Any, status: int, code: str) -> None:
    async with running() as world:
        await world.tenant("acme", "free")
        answer = await world.ask("POST", AT, key="acme", body=wanted)
        assert (answer.status, body(answer)["code"]) == (status, code), answer.body


async def test_a_tenant_that_is_not_there_has_no_webhooks() -> None:
    async with running() as world:
        answer = await world.ask("POST", "/tenants/nobody/webhooks", key="root", body={"url": URL})
        assert (answer.status, body(answer)["code"]) == (404, "tenant_not_found")


async def test_a_tenant_without_a_record_has_none_in_open_mode_either() -> None:
    async with running(settings=Settings(open=True)) as world:
        answer = await world.ask("POST", AT, body={"url": URL}, headers={"x-tenant-id": "acme"})
        assert (answer.status, body(answer)["code"]) == (404, "tenant_not_found")


async def test_a_deleted_tenant_is_told_nothing() -> None:
    async with running() as world:
        await made(world)
        await world.must("DELETE", "/tenants/acme", key="root")
        assert await told(world) == []
        await world.must("POST", "/tenants/acme/restore", key="root")
        kinds = [event["data"]["state"] for event in await told(world) if "state-changed" in event["type"]]
        assert kinds == ["deleted", "suspended"]


async def test_a_level_is_told_and_shown_as_an_attempt() -> None:
    async with running() as world:
        hook = (await made(world, events=[LEVEL]))["webhook"]
        hold = {"resource": "concurrent_requests", "amount": 5}
        await world.must("POST", "/tenants/acme/allocations", key="acme", body=hold)
        (event,) = await told(world)
        assert event["data"] == {
            "limit_name": "max_concurrent_requests", "level": 50, "used": 5, "limit": 10, "period_start": None,
        }  # fmt: skip
        shown = await world.must("GET", f"{AT}/{hook['webhook_id']}/deliveries", key="acme")
        (attempt,) = shown["attempts"]
        assert (attempt["event_id"], attempt["result"], attempt["status"]) == (event["id"], "delivered", 204)
        record = next(
            one for one in (await world.must("GET", "/tenants/acme/audit", key="acme"))["entries"]
            if one["record_id"] == event["id"]
        )  # fmt: skip
        assert record["type"] == "TenantQuotaLevelReached"


async def test_a_change_from_above_is_told_only_where_the_value_is_another_one() -> None:
    async with running() as world:
        await made(world, events=[CONFIG])
        any_revision = {"if-match": "*"}
        for layer in ("tier/free", "tier/pro"):
            limits = {"rate_limits": {"api_calls_per_hour": 77}}
            await world.must("PUT", f"/config/layers/{layer}", key="root", body=limits, headers=any_revision)
        events = await told(world)
        shown = await world.ask("GET", "/config/acme", key="acme")
        etag = next(value.decode() for name, value in shown.headers if name == b"etag")
        assert [event["data"] for event in events] == [{"service": "", "environment": "", "etag": etag}]


async def test_flags_of_another_tenant_are_not_told() -> None:
    async with running() as world:
        await made(world, events=["io.centralhub.flags.changed.v1"])
        flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
        await world.tenant("globex", "pro")
        await world.must("PUT", "/flags/theirs", key="root", body=flag | {"only_tenants": ["globex"]})
        assert await told(world) == []
        await world.must("PUT", "/flags/everyones", key="root", body=flag)
        assert [event["data"] for event in await told(world)] == [{"environment": ""}]


async def test_the_life_of_a_tenant_is_told() -> None:
    async with running() as world:
        await made(world)
        await world.must("PATCH", "/tenants/acme", key="root", body={"name": "Acme Ltd"})
        await world.must("POST", "/tenants/acme/suspend", key="root", body={"reason": "unpaid"})
        await told(world)
        await world.must("POST", "/tenants/acme/resume", key="root")
        kinds = [event["type"].split(".")[3] for event in await told(world)]
        assert [kind for kind in kinds if kind in ("updated", "suspended", "resumed")][:2] == ["updated", "suspended"]


async def test_a_suspended_tenants_callers_see_webhooks_and_change_none() -> None:
    async with running() as world:
        hook = (await made(world))["webhook"]
        await world.must("POST", "/tenants/acme/suspend", key="root")
        assert (await world.ask("GET", AT, key="acme")).status == 200
        refused = await world.ask("POST", f"{AT}/{hook['webhook_id']}/test", key="acme")
        assert body(refused)["code"] == "tenant_suspended"


async def test_a_test_message_says_what_came_of_it() -> None:
    async with running() as world:
        hook = (await made(world))["webhook"]
        answers = [await world.must("POST", f"{AT}/{hook['webhook_id']}/test", key="acme") for _ in range(3)]
        assert [(one["delivered"], one["result"]) for one in answers] == [
            (True, "delivered"), (True, "delivered"), (False, "refused"),
        ]  # fmt: skip
        (_, headers, data) = world.endpoints.got["acme"][0]
        assert msgspec.json.decode(data)["id"] == headers["webhook-id"] == answers[0]["event_id"]


async def test_test_messages_under_way_are_limited_for_each_tenant() -> None:
    async with running() as world:
        hook = (await made(world))["webhook"]
        send, go_on = world.endpoints.send, asyncio.Event()

        async def slowly(*given: Any) -> Outcome:
            await go_on.wait()
            return await send(*given)

        world.endpoints.send = slowly  # type: ignore[method-assign]
        target = f"{AT}/{hook['webhook_id']}/test"
        waiting = [asyncio.create_task(world.ask("POST", target, key="acme")) for _ in range(PINGS_AT_ONCE_MAX)]
        await asyncio.sleep(0.01)
        refused = await world.ask("POST", target, key="acme")
        assert (refused.status, body(refused)["code"]) == (429, "limit_reached")
        go_on.set()
        assert [(await one).status for one in waiting] == [200] * PINGS_AT_ONCE_MAX
        assert (await world.ask("POST", target, key="acme")).status == 200
