"""Relays through the pipeline of a whole hub: status, shapes, refusals, and what the trail shows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from central_hub.app.relaying import BoundTenants
from central_hub.edge.pipeline import Answer
from central_hub.kernel.context import Principal, PrincipalKind
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from tests.isolation.world import running

RELAY = {"name": "out", "kind": "nats", "servers": ["127.0.0.1:4222"]}


def body(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def test_a_relay_has_the_shape_that_was_promised() -> None:
    async with running() as world:
        made = await world.must("POST", "/relays", key="root", body=RELAY | {"tenants": ["acme"], "start": "start"})
        assert {name: made[name] for name in ("name", "kind", "servers", "destination", "prefix", "tls", "status")} == {
            "name": "out", "kind": "nats", "servers": ["127.0.0.1:4222"], "destination": "HUB", "prefix": "hub",
            "tls": False, "status": "running",
        }  # fmt: skip
        assert (made["state"], made["sent"], made["parked"], made["revision"]) == ("connecting", 0, 0, 1)
        assert await world.must("GET", "/relays/out", key="root") == made
        assert (await world.must("GET", "/relays", key="root"))["relays"] == [made]
        paused = await world.must("POST", "/relays/out/pause", key="root")
        assert (paused["status"], paused["reason"], paused["state"]) == ("paused", "asked", "paused")
        assert (await world.must("POST", "/relays/out/pause", key="root"))["revision"] == paused["revision"]
        assert (await world.must("POST", "/relays/out/resume", key="root"))["status"] == "running"
        changed = await world.must(
            "PUT", "/relays/out", key="root", body={"kind": "nats", "servers": ["[::1]:4222", "n2:4222"]}
        )
        assert (changed["servers"], changed["tenants"]) == (["[::1]:4222", "n2:4222"], [])
        assert (await world.must("GET", "/relays/out/parked", key="root")) == {"parked": []}
        for _ in range(2):
            assert (await world.ask("DELETE", "/relays/out", key="root")).status == 204
        assert body(await world.ask("GET", "/relays/out", key="root"))["code"] == "relay_not_found"


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"name": "Out"}, 422, "invalid_body"),
        ({"name": "hub-out"}, 422, "reserved_name"),
        ({"servers": []}, 422, "invalid_body"),
        ({"servers": ["no-port"]}, 422, "invalid_relay"),
        ({"servers": ["user:pass@host:1"]}, 422, "invalid_relay"),
        ({"servers": ["host:0"]}, 422, "invalid_relay"),
        ({"servers": ["host:65536"]}, 422, "invalid_relay"),
        ({"kind": "amqp"}, 422, "invalid_body"),
        ({"destination": "no dots.here"}, 422, "invalid_relay"),
        ({"prefix": "hub.>"}, 422, "invalid_relay"),
        ({"tenants": ["No Name"]}, 422, "invalid_relay"),
        ({"types": ["a*b"]}, 422, "invalid_relay"),
        ({"secret": "database/password"}, 422, "invalid_relay"),
        ({"secret": "relays/missing"}, 422, "invalid_relay"),
        ({"ca": "-----BEGIN CERTIFICATE-----"}, 422, "invalid_relay"),
        ({"tls": True, "ca": "nothing"}, 422, "invalid_relay"),
        ({"mechanism": "PLAIN"}, 422, "invalid_relay"),
        ({"into": "nobody"}, 422, "invalid_relay"),
        ({"subject": "a.>"}, 422, "invalid_relay"),
        ({"surprise": 1}, 422, "invalid_body"),
    ],
)
async def test_what_cannot_work_is_refused(wanted: Any, status: int, code: str) -> None:
    async with running() as world:
        answer = await world.ask("POST", "/relays", key="root", body=RELAY | wanted)
        assert (answer.status, body(answer)["code"]) == (status, code), answer.body
        assert (await world.must("GET", "/relays", key="root"))["relays"] == []


async def test_a_relay_that_takes_in_is_bound_to_a_tenant_that_is_there() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        wanted = RELAY | {"into": "acme", "subject": "plant.*.>", "destination": "PLANT"}
        made = await world.must("POST", "/relays", key="root", body=wanted)
        assert (made["into"], made["subject"], made["group"]) == ("acme", "plant.*.>", "central-hub")
        for changes in ({"types": ["a"]}, {"tenants": ["acme"]}, {"subject": "a..b"}, {"group": "a b"}, {"into": None}):
            put = {name: value for name, value in (wanted | changes).items() if name != "name"}
            answer = await world.ask("PUT", "/relays/out", key="root", body=put)
            assert (answer.status, body(answer)["code"]) == (422, "invalid_relay"), changes


async def test_what_is_taken_in_is_held_to_what_the_tenant_may() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        bindings = BoundTenants(world.hub.core.tenants, world.hub.core.book)
        principal = Principal(id="relay:in", kind=PrincipalKind.GATEWAY, home=DomainId("acme"), scopes=frozenset())
        ctx = bindings.context(DomainId("acme"), principal)
        assert (ctx.domain, ctx.tier) == ("acme", "pro")
        assert bindings.current(ctx) == ctx
        await world.must("POST", "/tenants/acme/suspend", key="root", body={"reason": "unpaid"})
        with pytest.raises(HubError) as suspended:
            bindings.current(ctx)
        with pytest.raises(HubError) as missing:
            bindings.context(DomainId("nobody"), principal)
        assert (suspended.value.code, missing.value.code) == ("tenant_suspended", "tenant_not_found")


async def test_a_name_is_taken_once_and_a_repeated_request_makes_no_second() -> None:
    async with running() as world:
        key = {"idempotency-key": "k1"}
        first = await world.must("POST", "/relays", key="root", body=RELAY, headers=key)
        again = await world.must("POST", "/relays", key="root", body=RELAY, headers=key)
        assert again["created_at"] == first["created_at"]
        refused = await world.ask("POST", "/relays", key="root", body=RELAY)
        assert (refused.status, body(refused)["code"]) == (409, "relay_exists")


async def test_a_relay_stays_with_its_kind_of_broker() -> None:
    async with running() as world:
        await world.must("POST", "/relays", key="root", body=RELAY)
        answer = await world.ask("PUT", "/relays/out", key="root", body={"kind": "redis", "servers": ["r:6379"]})
        assert (answer.status, body(answer)["code"]) == (422, "invalid_relay")


async def test_a_credential_is_named_by_its_path_and_its_value_is_nowhere() -> None:
    async with running() as world:
        secret = {"value": "relay:a-password-of-tests"}
        await world.must("PUT", "/secrets/value?path=relays/out", key="root", body=secret)
        made = await world.must("POST", "/relays", key="root", body=RELAY | {"secret": "relays/out"})
        assert made["secret"] == "relays/out"
        for path in ("/relays", "/relays/out", "/audit", "/metrics"):
            answer = await world.ask("GET", path, key="root")
            assert b"a-password" not in answer.body
        trail = (await world.ask("GET", "/audit", key="root")).body
        assert b"RelayCreated" in trail


async def test_a_tenants_key_reaches_no_relay() -> None:
    async with running() as world:
        await world.tenant("acme", "enterprise")
        await world.must("POST", "/relays", key="root", body=RELAY)
        for method, path in (("GET", "/relays"), ("GET", "/relays/out"), ("DELETE", "/relays/out")):
            assert (await world.ask(method, path, key="acme")).status == 403
        made = await world.must("GET", "/relays/out", key="root")
        assert made["status"] == "running"


async def test_metrics_name_each_relay() -> None:
    async with running() as world:
        await world.must("POST", "/relays", key="root", body=RELAY)
        text = (await world.ask("GET", "/metrics", key="root")).body.decode()
        assert "central_hub_relay_lag_records" in text
