"""Rollouts seen from services, against a real hub: taken up, refused, gone on after the hub was killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from central_hub import BaseService, ConfigDiff, HubClient, HubError, ServiceConfig
from central_hub.sdk.meter import Meter
from tests.sdk.conftest import until
from tests.sdk.test_real_hub import HubProcess

STAGES = [{"percent": 50, "bake_s": 1}, {"percent": 100, "bake_s": 1}]


class Rates(msgspec.Struct, frozen=True):
    api_calls_per_hour: int


class Wanted(msgspec.Struct, frozen=True):
    rate_limits: Rates


class Service(BaseService):
    """Takes up every rate but 13."""

    def __init__(self, config: ServiceConfig, hub: HubClient) -> None:
        super().__init__(config, hub)
        self.asked: list[int] = []
        self.rate = 0

    async def on_config(self, diff: ConfigDiff) -> None:
        rate = diff.read(Wanted).rate_limits.api_calls_per_hour
        self.asked.append(rate)
        if rate == 13:
            raise ValueError("13 is not for me")
        self.rate = rate


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncGenerator[HubProcess]:
    hub = HubProcess(tmp_path, "--open")
    await hub.start()
    yield hub
    with contextlib.suppress(ProcessLookupError):
        await hub.kill()


def client_of(hub: HubProcess, tmp_path: Path, tenant: str | None = "acme") -> HubClient:
    return HubClient(hub.url, cache_dir=tmp_path / "cache", tenant_id=tenant, tier="pro" if tenant else None)


async def service_of(hub: HubProcess, tmp_path: Path, name: str) -> Service:
    service = Service(ServiceConfig("risk", "1.0", port=1, instance_id=name), client_of(hub, tmp_path))
    await service.start()
    return service


async def roll_out(operator: HubClient, rate: int, stages: list[dict[str, Any]] = STAGES) -> Any:
    strategy = {"kind": "stages", "stages": stages}
    answer = await operator.update_global_config({"rate_limits": {"api_calls_per_hour": rate}}, strategy=strategy)
    return answer["rollout"]


async def ended(operator: HubClient, rollout: Any) -> Any:
    async with asyncio.timeout(30):
        while (now := await operator.ask(f"/rollouts/{rollout['rollout_id']}"))["state"] in ("running", "paused"):
            await asyncio.sleep(0.05)
    return now


async def everyone_acknowledged(operator: HubClient, count: int) -> None:
    async with asyncio.timeout(20):
        while True:
            found = (await operator.ask("/config/acme/instances"))["instances"]
            if sum(each["state"] == "applied" for each in found) == count:
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(90)
async def test_a_refused_value_is_neither_in_force_nor_what_a_restart_begins_with(
    hub: HubProcess, tmp_path: Path
) -> None:
    async with client_of(hub, tmp_path, None) as operator:
        service = await service_of(hub, tmp_path, "i-1")
        await until(lambda: service.rate == 10_000)
        await everyone_acknowledged(operator, 1)
        done = await ended(operator, await roll_out(operator, 13))
        assert (done["state"], done["failed_gate"]) == ("rolled_back", "refusals")
        assert done["evidence"]["suspects"][0]["reason"] == "ValueError: 13 is not for me"
        assert service.asked == [10_000, 13]
        assert (await service.hub.config(Wanted, service="risk")).rate_limits.api_calls_per_hour == 10_000
        await everyone_acknowledged(operator, 1)
        done = await ended(operator, await roll_out(operator, 77))
        assert done["state"] == "completed"
        assert service.asked == [10_000, 13, 77]
        await hub.kill()
        await service.hub.close()
    again = await service_of(hub, tmp_path, "i-1")
    await until(lambda: again.asked == [77])
    await again.hub.close()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("stage", [1, 2])
async def test_a_hub_that_is_killed_goes_on_with_the_stage_it_was_in(
    hub: HubProcess, tmp_path: Path, stage: int
) -> None:
    stages = [dict(each) for each in STAGES]
    stages[stage - 1]["bake_s"] = 4
    async with client_of(hub, tmp_path, None) as operator:
        services = [await service_of(hub, tmp_path, f"i-{number}") for number in range(4)]
        await everyone_acknowledged(operator, 4)
        rollout = await roll_out(operator, 77, stages)
        at = f"/rollouts/{rollout['rollout_id']}"
        async with asyncio.timeout(20):
            while (await operator.ask(at))["stage"] != stage:
                await asyncio.sleep(0.05)
        reached = 2 if stage == 1 else 4
        await until(lambda: sum(service.rate == 77 for service in services) == reached)
        before = [service.rate for service in services]
        await hub.kill()
        await hub.start()
        await until(lambda: operator.base_url == hub.url)
        shown = await operator.ask(at)
        assert (shown["state"], shown["stage"]) == ("running", stage)
        assert [service.rate for service in services] == before
        done = await ended(operator, rollout)
        assert done["state"] == "completed"
        await until(lambda: all(service.rate == 77 for service in services))
        assert all(service.asked == [10_000, 77] for service in services)
        for service in services:
            await service.leave()
            await service.hub.close()


@pytest.mark.timeout(60)
async def test_an_update_of_everyones_layer_is_a_rollout_and_made_at_once_where_nobody_follows(
    hub: HubProcess, tmp_path: Path
) -> None:
    async with client_of(hub, tmp_path, None) as operator:
        made = await operator.update_global_config({"rate_limits": {"api_calls_per_hour": 5}}, reason="why not")
        assert (made["revision"], made["reason"], made["rollout"]["state"]) == (1, "why not", "completed")
        again = await operator.update_global_config({"rate_limits": {"api_calls_per_hour": 5}})
        assert (again["revision"], again["rollout"]) == (1, None)
        with pytest.raises(HubError, match="invalid_rollout"):
            await operator.update_global_config(
                {"rate_limits": {"api_calls_per_hour": 6}}, strategy={"kind": "stages", "stages": [{"percent": 5}]}
            )


def test_what_failed_is_counted_beside_what_was_served() -> None:
    meter = Meter()
    for failed in (False, True, True):
        meter.began()
        meter.ended(1.0, 5.0, failed=failed)
    assert (meter.served, meter.failed, meter.in_flight) == (3, 2, 0)
