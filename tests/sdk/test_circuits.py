"""Calls through breakers: refused fast, tried again, apart by tenant and route class; and what stands in for them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from central_hub import BaseService, BreakerOpen, Circuit, CircuitChange, HubClient, HubError, ServiceConfig
from central_hub.breakers import tiers
from central_hub.sdk.circuits import (
    CHANGES_WAITING_MAX,
    PLANS_WANTED_MAX,
    TUNED_MAX,
    CircuitState,
)
from tests.sdk.conftest import until
from tests.sdk.fake_hub import FakeHub, free_port

Make = Callable[..., Any]
QUICK = {"breaker_failure_rate": 0.5, "breaker_open_s": 0.3, "breaker_probes": 2}


def lasts_s(circuit: Circuit) -> float:
    assert circuit.since is not None
    assert circuit.until is not None
    return (circuit.until - circuit.since).total_seconds()


async def fail(client: Any, times: int = 6, **options: Any) -> None:
    for _ in range(times):
        assert (await client.request("risk", "GET", "/", **options)).status == 500


async def test_what_keeps_failing_is_refused_at_once_and_the_refusal_says_what_until_when_and_why(
    worker: Make, face: Make
) -> None:
    risk = await worker("risk", "r-1")
    client = await face(tenant_id="acme")
    assert (await client.request("risk", "GET", "/")).status == 200
    risk.status = 500
    await fail(client, 5)
    assert client.get_circuit_state("risk") == "CLOSED"
    await fail(client, 1)
    assert client.get_circuit_state("risk") == "OPEN"
    seen, began_s = len(risk.seen), time.monotonic()
    with pytest.raises(BreakerOpen) as refused:
        await client.request("risk", "GET", "/")
    assert time.monotonic() - began_s < 0.5
    assert len(risk.seen) == seen
    error = refused.value
    assert (error.code, error.service_name, error.route_class, error.tenant_id) == ("breaker_open", "risk", "", "acme")
    assert error.reason == "failures"
    assert "6 of 7 calls failed" in error.message
    assert error.until is not None
    assert timedelta(0) < error.until - datetime.now(UTC) <= timedelta(seconds=tiers.DEFAULT_OPEN_S)
    assert 1 <= (error.retry_after_s or 0) <= tiers.DEFAULT_OPEN_S
    assert error.fields["circuit"]["state"] == "OPEN"  # pyright: ignore[reportIndexIssue]
    assert client.stats["refused"] == 1
    assert client.stats["trips"] == 1


async def test_after_its_time_some_calls_are_let_through_and_close_it(hub: FakeHub, worker: Make, face: Make) -> None:
    risk = await worker("risk", "r-1")
    hub.entitlements["acme"] = QUICK
    client = await face(tenant_id="acme")
    await client.request("risk", "GET", "/")
    await until(lambda: "/tenants/acme/entitlements" in [path for _, path, _ in hub.requests])
    risk.status = 500
    await fail(client)
    with pytest.raises(BreakerOpen):
        await client.request("risk", "GET", "/")
    await asyncio.sleep(0.3)
    assert client.get_circuit_state("risk") == "HALF_OPEN"
    # It still fails: refused again.
    await fail(client, 1)
    assert client.get_circuit_state("risk") == "OPEN"
    risk.status = 200
    await asyncio.sleep(0.35)
    for _ in range(2):
        assert (await client.request("risk", "GET", "/")).status == 200
    assert client.get_circuit_state("risk") == "CLOSED"
    (circuit,) = client.circuit_states()
    assert (circuit.state, circuit.evidence.calls, circuit.reason, circuit.until) == ("CLOSED", 0, "", None)


async def test_while_probes_are_under_way_others_are_refused(hub: FakeHub, worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    hub.entitlements["acme"] = QUICK
    client: HubClient = await connect(tenant_id="acme")
    client.tune_circuit("risk", open_s=0.1, probes=1)
    risk.status = 500
    await fail(client)
    await asyncio.sleep(0.15)
    risk.status, risk.delay_s = 200, 0.3
    probe = asyncio.create_task(client.request("risk", "GET", "/"))
    await asyncio.sleep(0.1)
    with pytest.raises(BreakerOpen) as refused:
        await client.request("risk", "GET", "/")
    assert refused.value.circuit.state == "HALF_OPEN"
    assert refused.value.retry_after_s == 1
    assert (await probe).status == 200
    assert client.get_circuit_state("risk") == "CLOSED"


async def test_a_tenant_whose_calls_fail_is_refused_and_the_others_are_not(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    risk.statuses["poison"] = 500
    client: HubClient = await connect(tenant_id="gateway")
    for _ in range(30):
        with client.acting_for("poison"), contextlib.suppress(BreakerOpen):
            await client.request("risk", "GET", "/")
        for other in ("acme", "globex"):
            with client.acting_for(other):
                assert (await client.request("risk", "GET", "/")).status == 200
    with client.acting_for("poison"):
        assert client.get_circuit_state("risk") == "OPEN"
        assert [one.tenant_id for one in client.circuit_states()] == ["poison"]
    for other in ("acme", "globex", "never-called"):
        with client.acting_for(other):
            assert client.get_circuit_state("risk") == "CLOSED"
    assert client.get_circuit_state("risk") == "CLOSED"


async def test_a_service_that_nobody_can_reach_is_refused_to_a_tenant_that_has_not_called_yet(
    hub: FakeHub, connect: Make
) -> None:
    hub.put("risk", "r-1", port=1, endpoint=f"http://127.0.0.1:{free_port()}")
    client: HubClient = await connect(tenant_id="gateway")
    await client.ready("risk")

    async def call(tenant: str) -> str:
        with client.acting_for(tenant):
            try:
                await client.request("risk", "GET", "/")
            except HubError as error:
                return error.code
        return "answered"

    for number in range(8):
        await asyncio.gather(*(call(f"t{each}") for each in range(number)))
    assert await call("newcomer") == "breaker_open"
    with client.acting_for("newcomer"):
        assert client.circuit_states()[0].reason == "endpoint"


async def test_route_classes_fail_apart(worker: Make, face: Make) -> None:
    risk = await worker("risk", "r-1")
    client = await face()
    risk.status = 500
    await fail(client, route_class="reports")
    risk.status = 200
    with pytest.raises(BreakerOpen) as refused:
        await client.request("risk", "GET", "/", route_class="reports")
    assert refused.value.route_class == "reports"
    assert (await client.request("risk", "GET", "/")).status == 200
    assert client.get_circuit_state("risk") == "OPEN"  # the worst
    assert client.get_circuit_state("risk", "") == "CLOSED"
    assert client.get_circuit_state("risk", "reports") == "OPEN"
    assert [(one.route_class, one.state) for one in client.circuit_states()] == [("", "CLOSED"), ("reports", "OPEN")]
    with pytest.raises(HubError, match="invalid_route_class"):
        await client.request("risk", "GET", "/", route_class="r" * 65)


async def test_slow_calls_open_it_where_a_service_is_tuned_so(worker: Make, face: Make) -> None:
    risk = await worker("risk", "r-1")
    client = await face()
    await client.request("risk", "GET", "/")
    tuned = client.tune_circuit("risk", slow_call_s=0.03)
    if tuned is not None:  # the blocking face, in a thread
        await tuned
    risk.delay_s = 0.05
    for _ in range(8):
        if client.get_circuit_state("risk") == "OPEN":
            break
        await client.request("risk", "GET", "/")
    with pytest.raises(BreakerOpen) as refused:
        await client.request("risk", "GET", "/")
    assert refused.value.reason == "slow"
    assert "were slow" in refused.value.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_refusal_by_the_service_is_an_answer(worker: Make, connect: Make, status: int) -> None:
    risk = await worker("risk", "r-1")
    risk.status = status
    client: HubClient = await connect()
    for _ in range(20):
        assert (await client.request("risk", "GET", "/")).status == status
    (circuit,) = client.circuit_states()
    assert (circuit.state, circuit.evidence.calls, circuit.evidence.failures) == ("CLOSED", 20, 0)


async def test_being_told_to_slow_down_says_nothing_about_the_service(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    risk.status = 429
    client: HubClient = await connect()
    for _ in range(20):
        assert (await client.request("risk", "GET", "/")).status == 429
    assert client.circuit_states()[0].evidence.calls == 0


async def test_a_call_that_another_instance_answered_is_no_failure(hub: FakeHub, worker: Make, connect: Make) -> None:
    await worker("risk", "r-1")
    hub.put("risk", "r-2", port=1, endpoint=f"http://127.0.0.1:{free_port()}")
    client: HubClient = await connect()
    for _ in range(60):
        assert (await client.request("risk", "GET", "/")).status == 200
    evidence = client.circuit_states()[0].evidence
    assert (evidence.calls, evidence.failures) == (60, 0)
    assert client.stats["retries"] >= 1


async def test_a_call_that_is_given_up_says_nothing(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    risk.hang = True
    client: HubClient = await connect()
    for _ in range(10):
        call = asyncio.create_task(client.request("risk", "GET", "/"))
        await asyncio.sleep(0.02)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert client.circuit_states()[0].evidence.calls == 0


async def test_a_call_that_takes_too_long_is_a_failure(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    risk.hang = True
    client: HubClient = await connect()
    for _ in range(6):
        with pytest.raises(HubError, match="deadline_exceeded"):
            await client.request("risk", "POST", "/", timeout=0.05)
    with pytest.raises(BreakerOpen):
        await client.request("risk", "POST", "/", timeout=0.05)


async def test_a_service_without_an_instance_opens_nothing(hub: FakeHub, connect: Make) -> None:
    hub.put("risk", "r-1", status="unhealthy")
    client: HubClient = await connect()
    calls = [client.request("risk", "GET", "/", timeout=0.2) for _ in range(8)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {one.code for one in outcomes if isinstance(one, HubError)} <= {"no_instance", "deadline_exceeded"}
    assert client.get_circuit_state("risk") == "CLOSED"


async def test_an_open_breaker_ends_the_repeats_of_calls_under_way(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    risk.status, risk.delay_s = 503, 0.1
    client: HubClient = await connect()
    under_way = [asyncio.create_task(client.request("risk", "GET", "/")) for _ in range(5)]
    await asyncio.sleep(0.05)
    client.force_circuit("risk", "FORCED_OPEN")
    assert {response.attempts for response in await asyncio.gather(*under_way)} == {1}


async def test_every_change_is_told_to_those_who_listen(hub: FakeHub, worker: Make, face: Make) -> None:
    risk = await worker("risk", "r-1")
    hub.entitlements["acme"] = QUICK
    client = await face(tenant_id="acme")
    told: list[CircuitChange] = []

    async def listen() -> None:
        source = client._sync._client if hasattr(client, "_sync") else client  # the blocking face iterates in a thread
        async for change in source.circuit_changes():
            told.append(change)

    if hasattr(client, "_sync"):
        listening = asyncio.create_task(asyncio.to_thread(_collect, client._sync, told, 3))
    else:
        listening = asyncio.create_task(listen())
    await asyncio.sleep(0.2)
    await client.request("risk", "GET", "/")
    await until(lambda: any(path.endswith("/entitlements") for _, path, _ in hub.requests))
    risk.status = 500
    await fail(client)
    await asyncio.sleep(0.35)
    risk.status = 200
    for _ in range(2):
        await client.request("risk", "GET", "/")
    await until(lambda: len(told) == 3)
    assert [(one.before, one.after, one.reason) for one in told] == [
        ("CLOSED", "OPEN", "failures"),
        ("OPEN", "HALF_OPEN", "waited"),
        ("HALF_OPEN", "CLOSED", "probes_succeeded"),
    ]
    assert {(one.service_name, one.tenant_id) for one in told} == {("risk", "acme")}
    assert told[0].evidence.failures == 6
    assert told[0].until is not None
    assert abs((told[0].until - told[0].at).total_seconds() - 0.3) < 0.01
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def _collect(sync: Any, told: list[CircuitChange], many: int) -> None:
    for change in sync.circuit_changes():
        told.append(change)
        if len(told) == many:
            return


async def test_one_who_does_not_listen_loses_the_oldest(connect: Make) -> None:
    client: HubClient = await connect()
    changes = client.circuit_changes()
    first = asyncio.create_task(anext(changes))
    await asyncio.sleep(0)
    for number in range(CHANGES_WAITING_MAX + 10):
        client.force_circuit(f"s{number}", "FORCED_OPEN")
    assert (await first).service_name == "s10"


async def test_a_service_hears_of_its_breakers(hub: FakeHub, worker: Make, connect: Make) -> None:
    heard: list[CircuitChange] = []

    class Trading(BaseService):
        async def on_circuit(self, change: CircuitChange) -> None:
            heard.append(change)
            if len(heard) == 1:
                raise ValueError("a hook that fails")

    risk = await worker("risk", "r-1")
    risk.status = 500
    client: HubClient = await connect()
    service = Trading(ServiceConfig("trading", port=free_port(), instance_id="t-1"), client)
    await service.start()
    await asyncio.sleep(0)
    await fail(client)
    await until(lambda: len(heard) == 1)
    client.force_circuit("risk", "CLOSED")
    await until(lambda: len(heard) == 2)
    assert [one.after for one in heard] == ["OPEN", "CLOSED"]
    await service.leave()


async def test_somebody_can_set_a_state(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    client: HubClient = await connect()
    client.force_circuit("risk", "FORCED_OPEN")
    with pytest.raises(BreakerOpen) as refused:
        await client.request("risk", "GET", "/")
    assert (refused.value.until, refused.value.retry_after_s) == (None, None)
    assert refused.value.circuit.mode == "FORCED_OPEN"
    expected: dict[str, CircuitState] = {"DISABLED": "CLOSED", "METRICS_ONLY": "CLOSED"}
    risk.status = 500
    for state, seen in expected.items():
        client.force_circuit("risk", state)
        await fail(client, 20)
        assert client.get_circuit_state("risk") == seen
    client.force_circuit("risk", "CLOSED")
    with pytest.raises(HubError, match="illegal_transition"):
        client.force_circuit("risk", "HALF_OPEN")
    with pytest.raises(ValueError, match="AJAR"):
        client.force_circuit("risk", "AJAR")


async def test_a_service_is_tuned_above_the_plan(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    risk.status = 500
    client: HubClient = await connect()
    client.tune_circuit("risk", open_s=99.0)
    client.tune_circuit("risk", "reports", failure_rate=0.9)
    await fail(client)
    assert client.get_circuit_state("risk", "") == "OPEN"
    circuit = client.circuit_states()[0]
    assert lasts_s(circuit) == pytest.approx(99, abs=0.01)
    await fail(client, 12, route_class="reports")  # a rate of nine in ten needs more to be shown
    for wrong in ({"open_s": -1}, {"colour": "red"}, {"failure_rate": 0.99}, {"failure_rate": "much"}):
        with pytest.raises(HubError, match="invalid_breaker_policy"):
            client.tune_circuit("risk", **wrong)
    client.tune_circuit("risk")
    client.force_circuit("risk", "CLOSED")
    await fail(client)
    again = client.circuit_states()[0]
    assert lasts_s(again) == pytest.approx(tiers.DEFAULT_OPEN_S, abs=0.01)


async def test_there_is_a_limit_on_what_is_tuned_and_on_plans_that_are_waited_for(connect: Make) -> None:
    client: HubClient = await connect()
    for number in range(TUNED_MAX):
        client.tune_circuit(f"s{number}", open_s=1.0)
    with pytest.raises(HubError, match="limit_reached"):
        client.tune_circuit("one-more", open_s=1.0)
    circuits = client._circuits
    for number in range(PLANS_WANTED_MAX + 10):
        circuits._want(f"t{number}", 1.0)
    assert len(circuits._wanted) == PLANS_WANTED_MAX
