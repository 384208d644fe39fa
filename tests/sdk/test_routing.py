"""Routing over the SDK and a real hub: asked in the words of the first users, told of, and answered without a hub."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from central_hub import HubClient, HubError, SyncHubClient
from tests.sdk.test_real_hub import HubProcess

FAST = {
    "id": "lstm", "model": "lstm-7", "task": "time_series_forecast", "latency_ms": {"p50": 20, "p99": 60},
    "quality": [{"metric": "accuracy", "value": 0.93}], "data_sizes": ["small", "large"], "hardware": "a100",
}  # fmt: skip
GOOD = {**FAST, "id": "tft", "model": "tft", "quality": [{"metric": "accuracy", "value": 0.97}]}
WANTED = {
    "model_type": "time_series_forecast",
    "data_size": "large",
    "latency_requirement": "< 100ms",
    "accuracy_requirement": "> 95%",
}


async def offer(hub: HubClient) -> None:
    for at, offering in ((1, FAST), (2, GOOD)):
        await hub.register_service(name="models", host="127.0.0.1", port=80 + at, instance_id=f"i-{at}", lease_ttl_s=60)
        await hub.declare_offerings("models", f"i-{at}", [offering])


@pytest.mark.timeout(60)
async def test_the_first_users_call_is_answered_with_or_without_a_hub(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    try:
        async with HubClient(process.url, tenant_id="acme", cache_dir="") as hub:
            await offer(hub)
            answer = await hub.ai_aware_route(
                request=WANTED, available_services=None, routing_strategy="performance_optimized"
            )
            assert (answer["instance_id"], answer["endpoint"]) == ("i-2", "http://127.0.0.1:82")
            assert len((await hub.explain_route(answer["decision_id"]))["candidates"]) == 1
            with pytest.raises(HubError) as refused:
                await hub.ai_aware_route({**WANTED, "accuracy_requirement": "> 99%"})
            assert refused.value.fields["relaxations"]
            assert (await hub.ai_aware_route({}, ["models"], "accuracy_optimized"))["instance_id"] == "i-2"
            assert len((await hub.offerings(limit=1))["offerings"]) == 1
            assert await hub.ready("models")
            await process.kill()
            local = await hub.ai_aware_route({"model_type": "time_series_forecast"}, ["models"])
            assert (local["basis"], local["service_name"]) == ("local_view", "models")
            with pytest.raises(HubError, match="hub_unreachable"):
                await hub.ai_aware_route({"model_type": "time_series_forecast"})
    finally:
        await process.kill()


@pytest.mark.timeout(60)
async def test_routed_calls_are_told_of_by_themselves(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    try:
        async with HubClient(process.url, tenant_id="acme", cache_dir="") as hub:
            await offer(hub)
            for _ in range(3):
                async with await hub.routed({"model": "lstm-7"}, size_hint={"input": 10}) as call:
                    call.weighed(input=12, output=3)
            with pytest.raises(ZeroDivisionError):
                async with await hub.routed({"model": "tft"}):
                    raise ZeroDivisionError
            for _ in range(100):
                learned = {one["instance_id"]: one["outcomes"] for one in (await hub.offerings())["offerings"]}
                if learned["i-1"] == 3:
                    break
                await asyncio.sleep(0.05)
            assert learned == {"i-1": 3, "i-2": 0}
            assert (await hub.route({"task": "time_series_forecast"}))["instance_id"] == "i-1"
    finally:
        await process.kill()


@pytest.mark.timeout(60)
async def test_a_lease_chooses_by_shares_without_the_hub(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()
    try:
        async with HubClient(process.url, tenant_id="acme", cache_dir="") as hub:
            await offer(hub)
            lease = await hub.route_lease({"task": "time_series_forecast"}, count=4, ttl_s=60)
            assert not lease.expired
            simulated = await hub.simulate_routes({"task": "time_series_forecast"}, count=10)
            assert sum(one["share"] for one in simulated["strategies"][0]["instances"]) == pytest.approx(1.0)
            async with lease.call() as first:
                assert first["endpoint"].startswith("http://127.0.0.1:8")
            await process.kill()
            picked = Counter(lease.pick()["instance_id"] for _ in range(2_000))
            assert set(picked) == {"i-1", "i-2"}
            assert min(picked.values()) > 600  # the two are alike
            async with lease.call() as busy:
                others = Counter(lease.pick()["instance_id"] for _ in range(1_000))
                assert others[busy["instance_id"]] < 400
    finally:
        await process.kill()


@pytest.mark.timeout(60)
async def test_the_blocking_face_asks_the_same(tmp_path: Path) -> None:
    process = HubProcess(tmp_path, "--open")
    await process.start()

    def ask() -> None:
        with SyncHubClient(process.url, tenant_id="acme", cache_dir="") as hub:
            hub.register_service(name="models", host="127.0.0.1", port=80, instance_id="i-1", lease_ttl_s=60)
            hub.declare_offerings("models", "i-1", [GOOD])
            answer = hub.ai_aware_route(WANTED, reserve=True)
            assert (answer["instance_id"], answer["reserved"]) == ("i-1", True)
            assert hub.explain_route(hub.route({"model": "tft"})["decision_id"])["chosen"] == "i-1"
            assert len(hub.offerings()["offerings"]) == 1

    try:
        await asyncio.to_thread(ask)
    finally:
        await process.kill()
