"""Reporting calls, leasing probes and asking for states, through the pipeline; tenants apart."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.isolation.world import World, running


def rows(failures: int, *, service: str = "risk", **more: Any) -> list[dict[str, Any]]:
    return [{"service_name": service, "calls": 6, "failures": failures, **more}]


async def report(world: World, key: str, caller: str, reports: list[dict[str, Any]]) -> Any:
    answer = await world.must("POST", "/circuits", key=key, body={"caller": caller, "reports": reports})
    await world.hub.features.breaking.shared.settle()
    return answer


async def fail(world: World, key: str, **more: Any) -> None:
    for caller in ("p-1", "p-2"):
        await report(world, key, caller, rows(6, **more))


async def state(world: World, key: str, service: str = "risk") -> Any:
    return await world.must("GET", f"/circuits/{service}", key=key)


async def two_tenants(world: World) -> None:
    for name in ("acme", "globex"):
        await world.tenant(name, "pro")
    await world.register("risk", key="root")
    await world.register("private", key="acme")


async def test_a_tenants_processes_open_a_breaker_and_probe_it_by_the_plan() -> None:
    async with running() as world:
        await two_tenants(world)
        closed = await state(world, "acme")
        assert (closed["state"], closed["route_classes"], closed["since"]) == ("CLOSED", [], None)
        taken = await report(world, "acme", "p-1", [*rows(6), *rows(0, service="nowhere")])
        assert taken == {"recorded": 1, "unknown": 1, "again_s": 0.5}
        await report(world, "acme", "p-2", rows(6))
        shown = await state(world, "acme")
        assert (shown["state"], shown["reason"]) == ("OPEN", "failures")
        assert shown["evidence"] == {"calls": 6, "failures": 6, "slow": 0}
        assert shown["route_classes"][0] | {"since": "", "until": ""} == {
            "route_class": "", "state": "OPEN", "of": "tenant", "reason": "failures", "since": "", "until": "",
            "evidence": {"calls": 6, "failures": 6, "slow": 0},
        }  # fmt: skip
        early = await world.must("POST", "/circuits/risk/probes", key="acme", body={})
        assert early == {"state": "OPEN", "granted": 0, "ttl_s": 0.0, "again_s": 30.0}
        world.clock.advance(30_000)
        assert ((await state(world, "acme"))["state"], (await state(world, "acme"))["until"]) == ("HALF_OPEN", None)
        leased = await world.must("POST", "/circuits/risk/probes", key="acme", body={"count": 9})
        assert leased == {"state": "HALF_OPEN", "granted": 5, "ttl_s": 10.0, "again_s": 0.0}
        await report(world, "acme", "p-1", [{"service_name": "risk", "probes": 5}])
        assert (await state(world, "acme"))["state"] == "CLOSED"


async def test_what_a_tenant_reports_is_its_own() -> None:
    async with running() as world:
        await two_tenants(world)
        await fail(world, "acme", route_class="secret-word")
        assert (await state(world, "acme"))["state"] == "OPEN"
        assert (await state(world, "globex"))["state"] == "CLOSED"
        assert (await state(world, "globex"))["route_classes"] == []
        assert await world.must("GET", "/circuits", key="globex") == {"circuits": []}
        assert [one["service_name"] for one in (await world.must("GET", "/circuits", key="acme"))["circuits"]] == [
            "risk"
        ]
        world.clock.advance(30_000)
        assert (await world.must("POST", "/circuits/risk/probes", key="globex", body={}))["state"] == "CLOSED"


async def test_what_several_tenants_saw_is_shown_to_all_but_not_their_words() -> None:
    async with running() as world:
        await two_tenants(world)
        for name in ("initech", "umbrella"):
            await world.tenant(name, "pro")
        for key in ("acme", "globex", "initech"):
            await report(world, key, "p-1", [*rows(6), *rows(6, route_class="reports")])
        shown = await state(world, "umbrella")
        assert [(one["route_class"], one["of"], one["state"]) for one in shown["route_classes"]] == [
            ("", "everyone", "OPEN")
        ]
        assert len((await state(world, "acme"))["route_classes"]) == 2
        listed = await world.must("GET", "/circuits", key="umbrella")
        assert [one["service_name"] for one in listed["circuits"]] == ["risk"]


async def test_a_private_service_is_unknown_to_others() -> None:
    async with running() as world:
        await two_tenants(world)
        await fail(world, "acme", service="private")
        assert (await state(world, "acme", "private"))["state"] == "OPEN"
        assert (await report(world, "globex", "p-1", rows(6, service="private")))["unknown"] == 1
        missing = await world.ask("GET", "/circuits/nowhere", key="globex")
        hidden = await world.ask("GET", "/circuits/private", key="globex")
        assert (hidden.status, hidden.body.replace(b"private", b"nowhere")) == (404, missing.body)


async def test_a_service_that_left_or_was_shadowed_is_not_shown() -> None:
    async with running() as world:
        await two_tenants(world)
        await world.tenant("initech", "pro")
        for key in ("acme", "globex", "initech"):
            await report(world, key, "p-1", rows(6))
        assert (await state(world, "acme"))["route_classes"][0]["of"] == "everyone"
        await world.register("risk", key="acme", instance_id="own")
        assert (await state(world, "acme"))["state"] == "CLOSED"
        await world.tenant("newcomer", "pro")
        await world.register("risk", key="newcomer", instance_id="own")
        assert (await state(world, "newcomer"))["route_classes"] == []
        await world.must("DELETE", "/services/risk/instances/i-1", key="root")
        assert await world.must("GET", "/circuits", key="globex") == {"circuits": []}


async def test_a_gateway_reports_for_the_tenants_it_speaks_for_and_no_others() -> None:
    async with running() as world:
        await two_tenants(world)
        for caller in ("gw-1", "gw-2"):
            assert (await report(world, "root", caller, rows(6, tenant_id="acme")))["recorded"] == 1
        assert (await state(world, "acme"))["state"] == "OPEN"
        assert (await report(world, "root", "gw-1", rows(6, tenant_id="nobody")))["unknown"] == 1
        assert (await report(world, "globex", "p-1", rows(6, tenant_id="acme")))["unknown"] == 1
        world.clock.advance(30_000)
        leased = await world.must("POST", "/circuits/risk/probes", key="root", body={"tenant_id": "acme"})
        assert leased["granted"] == 1
        denied = await world.ask("POST", "/circuits/risk/probes", key="globex", body={"tenant_id": "acme"})
        assert denied.status in (403, 404)


@pytest.mark.parametrize(
    "row",
    [
        {"service_name": "risk", "calls": 1, "failures": 2},
        {"service_name": "risk", "calls": 1, "slow": 2},
        {"service_name": "risk", "probes": 1, "probes_failed": 2},
        {"service_name": "risk", "calls": -1},
        {"service_name": "risk", "route_class": "x" * 65},
        {"service_name": "risk", "route_class": "a\nb"},
        {"service_name": "Risk"},
        {"service_name": "risk", "surprise": 1},
    ],
)
async def test_what_does_not_add_up_is_refused(row: dict[str, Any]) -> None:
    async with running() as world:
        answer = await world.ask("POST", "/circuits", key="root", body={"caller": "p-1", "reports": [row]})
        assert (answer.status, msgspec.json.decode(answer.body)["code"]) == (422, "invalid_body")


async def test_a_report_has_a_largest_size() -> None:
    async with running() as world:
        many = [{"service_name": "risk"}] * 257
        assert (await world.ask("POST", "/circuits", key="root", body={"caller": "p", "reports": many})).status == 422
        long = {"caller": "p" * 65, "reports": []}
        assert (await world.ask("POST", "/circuits", key="root", body=long)).status == 422
