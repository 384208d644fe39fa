"""What a tenant's plan says about its breakers: when it is asked for, and what holds until it is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from central_hub import Circuit, HubClient
from central_hub.breakers import tiers
from central_hub.sdk.circuits import (
    PLANS_KNOWN_MAX,
    _Plan,
)
from tests.sdk.conftest import until
from tests.sdk.fake_hub import FakeHub

Make = Callable[..., Any]
QUICK = {"breaker_failure_rate": 0.5, "breaker_open_s": 0.3, "breaker_probes": 2}


def lasts_s(circuit: Circuit) -> float:
    assert circuit.since is not None
    assert circuit.until is not None
    return (circuit.until - circuit.since).total_seconds()


async def fail(client: Any, times: int = 6, **options: Any) -> None:
    for _ in range(times):
        assert (await client.request("risk", "GET", "/", **options)).status == 500


async def test_what_the_plan_says_is_learned_from_the_hub_and_known_while_it_is_away(
    hub: FakeHub, worker: Make, connect: Make
) -> None:
    risk = await worker("risk", "r-1")
    hub.entitlements["acme"] = {"breaker_failure_rate": 0.5, "breaker_open_s": 60, "advanced_ai": True}
    client: HubClient = await connect(tenant_id="acme")
    await client.request("risk", "GET", "/")
    await until(lambda: any(path.endswith("/entitlements") for _, path, _ in hub.requests))
    await hub.stop()
    risk.status = 500
    await fail(client)
    (circuit,) = client.circuit_states()
    assert lasts_s(circuit) == pytest.approx(60, abs=0.01)


async def test_the_plan_of_a_key_s_own_tenant_is_found_by_asking_who_it_is(
    hub: FakeHub, worker: Make, connect: Make
) -> None:
    risk = await worker("risk", "r-1")
    hub.entitlements["home"] = {"breaker_open_s": 42}
    client: HubClient = await connect()
    await client.request("risk", "GET", "/")
    await until(lambda: "/tenants/home/entitlements" in [path for _, path, _ in hub.requests])
    risk.status = 500
    await fail(client)
    (circuit,) = client.circuit_states()
    assert lasts_s(circuit) == pytest.approx(42, abs=0.01)


async def test_another_tenant_s_plan_is_asked_for_when_its_calls_fail_and_once(
    hub: FakeHub, worker: Make, connect: Make
) -> None:
    risk = await worker("risk", "r-1")
    hub.entitlements["acme"] = {"breaker_open_s": 7}
    client: HubClient = await connect(tenant_id="gateway")

    def asked() -> list[str]:
        return [headers["x-tenant-id"] for _, path, headers in hub.requests if path == "/tenants/acme/entitlements"]

    with client.acting_for("acme"):
        await client.request("risk", "GET", "/")
        assert asked() == []
        risk.status = 500
        await fail(client, 1)
        await until(lambda: asked() == ["acme"])
        await fail(client, 5)
        (circuit,) = client.circuit_states()
    assert lasts_s(circuit) == pytest.approx(7, abs=0.01)
    assert asked() == ["acme"]


async def test_a_hub_that_refuses_or_talks_nonsense_leaves_the_defaults(
    hub: FakeHub, worker: Make, connect: Make
) -> None:
    risk = await worker("risk", "r-1")
    client: HubClient = await connect(tenant_id="nobody")
    await client.request("risk", "GET", "/")
    risk.status = 500
    await fail(client)
    (circuit,) = client.circuit_states()
    assert lasts_s(circuit) == pytest.approx(tiers.DEFAULT_OPEN_S, abs=0.01)


async def test_no_more_plans_are_known_than_the_limit_says(hub: FakeHub, connect: Make) -> None:
    client: HubClient = await connect()
    circuits = client._circuits
    some = circuits._plans["first"] = _Plan(tiers.DEFAULT, time.monotonic() + 60)
    for number in range(PLANS_KNOWN_MAX - 1):
        circuits._plans[f"t{number}"] = some
    hub.entitlements["acme"] = QUICK
    circuits._want("acme", time.monotonic())
    await until(lambda: "acme" in circuits._plans)
    assert len(circuits._plans) == PLANS_KNOWN_MAX
    assert "first" not in circuits._plans
